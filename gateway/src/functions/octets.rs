//! PostgreSQL's functions of `bytea` that it has of texts too.
//!
//! DataFusion has most of these functions for text only and would read bytes as characters. A function of both is planned
//! as [`OfBoth`] until its arguments are known; what is left of text is DataFusion's own function again. Bytes must never
//! pass as characters: not every byte string is UTF-8.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, Int32Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Int64Type, TimeUnit};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

use super::arithmetic::returned;
use super::octet_text::{like, read};
use super::opaque::is_opaque;
use super::operators::{Kind, kind};
use crate::error::{ErrorCode, QueryError};
use crate::pgtypes::PgType;

/// What a function of texts is for bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Of {
    /// Their number.
    Length,
    /// Eight times their number.
    Bits,
    Substring,
    Position,
    /// Nothing: 42883.
    Absent,
    /// Something that is not there yet: 0A000.
    Refused,
    /// A function of any type, whose quoted literals take the others'.
    Values,
    /// A function of what is written of any type.
    Written,
}

const OF_BOTH: &[(&str, Of)] = &[
    ("octet_length", Of::Length),
    ("bit_length", Of::Bits),
    ("substr", Of::Substring),
    ("character_length", Of::Absent),
    ("reverse", Of::Absent),
    ("btrim", Of::Refused),
    ("ltrim", Of::Refused),
    ("rtrim", Of::Refused),
    ("overlay", Of::Refused),
    ("coalesce", Of::Values),
    ("greatest", Of::Values),
    ("least", Of::Values),
    ("nullif", Of::Values),
    ("concat", Of::Written),
    ("concat_ws", Of::Written),
];

/// Functions of others that take bytes as they are.
const OF_BYTES: &[&str] = &["encode", "md5", "sha224", "sha256", "sha384", "sha512", "digest", "make_array"];

/// A function under one name for texts and for bytes.
#[derive(Debug, PartialEq, Eq, Hash)]
struct OfBoth {
    name: String,
    inner: Arc<ScalarUDF>,
    of: Of,
    signature: Signature,
}

fn both(name: &str, inner: Arc<ScalarUDF>, of: Of) -> Arc<ScalarUDF> {
    let signature = Signature::user_defined(inner.signature().volatility);
    Arc::new(ScalarUDF::from(OfBoth { name: name.to_owned(), inner, of, signature }))
}

/// A registered function, for bytes too if PostgreSQL has it for them.
pub(super) fn of_both(function: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
    match OF_BOTH.iter().find(|(name, _)| *name == function.name()) {
        Some((name, of)) => both(name, function, *of),
        None => function,
    }
}

/// What a function is once its arguments are known to be texts.
pub(super) fn of_text(function: &Arc<ScalarUDF>) -> Arc<ScalarUDF> {
    function
        .inner()
        .downcast_ref::<OfBoth>()
        .map_or_else(|| Arc::clone(function), |both| Arc::clone(&both.inner))
}

/// `length`, which is of bytes too where `char_length` is not.
pub(super) fn length() -> Arc<ScalarUDF> {
    both("length", datafusion::functions::unicode::character_length(), Of::Length)
}

fn position() -> Arc<ScalarUDF> {
    both("octet_position", datafusion::functions::unicode::strpos(), Of::Position)
}

/// What only planning names, for plans that are told to another process.
pub(super) fn by_name() -> [Arc<ScalarUDF>; 5] {
    let time = DataType::Time64(TimeUnit::Microsecond);
    [position(), like(), read(DataType::Binary), read(DataType::FixedSizeBinary(16)), read(time)]
}

/// Plans `SUBSTRING (… FROM …)` and `POSITION (… IN …)` of both.
#[derive(Debug)]
pub(super) struct OctetForms;

impl ExprPlanner for OctetForms {
    fn plan_substring(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        let substr = both("substr", datafusion::functions::unicode::substr(), Of::Substring);
        Ok(PlannerResult::Planned(substr.call(args)))
    }

    fn plan_position(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        Ok(PlannerResult::Planned(position().call(args)))
    }
}

