//! Bytes, UUIDs and times of day read from texts, the texts of the first two, and `LIKE` of bytes.
//!
//! It must never take bytes for characters: a pattern's `_` is one byte, and a text is PostgreSQL's, in hexadecimal.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BinaryBuilder, BooleanArray, FixedSizeBinaryBuilder, StringArray,
    Time64MicrosecondArray,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::arithmetic::returned;
use super::octets::binary;
use crate::error::{ErrorCode, QueryError};
use crate::pgtypes::input;

/// `LIKE` of bytes: `%` is any number of them and `_` one.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Like(Signature);

/// Whether bytes are like a pattern of bytes.
pub(super) fn like() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Like(Signature::any(2, Volatility::Immutable))))
}

impl ScalarUDFImpl for Like {
    fn name(&self) -> &str {
        "octet_like"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let [bytes, patterns] = arrays.as_slice() else { return exec_err!("a pattern has two sides") };
        let (bytes, patterns) = (binary(bytes)?, binary(patterns)?);
        let answers: Result<Vec<Option<bool>>, QueryError> = bytes
            .iter()
            .zip(patterns.iter())
            .map(|(bytes, pattern)| {
                bytes.zip(pattern).map(|(bytes, pattern)| is_like(bytes, pattern)).transpose()
            })
            .collect();
        returned(Arc::new(BooleanArray::from(answers?)), scalar)
    }
}

enum Piece {
    Any,
    One,
    Byte(u8),
    /// A backslash at the pattern's end.
    Dangling,
}

fn pieces(pattern: &[u8]) -> Vec<Piece> {
    let mut rest = pattern.iter();
    let mut pieces = Vec::with_capacity(pattern.len());
    while let Some(byte) = rest.next() {
        pieces.push(match byte {
            b'%' => Piece::Any,
            b'_' => Piece::One,
            b'\\' => rest.next().map_or(Piece::Dangling, |byte| Piece::Byte(*byte)),
            byte => Piece::Byte(*byte),
        });
    }
    pieces
}

fn is_like(bytes: &[u8], pattern: &[u8]) -> Result<bool, QueryError> {
    let pieces = pieces(pattern);
    let (mut at, mut piece) = (0, 0);
    // Where the last `%` stands, and the first byte it does not take yet.
    let mut open: Option<(usize, usize)> = None;
    while let Some(byte) = bytes.get(at) {
        match pieces.get(piece) {
            Some(Piece::Any) => {
                open = Some((piece, at));
                piece += 1;
                continue;
            }
            Some(Piece::One) => {
                (at, piece) = (at + 1, piece + 1);
                continue;
            }
            Some(Piece::Byte(wanted)) if wanted == byte => {
                (at, piece) = (at + 1, piece + 1);
                continue;
            }
            Some(Piece::Dangling) => {
                let message = "LIKE pattern must not end with escape character";
                return Err(QueryError::new(ErrorCode::InvalidEscapeSequence, message));
            }
            _ => {}
        }
        let Some((any, taken)) = open else { return Ok(false) };
        (at, piece) = (taken + 1, any + 1);
        open = Some((any, taken + 1));
    }
    Ok(pieces.iter().skip(piece).all(|piece| matches!(piece, Piece::Any)))
}

/// The cast of a text to bytes, a UUID or a time of day.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Read(Signature, DataType);

/// Reads `Binary`, `FixedSizeBinary(16)` or microseconds since midnight from texts, as PostgreSQL's input functions do.
pub(super) fn read(target: DataType) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Read(Signature::any(1, Volatility::Immutable), target)))
}

impl ScalarUDFImpl for Read {
    fn name(&self) -> &str {
        match self.1 {
            DataType::Binary => "text_to_bytea",
            DataType::Time64(_) => "text_to_time",
            _ => "text_to_uuid",
        }
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(self.1.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let Some(array) = arrays.first() else { return exec_err!("a cast has one argument") };
        let texts = cast(array, &DataType::Utf8)?;
        let texts = texts.as_string::<i32>();
        if self.1 == DataType::Binary {
            let mut bytes = BinaryBuilder::new();
            for text in texts {
                bytes.append_option(text.map(input::bytea).transpose()?);
            }
            return returned(Arc::new(bytes.finish()), scalar);
        }
        if matches!(self.1, DataType::Time64(_)) {
            let times = texts.iter().map(|text| text.map(input::time).transpose());
            let times = times.collect::<Result<Vec<Option<i64>>, QueryError>>()?;
            return returned(Arc::new(Time64MicrosecondArray::from(times)), scalar);
        }
        let mut uuids = FixedSizeBinaryBuilder::with_capacity(texts.len(), 16);
        for text in texts {
            match text.map(input::uuid).transpose()? {
                Some(uuid) => uuids.append_value(uuid)?,
                None => uuids.append_null(),
            }
        }
        returned(Arc::new(uuids.finish()), scalar)
    }
}

/// The texts of bytes, and of UUIDs if they are 16 wide.
pub(super) fn texts(array: &ArrayRef) -> Result<StringArray> {
    let uuids = *array.data_type() == DataType::FixedSizeBinary(16);
    let text = |bytes: &[u8]| match uuid::Uuid::from_slice(bytes) {
        Ok(uuid) if uuids => uuid.hyphenated().to_string(),
        _ => bytes.iter().fold("\\x".to_owned(), |text, byte| text + &format!("{byte:02x}")),
    };
    Ok(binary(array)?.iter().map(|bytes| bytes.map(text)).collect())
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::BinaryArray;

    use super::*;

    #[test]
    fn patterns_of_bytes_are_matched_as_in_postgresql() {
        for (bytes, pattern, expected) in [
            (&b"ab"[..], &b"a%"[..], true),
            (b"ab", b"_", false),
            (b"ab", b"__", true),
            (b"", b"%", true),
            (b"", b"_", false),
            (b"a\\", b"a\\\\", true),
            (b"a%", b"a\\%", true),
            (b"ab", b"a\\%", false),
            (b"\x00\xff\x00\xff", b"%\xff", true),
            (b"aXbXc", b"a%X_", true),
            (b"aXbXcd", b"a%X_", false),
            (b"abc", b"%b%", true),
            (b"ab", b"ab\\", false),
        ] {
            assert_eq!(is_like(bytes, pattern), Ok(expected), "{bytes:?} {pattern:?}");
        }
        assert_eq!(is_like(b"ab\\", b"ab\\").unwrap_err().code.sqlstate(), "22025");
    }

    #[test]
    fn texts_are_written_in_hexadecimal() {
        let bytes: ArrayRef = Arc::new(BinaryArray::from_opt_vec(vec![Some(&[0, 255][..]), None, Some(&[])]));
        assert_eq!(texts(&bytes).unwrap().iter().collect::<Vec<_>>(), [Some("\\x00ff"), None, Some("\\x")]);
        let mut uuids = FixedSizeBinaryBuilder::new(16);
        uuids.append_value([0xab; 16]).unwrap();
        let uuids: ArrayRef = Arc::new(uuids.finish());
        assert_eq!(texts(&uuids).unwrap().value(0), "abababab-abab-abab-abab-abababababab");
    }
}
