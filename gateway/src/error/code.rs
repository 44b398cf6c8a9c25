//! The closed table of conditions a client can be told about: one variant per SQLSTATE.
//!
//! A code is never made from text at run time except through [`ErrorCode::from_sqlstate`], so an unknown state
//! becomes `XX000` and is noticed. Names follow PostgreSQL 17, appendix A, where it has the condition.

use tonic::Code;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident $state:literal $grpc:ident $retry:literal;)+) => {
        /// A condition, with its SQLSTATE, its gRPC status and whether the same statement may succeed when repeated.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $($(#[$doc])* $name,)+
        }

        impl ErrorCode {
            /// Every code, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The five-character SQLSTATE.
            #[must_use]
            pub const fn sqlstate(self) -> &'static str {
                match self { $(Self::$name => $state,)+ }
            }

            /// The gRPC status Flight SQL sends.
            #[must_use]
            pub const fn grpc(self) -> Code {
                match self { $(Self::$name => Code::$grpc,)+ }
            }

            /// Whether repeating the same statement later may succeed without any change by the client.
            #[must_use]
            pub const fn retryable(self) -> bool {
                match self { $(Self::$name => $retry,)+ }
            }

            /// The code of a SQLSTATE, if we have it.
            #[must_use]
            pub fn from_sqlstate(state: &str) -> Option<Self> {
                match state { $($state => Some(Self::$name),)+ _ => None }
            }
        }
    };
}