/// What is left to do for a call whose arguments have types.
pub(super) enum Settled {
    /// It is no function of both.
    Foreign(ScalarFunction),
    /// It is DataFusion's, of text.
    Text(ScalarFunction),
    /// It is ours, of bytes; quoted literals among its arguments are bytes.
    Bytes(ScalarFunction),
    /// Its arguments are to be of one type.
    Values(ScalarFunction),
    /// Its arguments are to be texts.
    Written(ScalarFunction),
}

/// Tells functions of texts and of bytes apart.
///
/// # Errors
/// 0A000 for a function of bytes that is not there, 42883 for one that there is none of.
pub(super) fn settled(mut call: ScalarFunction, types: &[DataType]) -> Result<Settled, QueryError> {
    let Some(both) = call.func.inner().downcast_ref::<OfBoth>() else {
        return foreign(&call, types).map(|()| Settled::Foreign(call));
    };
    let (of, inner) = (both.of, Arc::clone(&both.inner));
    if of == Of::Values {
        call.func = inner;
        return Ok(Settled::Values(call));
    }
    if of == Of::Written {
        call.func = inner;
        return Ok(Settled::Written(call));
    }
    if !types.first().is_some_and(is_bytes) {
        call.func = inner;
        return Ok(Settled::Text(call));
    }
    match of {
        Of::Refused => Err(refused(&both.name)),
        _ => Ok(Settled::Bytes(call)),
    }
}

fn refused(name: &str) -> QueryError {
    QueryError::unsupported(format!("function {name} of bytea"))
        .with_hint("use substring, position and octet_length, or encode(…, 'hex') and functions of text")
}

/// A function of DataFusion's that would read bytes as characters, perhaps after it was planned by another name.
fn foreign(call: &ScalarFunction, types: &[DataType]) -> Result<(), QueryError> {
    let name = call.func.name();
    let opaque = types.iter().any(|of| matches!(kind(of), Kind::Bytes | Kind::Uuid));
    if !opaque || OF_BYTES.contains(&name) || name.starts_with("array_") || is_own(name) {
        return Ok(());
    }
    if OF_BOTH.iter().any(|(other, of)| *other == name && *of == Of::Refused) {
        return Err(refused(name));
    }
    let shown: Vec<String> =
        types.iter().map(|of| PgType::from_arrow(of).without_typmod().format()).collect();
    let message = format!("function {name}({}) does not exist", shown.join(", "));
    Err(QueryError::new(ErrorCode::UndefinedFunction, message).with_hint(
        "no function matches the given name and argument types; you might need to add explicit type casts",
    ))
}

/// Functions that only planning names.
fn is_own(name: &str) -> bool {
    name.starts_with("octet_") || name.starts_with("text_to_") || name == "to_text"
}

fn is_bytes(data_type: &DataType) -> bool {
    kind(data_type) == Kind::Bytes
}

impl OfBoth {
    /// Whether it is of any type, and DataFusion's.
    fn is_any(&self) -> bool {
        matches!(self.of, Of::Values | Of::Written)
    }

    /// The types DataFusion's function takes for these.
    fn of_text(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let fields: Vec<FieldRef> =
            types.iter().map(|of| Arc::new(Field::new("argument", of.clone(), true))).collect();
        let coerced = fields_with_udf(&fields, self.inner.as_ref())?;
        Ok(coerced.iter().map(|field| field.data_type().clone()).collect())
    }

    /// The types of a call of any type once it is settled, if they are others then.
    fn others(&self, types: &[DataType]) -> Option<Vec<DataType>> {
        let wanted = types.iter().find(|of| is_opaque(of))?;
        let other = |of: &DataType| match self.of {
            Of::Values if kind(of) == Kind::Text => Some(wanted.clone()),
            Of::Written if matches!(kind(of), Kind::Bytes | Kind::Uuid | Kind::Time) => Some(DataType::Utf8),
            _ => None,
        };
        let others: Vec<Option<DataType>> = types.iter().map(other).collect();
        others.iter().any(Option::is_some).then(|| {
            let settled =
                others.into_iter().zip(types).map(|(other, of)| other.unwrap_or_else(|| of.clone()));
            settled.collect()
        })
    }

