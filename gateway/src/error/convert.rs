//! From DataFusion's and a source's errors to the one error a client sees.
//!
//! The walk looks through every wrapper (`Context`, `Shared`, `Diagnostic`, `Collection`, Arrow's external errors) for
//! an error of ours, which wins unchanged; only what is left is told from its kind and text. A span found on the way
//! becomes the position.

use datafusion::arrow::error::ArrowError;
use datafusion::common::{Column, Diagnostic, SchemaError, Span};
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;
use portolan_catalog::source::{SourceError, SourceErrorKind};
use portolan_semantic::SemanticError;

use super::{ErrorCode, QueryError, char_position, texts};

impl QueryError {
    /// Converts an error of planning or execution; spans become positions in `sql`.
    #[must_use]
    pub fn from_datafusion(error: &DataFusionError, sql: Option<&str>) -> Self {
        match error {
            DataFusionError::ArrowError(arrow, _) => from_arrow(arrow, sql),
            DataFusionError::SQL(parser, _) => from_parser(parser, sql),
            DataFusionError::SchemaError(schema, _) => from_schema(schema),
            DataFusionError::External(cause) => from_foreign(cause.as_ref(), sql),
            DataFusionError::Context(_, inner) => Self::from_datafusion(inner, sql),
            DataFusionError::Shared(inner) => Self::from_datafusion(inner, sql),
            DataFusionError::Diagnostic(diagnostic, inner) => {
                let position = diagnostic_span(diagnostic).and_then(|span| {
                    let start = datafusion::sql::sqlparser::tokenizer::Location {
                        line: span.start.line,
                        column: span.start.column,
                    };
                    char_position(sql?, start)
                });
                Self::from_datafusion(inner, sql).at_if_none(position)
            }
            DataFusionError::Collection(errors) => errors
                .first()
                .map_or_else(|| Self::internal(error), |first| Self::from_datafusion(first, sql)),
            DataFusionError::ResourcesExhausted(text) => exhausted(text),
            DataFusionError::NotImplemented(text) => texts::not_implemented(text),
            DataFusionError::Plan(text) => texts::plan(text).unwrap_or_else(|| Self::internal(error)),
            DataFusionError::Execution(text) => {
                texts::execution(text).or_else(|| texts::plan(text)).unwrap_or_else(|| Self::internal(error))
            }
            DataFusionError::Internal(text) => texts::internal(text).unwrap_or_else(|| Self::internal(error)),
            DataFusionError::ExecutionJoin(join) if join.is_cancelled() => cancelled(),
            DataFusionError::ObjectStore(_) | DataFusionError::IoError(_) => {
                let id = Self::internal(error);
                Self { code: ErrorCode::SourceError, message: "reading stored data failed".into(), ..id }
            }
            DataFusionError::ParquetError(_) => {
                let id = Self::internal(error);
                Self { code: ErrorCode::SourceError, message: "a stored file cannot be read".into(), ..id }
                    .with_hint("the file may be damaged; see system.sources")
            }
            _ => Self::internal(error),
        }
    }
}

impl From<DataFusionError> for QueryError {
    fn from(error: DataFusionError) -> Self {
        Self::from_datafusion(&error, None)
    }
}

impl From<SourceError> for QueryError {
    fn from(error: SourceError) -> Self {
        from_source(&error)
    }
}

impl From<&SemanticError> for QueryError {
    fn from(error: &SemanticError) -> Self {
        Self {
            code: ErrorCode::from_sqlstate(error.sqlstate).unwrap_or(ErrorCode::Internal),
            message: strip_nul(&error.message),
            detail: Some(format!("rule {}", error.rule)),
            hint: error.hint.as_deref().map(strip_nul),
            position: None,
        }
    }
}

/// The error of a statement that was cancelled on request.
#[must_use]
pub(crate) fn cancelled() -> QueryError {
    QueryError::new(ErrorCode::QueryCanceled, "canceling statement due to user request")
}

