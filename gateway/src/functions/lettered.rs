//! `encode(bytea, format)` as PostgreSQL writes it (17, encode.c).
//!
//! DataFusion's `base64` leaves out the padding and breaks no lines, and it does not know `escape`. What is written here is
//! read by others, so it is PostgreSQL's to the byte.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use datafusion::arrow::array::{ArrayRef, AsArray, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature};

use super::arithmetic::returned;
use crate::error::{ErrorCode, QueryError};

/// Bytes that make one full line of base64.
const LINE: usize = 57;

/// The function itself, or the one that writes as PostgreSQL does.
pub(super) fn as_postgresql(function: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
    if function.name() == "encode" { Arc::new(ScalarUDF::from(Encode(function))) } else { function }
}

/// `encode`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Encode(Arc<ScalarUDF>);

impl ScalarUDFImpl for Encode {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.0.return_type(types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value, ColumnarValue::Scalar(format)] = args.args.as_slice() else {
            return Err(QueryError::unsupported("a format of encode that is no constant").into());
        };
        let (ScalarValue::Utf8(Some(format))
        | ScalarValue::Utf8View(Some(format))
        | ScalarValue::LargeUtf8(Some(format))) = format
        else {
            return self.0.invoke_with_args(args);
        };
        let written: fn(&[u8]) -> String = match format.to_ascii_lowercase().as_str() {
            "hex" => return self.0.invoke_with_args(args),
            "base64" => base64_lines,
            "escape" => escaped,
            _ => {
                let shown: String = format.chars().take(40).collect();
                let message = format!("unrecognized encoding: \"{shown}\"");
                return Err(QueryError::new(ErrorCode::InvalidParameterValue, message).into());
            }
        };
        let scalar = matches!(value, ColumnarValue::Scalar(_));
        let bytes = cast(&value.to_array(args.number_rows)?, &DataType::Binary)?;
        let texts: StringArray = bytes.as_binary::<i32>().iter().map(|bytes| bytes.map(written)).collect();
        let texts: ArrayRef = Arc::new(texts);
        returned(cast(&texts, args.return_field.data_type())?, scalar)
    }
}

/// A line ends behind 76 letters, unless they end with what is padded.
fn base64_lines(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4 + bytes.len() / LINE);
    for line in bytes.chunks(LINE) {
        STANDARD.encode_string(line, &mut text);
        if line.len() == LINE {
            text.push('\n');
        }
    }
    text
}

/// Zero and what is no ASCII as three octal digits behind a backslash, a backslash twice.
fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'\\' => text.push_str("\\\\"),
            0 | 0x80.. => text.push_str(&format!("\\{byte:03o}")),
            byte => text.push(char::from(*byte)),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tests::fixture::Fixture;

    /// Expected values: PostgreSQL 17's.
    #[test]
    fn bytes_are_written_as_postgresql_writes_them() {
        for (bytes, text) in [(&b""[..], ""), (b"\x01", "AQ=="), (b"\xff\xfe", "//4="), (b"abc", "YWJj")] {
            assert_eq!(base64_lines(bytes), text);
        }
        let line = "YWFh".repeat(19);
        assert_eq!(base64_lines(&[b'a'; 56]), format!("{}YWE=", "YWFh".repeat(18)));
        assert_eq!(base64_lines(&[b'a'; 57]), format!("{line}\n"));
        assert_eq!(base64_lines(&[b'a'; 58]), format!("{line}\nYQ=="));
        assert_eq!(base64_lines(&[b'a'; 114]), format!("{line}\n{line}\n"));
        assert_eq!(escaped(b"a\\\x00\x7f\x80\xff\n"), "a\\\\\\000\x7f\\200\\377\n");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn formats_are_told_apart() {
        let fixture = Fixture::open();
        let one = async |expr: &str| fixture.one(&format!("select {expr} from t where i2 = 1")).await;
        for (expr, text) in [
            ("encode('\\x01'::bytea, 'base64')", "AQ=="),
            ("encode('\\x01ff'::bytea, 'hex')", "01ff"),
            ("encode('\\x01ff'::bytea, 'ESCAPE')", "\u{1}\\377"),
            ("encode(decode('AQ==', 'base64'), 'hex')", "01"),
            ("encode(null::bytea, 'base64') is null", "true"),
        ] {
            assert_eq!(one(expr).await.unwrap().1, text, "{expr}");
        }
        let error = one("encode('\\x01'::bytea, 'base32')").await.unwrap_err();
        assert_eq!(
            (error.code.sqlstate(), error.message.as_str()),
            ("22023", "unrecognized encoding: \"base32\"")
        );
    }
}