    fn of_bytes(&self, arguments: &[ArrayRef]) -> Result<ArrayRef> {
        let Some(first) = arguments.first() else { return exec_err!("{} has an argument", self.name) };
        let bytes = binary(first)?;
        let count = |length: usize, times: i64| -> Result<i32> {
            let count = i64::try_from(length).ok().and_then(|length| length.checked_mul(times));
            let count = count.and_then(|count| i32::try_from(count).ok());
            count.ok_or_else(|| QueryError::new(ErrorCode::NumericOutOfRange, "integer out of range").into())
        };
        let counted = |times: i64| -> Result<ArrayRef> {
            let counts: Result<Vec<Option<i32>>> =
                bytes.iter().map(|value| value.map(|value| count(value.len(), times)).transpose()).collect();
            Ok(Arc::new(Int32Array::from(counts?)))
        };
        match (self.of, arguments) {
            (Of::Length, _) => counted(1),
            (Of::Bits, _) => counted(8),
            (Of::Substring, [_, rest @ ..]) => {
                let numbers: Vec<ArrayRef> =
                    rest.iter().map(|of| cast(of, &DataType::Int64)).collect::<Result<_, _>>()?;
                let mut parts = BinaryBuilder::new();
                for (row, value) in bytes.iter().enumerate() {
                    let given: Option<Vec<i64>> = numbers
                        .iter()
                        .map(|of| of.is_valid(row).then(|| of.as_primitive::<Int64Type>().value(row)))
                        .collect();
                    match (value, given.as_deref()) {
                        (Some(value), Some([from])) => parts.append_value(part(value, *from, None)?),
                        (Some(value), Some([from, length])) => {
                            parts.append_value(part(value, *from, Some(*length))?);
                        }
                        _ => parts.append_null(),
                    }
                }
                Ok(Arc::new(parts.finish()))
            }
            (Of::Position, [_, sought]) => {
                let sought = binary(sought)?;
                let places: Result<Vec<Option<i32>>> = bytes
                    .iter()
                    .zip(sought.iter())
                    .map(|(value, sought)| {
                        value.zip(sought).map(|(value, sought)| count(place(value, sought), 1)).transpose()
                    })
                    .collect();
                Ok(Arc::new(Int32Array::from(places?)))
            }
            _ => exec_err!("function {} was planned for bytes it does not take", self.name),
        }
    }
}

/// Any array of bytes as the plain one.
pub(super) fn binary(array: &ArrayRef) -> Result<BinaryArray> {
    Ok(cast(array, &DataType::Binary)?.as_binary::<i32>().clone())
}

/// The bytes from a place on, counted from 1 and perhaps before the first (PostgreSQL 17, varlena.c, bytea_substring).
fn part(bytes: &[u8], from: i64, length: Option<i64>) -> Result<&[u8], QueryError> {
    if length.is_some_and(|length| length < 0) {
        return Err(QueryError::new(ErrorCode::SubstringError, "negative substring length not allowed"));
    }
    let index = |place: i64| usize::try_from(place.max(1) - 1).map_or(bytes.len(), |at| at.min(bytes.len()));
    let end = length.map_or(bytes.len(), |length| index(from.saturating_add(length)));
    Ok(bytes.get(index(from)..end).unwrap_or_default())
}

/// Where bytes stand in others, counted from 1; 0 where they do not.
fn place(bytes: &[u8], sought: &[u8]) -> usize {
    if sought.is_empty() {
        return 1;
    }
    bytes.windows(sought.len()).position(|window| window == sought).map_or(0, |at| at + 1)
}

impl ScalarUDFImpl for OfBoth {
    fn name(&self) -> &str {
        &self.name
    }