fn from_source(error: &SourceError) -> QueryError {
    let code = match error.kind {
        SourceErrorKind::Unreachable | SourceErrorKind::Timeout => ErrorCode::SourceUnreachable,
        SourceErrorKind::Cancelled => ErrorCode::QueryCanceled,
        SourceErrorKind::Busy => ErrorCode::InsufficientResources,
        SourceErrorKind::Limit => ErrorCode::ProgramLimitExceeded,
        SourceErrorKind::Data => ErrorCode::NumericOutOfRange,
        SourceErrorKind::Unsupported => ErrorCode::FeatureNotSupported,
        SourceErrorKind::Auth
        | SourceErrorKind::Conflict
        | SourceErrorKind::StateUnknown
        | SourceErrorKind::Remote => ErrorCode::SourceError,
        // Planning knew the table: its topic, collection or file is gone, or was never made.
        SourceErrorKind::NotFound => ErrorCode::UndefinedTable,
    };
    let code = match (&error.remote_code, code) {
        // A remote PostgreSQL that says what kind of data error it met is believed.
        (Some(remote), ErrorCode::NumericOutOfRange | ErrorCode::SourceError) if remote.starts_with("22") => {
            ErrorCode::from_sqlstate(remote).unwrap_or(code)
        }
        _ => code,
    };
    if let Some(cause) = &error.cause {
        tracing::debug!(error = %cause, kind = ?error.kind, "source error reaches a client");
    }
    QueryError {
        code,
        message: strip_nul(&error.message),
        detail: error.remote_code.as_ref().map(|remote| format!("remote code {remote}")),
        hint: error.hint.as_deref().map(strip_nul),
        position: None,
    }
}

/// Looks for an error of ours in a foreign chain.
fn from_foreign(error: &(dyn std::error::Error + Send + Sync + 'static), sql: Option<&str>) -> QueryError {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = next {
        if let Some(ours) = current.downcast_ref::<QueryError>() {
            return ours.clone();
        }
        if let Some(refusal) = current.downcast_ref::<SemanticError>() {
            return QueryError::from(refusal);
        }
        if let Some(source) = current.downcast_ref::<SourceError>() {
            return from_source(source);
        }
        if let Some(inner) = current.downcast_ref::<DataFusionError>() {
            return QueryError::from_datafusion(inner, sql);
        }
        if let Some(arrow) = current.downcast_ref::<ArrowError>() {
            return from_arrow(arrow, sql);
        }
        if let Some(io) = current.downcast_ref::<std::io::Error>()
            && let Some(inner) = io.get_ref()
        {
            return from_foreign(inner, sql);
        }
        next = current.source();
    }
    let text = error.to_string();
    texts::execution(&text).unwrap_or_else(|| QueryError::internal(&text))
}

fn from_arrow(error: &ArrowError, sql: Option<&str>) -> QueryError {
    match error {
        ArrowError::ExternalError(cause) => from_foreign(cause.as_ref(), sql),
        ArrowError::DivideByZero => QueryError::new(ErrorCode::DivisionByZero, "division by zero"),
        ArrowError::ArithmeticOverflow(text) => texts::cast(text)
            .unwrap_or_else(|| QueryError::new(ErrorCode::NumericOutOfRange, "value out of range")),
        ArrowError::CastError(text) => texts::cast(text).unwrap_or_else(|| QueryError::internal(error)),
        ArrowError::ParseError(text) => texts::parse(text).unwrap_or_else(|| QueryError::internal(error)),
        ArrowError::ComputeError(text) => texts::cast(text)
            .or_else(|| texts::execution(text))
            .unwrap_or_else(|| QueryError::internal(error)),
        ArrowError::InvalidArgumentError(text) => {
            texts::cast(text).or_else(|| texts::plan(text)).unwrap_or_else(|| QueryError::internal(error))
        }
        ArrowError::NotYetImplemented(text) => texts::not_implemented(text),
        ArrowError::OffsetOverflowError(_) => QueryError::new(
            ErrorCode::ProgramLimitExceeded,
            "a text or binary result exceeds 2 GiB in one batch",
        ),
        _ => QueryError::internal(error),
    }
}