codes! {
    /// A statement the parser refuses.
    SyntaxError "42601" InvalidArgument false;
    /// No such relation.
    UndefinedTable "42P01" NotFound false;
    /// No such column.
    UndefinedColumn "42703" InvalidArgument false;
    /// A column name with more than one meaning.
    AmbiguousColumn "42702" InvalidArgument false;
    /// No such function or operator for these argument types.
    UndefinedFunction "42883" InvalidArgument false;
    /// More than one function fits.
    AmbiguousFunction "42725" InvalidArgument false;
    /// A column outside GROUP BY, a nested aggregate, a bare measure.
    GroupingError "42803" InvalidArgument false;
    /// Types that do not go together.
    DatatypeMismatch "42804" InvalidArgument false;
    /// A cast that does not exist.
    CannotCoerce "42846" InvalidArgument false;
    /// An object of another kind, such as a window function without OVER.
    WrongObjectType "42809" InvalidArgument false;
    /// A window function where none may stand.
    WindowingError "42P20" InvalidArgument false;
    /// A parameter whose type cannot be told.
    IndeterminateDatatype "42P18" InvalidArgument false;
    /// A parameter that would need two types.
    AmbiguousParameter "42P08" InvalidArgument false;
    /// A parameter that does not exist.
    UndefinedParameter "42P02" InvalidArgument false;
    /// An ordinal or ORDER BY item that names nothing.
    InvalidColumnReference "42P10" InvalidArgument false;
    /// The same table name twice in one FROM.
    DuplicateAlias "42712" InvalidArgument false;
    /// The same column name twice where it must be unique.
    DuplicateColumn "42701" InvalidArgument false;
    /// A cursor name in use.
    DuplicateCursor "42P03" AlreadyExists false;
    /// A prepared statement's name in use.
    DuplicatePreparedStatement "42P05" AlreadyExists false;
    /// A name cut at 63 bytes (a notice).
    NameTooLong "42622" InvalidArgument false;
    /// No such setting or other object.
    UndefinedObject "42704" InvalidArgument false;
    /// A recursive query of a shape that cannot be run.
    InvalidRecursion "42P19" InvalidArgument false;
    /// No such schema.
    InvalidSchemaName "3F000" NotFound false;
    /// No right.
    InsufficientPrivilege "42501" PermissionDenied false;
    /// Text that is no value of the type.
    InvalidTextRepresentation "22P02" InvalidArgument false;
    /// Binary data that is no value of the type.
    InvalidBinaryRepresentation "22P03" InvalidArgument false;
    /// Text that is no date or time.
    InvalidDatetimeFormat "22007" InvalidArgument false;
    /// A date or time out of range.
    DatetimeOverflow "22008" OutOfRange false;
    /// A number out of range.
    NumericOutOfRange "22003" OutOfRange false;
    /// Division by zero.
    DivisionByZero "22012" InvalidArgument false;
    /// A bad argument value.
    InvalidParameterValue "22023" InvalidArgument false;
    /// A character the encoding does not have, such as NUL.
    CharacterNotInRepertoire "22021" InvalidArgument false;
    /// Arrays of uneven shape.
    ArraySubscriptError "2202E" InvalidArgument false;
    /// A value longer than its type allows.
    StringTruncation "22001" InvalidArgument false;
    /// A pattern that ends in its escape character.
    InvalidEscapeSequence "22025" InvalidArgument false;
    /// A negative substring length.
    SubstringError "22011" InvalidArgument false;
    /// A regular expression that does not compile.
    InvalidRegularExpression "2201B" InvalidArgument false;
    /// Logarithm of zero or less.
    InvalidLogarithm "2201E" InvalidArgument false;
    /// A power without a real value.
    InvalidPower "2201F" InvalidArgument false;
    /// A negative LIMIT.
    InvalidLimit "2201W" InvalidArgument false;
    /// A negative OFFSET.
    InvalidOffset "2201X" InvalidArgument false;
    /// Data that contradicts its declaration.
    DataException "22000" FailedPrecondition false;
    /// A scalar subquery with more than one row.
    CardinalityViolation "21000" InvalidArgument false;
    /// Cancelled, or a timeout.
    QueryCanceled "57014" Cancelled true;
    /// The server shuts down.
    AdminShutdown "57P01" Unavailable true;
    /// The session was idle for too long.
    IdleSessionTimeout "57P05" Aborted true;
    /// Connection limit reached.
    TooManyConnections "53300" ResourceExhausted true;
    /// Queue full, or waited too long.
    InsufficientResources "53000" ResourceExhausted true;
    /// Memory.
    OutOfMemory "53200" ResourceExhausted true;
    /// Spill disk.
    DiskFull "53100" ResourceExhausted true;
    /// A limit of the session.
    ConfigurationLimitExceeded "53400" ResourceExhausted false;
    /// Statement or result too large.
    ProgramLimitExceeded "54000" InvalidArgument false;
    /// Statement too deep.
    StatementTooComplex "54001" InvalidArgument false;
    /// Too many columns.
    TooManyColumns "54011" InvalidArgument false;
    /// Not supported; the message says what.
    FeatureNotSupported "0A000" Unimplemented false;
    /// Wrong password.
    InvalidPassword "28P01" Unauthenticated false;
    /// Login refused for another reason.
    InvalidAuthorization "28000" Unauthenticated false;
    /// No such database.
    InvalidCatalogName "3D000" NotFound false;
    /// The client broke the protocol.
    ProtocolViolation "08P01" InvalidArgument false;
    /// A transaction is already open.
    ActiveTransaction "25001" FailedPrecondition false;
    /// No transaction is open.
    NoActiveTransaction "25P01" FailedPrecondition false;
    /// The transaction is aborted.
    InFailedTransaction "25P02" FailedPrecondition false;
    /// Idle in a transaction for too long.
    IdleInTransactionTimeout "25P03" Aborted true;
    /// The transaction lasted too long.
    TransactionTimeout "25P04" Aborted true;
    /// A write.
    ReadOnlyTransaction "25006" FailedPrecondition false;
    /// No such savepoint.
    InvalidSavepoint "3B001" InvalidArgument false;
    /// The object is in a state that forbids it.
    ObjectNotInState "55000" FailedPrecondition false;
    /// No such prepared statement.
    InvalidStatementName "26000" NotFound false;
    /// No such portal or cursor.
    InvalidCursorName "34000" NotFound false;
    /// A worker, the catalog or a local device failed.
    SystemError "58000" Unavailable true;
    /// A source cannot be reached.
    SourceUnreachable "HV00N" Unavailable true;
    /// Another failure of a source.
    SourceError "HV000" Internal false;
    /// A warning.
    Warning "01000" Ok false;
    /// Anything else; each one is a bug report.
    Internal "XX000" Internal false;
}