    fn aliases(&self) -> &[String] {
        if self.name == self.inner.name() { self.inner.aliases() } else { &[] }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        if let Some(others) = self.others(types) {
            // They stay as they are until expressions are settled: not every literal's type has a cast in DataFusion.
            self.of_text(&others)?;
            return Ok(types.to_vec());
        }
        if self.is_any() || !types.iter().any(|of| matches!(kind(of), Kind::Bytes | Kind::Uuid)) {
            return self.of_text(types);
        }
        let number = |of: &DataType| kind(of) == Kind::Integer || of.is_null();
        match (self.of, types) {
            (Of::Refused, _) if types.first().is_some_and(is_bytes) => Ok(types.to_vec()),
            (Of::Length | Of::Bits, [bytes]) if is_bytes(bytes) => Ok(types.to_vec()),
            (Of::Substring, [bytes, rest @ ..])
                if is_bytes(bytes) && (1..=2).contains(&rest.len()) && rest.iter().all(number) =>
            {
                let mut taken = types.to_vec();
                taken.iter_mut().skip(1).for_each(|of| *of = DataType::Int64);
                Ok(taken)
            }
            (Of::Position, [bytes, sought])
                if is_bytes(bytes)
                    && (is_bytes(sought) || sought.is_null() || kind(sought) == Kind::Text) =>
            {
                Ok(vec![bytes.clone(), DataType::Binary])
            }
            _ => plan_err!("{} does not take these types", self.name),
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match (self.of, types.first()) {
            (Of::Length | Of::Bits | Of::Position, Some(of)) if is_bytes(of) => Ok(DataType::Int32),
            (Of::Substring | Of::Refused, Some(of)) if is_bytes(of) => Ok(DataType::Binary),
            _ => self.inner.return_type(types),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        if let Some(others) = self.others(&types) {
            let settled = args.arg_fields.iter().zip(others);
            let settled: Vec<FieldRef> =
                settled.map(|(field, of)| Arc::new(field.as_ref().clone().with_data_type(of))).collect();
            let args = ReturnFieldArgs { arg_fields: &settled, scalar_arguments: args.scalar_arguments };
            return self.inner.return_field_from_args(args);
        }
        if self.is_any() || !types.first().is_some_and(is_bytes) {
            return self.inner.return_field_from_args(args);
        }
        Ok(Arc::new(Field::new(self.name(), self.return_type(&types)?, true)))
    }

    fn simplify(&self, args: Vec<Expr>, context: &SimplifyContext) -> Result<ExprSimplifyResult> {
        if self.is_any() {
            return self.inner.simplify(args, context);
        }
        Ok(ExprSimplifyResult::Original(args))
    }

    fn short_circuits(&self) -> bool {
        self.inner.short_circuits()
    }

    fn conditional_arguments<'a>(&self, args: &'a [Expr]) -> Option<(Vec<&'a Expr>, Vec<&'a Expr>)> {
        self.inner.conditional_arguments(args)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if self.is_any() || !args.args.first().is_some_and(|of| is_bytes(&of.data_type())) {
            return self.inner.invoke_with_args(args);
        }
        let scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        returned(self.of_bytes(&ColumnarValue::values_to_arrays(&args.args)?)?, scalar)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_cut_as_postgresql_cuts_them() {
        let bytes = [0, 255, 1];
        for (from, length, expected) in [
            (2, None, &[255, 1][..]),
            (2, Some(1), &[255]),
            (0, Some(2), &[0]),
            (-5, None, &[0, 255, 1]),
            (9, None, &[]),
            (i64::MAX, Some(1), &[]),
            (-2_147_483_647, Some(5), &[]),
            (1, Some(i64::MAX), &[0, 255, 1]),
        ] {
            assert_eq!(part(&bytes, from, length), Ok(expected), "{from} {length:?}");
        }
        assert_eq!(part(&bytes, 1, Some(-1)).unwrap_err().code.sqlstate(), "22011");
        for (sought, expected) in [(&[255][..], 2), (&[2], 0), (&[], 1), (&[255, 1], 2), (&[0, 1], 0)] {
            assert_eq!(place(&bytes, sought), expected, "{sought:?}");
        }
    }
}