/// The parser's own errors, with the position it puts at the end of its text.
pub(crate) fn from_parser(error: &ParserError, sql: Option<&str>) -> QueryError {
    match error {
        ParserError::RecursionLimitExceeded => too_deep(),
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => texts::syntax(text, sql),
    }
}

/// The error of a statement nested or chained too deeply.
#[must_use]
pub(crate) fn too_deep() -> QueryError {
    QueryError::new(ErrorCode::StatementTooComplex, "stack depth limit exceeded").with_hint(
        "nest fewer expressions; write long OR chains as IN (…) and long sums as a join with VALUES",
    )
}

fn from_schema(error: &SchemaError) -> QueryError {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let wanted = field.name();
            if let Some(relation) = &field.relation
                && !valid_fields.is_empty()
                && !valid_fields.iter().any(|column| {
                    column.relation.as_ref().is_some_and(|known| known.table() == relation.table())
                })
            {
                let message = format!("missing FROM-clause entry for table \"{}\"", relation.table());
                return QueryError::new(ErrorCode::UndefinedTable, message);
            }
            let is_relation =
                |column: &Column| column.relation.as_ref().is_some_and(|relation| relation.table() == wanted);
            if field.relation.is_none() && valid_fields.iter().any(is_relation) {
                return QueryError::unsupported(format!("the whole row \"{wanted}\" as a value"))
                    .with_hint("name its columns, and count rows with count(*)");
            }
            let shown = field.relation.as_ref().map_or_else(
                || format!("column \"{wanted}\" does not exist"),
                |relation| format!("column {}.{wanted} does not exist", relation.table()),
            );
            let nearest = nearest(wanted, valid_fields.iter().map(|column| column.name()));
            let error = QueryError::new(ErrorCode::UndefinedColumn, shown);
            match nearest {
                Some(name) => error.with_hint(format!("perhaps you meant the column \"{name}\"")),
                None => error,
            }
        }
        SchemaError::AmbiguousReference { field } => QueryError::new(
            ErrorCode::AmbiguousColumn,
            format!("column reference \"{}\" is ambiguous", field.name()),
        ),
        SchemaError::DuplicateQualifiedField { name, .. }
        | SchemaError::DuplicateUnqualifiedField { name } => {
            let name = name.split('\u{1}').next().unwrap_or_default();
            QueryError::new(ErrorCode::DuplicateColumn, format!("column \"{name}\" specified more than once"))
                .with_hint("give one of them another name with AS")
        }
    }
}

fn exhausted(text: &str) -> QueryError {
    if text.contains("disk") || text.contains("spill") && text.contains("limit") {
        QueryError::new(ErrorCode::DiskFull, "the space for spilled data is used up")
            .with_hint("reduce the rows sorted or joined, or raise the limit of the spill directory")
    } else {
        tracing::warn!(error = %text, "query ran out of memory");
        QueryError::new(ErrorCode::OutOfMemory, "out of memory")
            .with_detail("the query needed more than its share of the memory pool")
            .with_hint("filter earlier, aggregate before joining, or raise the memory limit")
    }
}

fn diagnostic_span(diagnostic: &Diagnostic) -> Option<Span> {
    diagnostic.span.or_else(|| diagnostic.notes.iter().find_map(|note| note.span))
}

/// The nearest of some names, if it is near enough to be a likely slip.
pub(crate) fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (wanted.chars().count() / 2).max(2);
    names
        .filter(|name| !name.contains('\u{1}'))
        .map(|name| (strsim::damerau_levenshtein(wanted, name), name))
        .filter(|(distance, _)| *distance <= limit && *distance > 0)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

fn strip_nul(text: &str) -> String {
    text.replace('\0', "")
}
