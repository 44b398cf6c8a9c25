use super::*;
use datafusion::arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use portolan_catalog::source::{SourceError, SourceErrorKind};
use std::sync::Arc;

#[test]
fn every_code_has_its_own_sqlstate() {
    let mut seen = std::collections::BTreeSet::new();
    for code in ErrorCode::ALL {
        assert_eq!(code.sqlstate().len(), 5);
        assert!(seen.insert(code.sqlstate()), "{} twice", code.sqlstate());
        assert_eq!(ErrorCode::from_sqlstate(code.sqlstate()), Some(*code));
    }
}

#[test]
fn an_error_of_ours_survives_every_wrapper() {
    let source =
        SourceError::new(SourceErrorKind::Unreachable, "source \"ops\" is unreachable").with_hint("look");
    let wrapped = DataFusionError::Context(
        "x".into(),
        Box::new(DataFusionError::Shared(Arc::new(DataFusionError::ArrowError(
            Box::new(ArrowError::ExternalError(Box::new(DataFusionError::External(Box::new(source))))),
            None,
        )))),
    );
    let error = QueryError::from(wrapped);
    assert_eq!(error.code.sqlstate(), "HV00N");
    assert_eq!(error.message, "source \"ops\" is unreachable");
    assert_eq!(error.hint.as_deref(), Some("look"));
}

#[test]
fn unknown_errors_hide_their_text() {
    let error = QueryError::from(DataFusionError::Internal("struct Foo at /etc/passwd held 'secret'".into()));
    assert_eq!(error.code, ErrorCode::Internal);
    assert_eq!(error.message, "internal error");
    assert!(error.detail.unwrap().starts_with("error id "));
}

#[test]
fn positions_count_characters() {
    use datafusion::sql::sqlparser::tokenizer::Location;
    assert_eq!(char_position("select é, x", Location { line: 1, column: 11 }), Some(11));
    assert_eq!(char_position("select\n x", Location { line: 2, column: 2 }), Some(9));
    assert_eq!(find_identifier("select 'nope', Nope from t", "nope"), Some(16));
    assert_eq!(find_identifier("select \"Nope\" from t", "nope"), Some(8));
}

#[test]
fn an_infinite_time_that_is_no_date_is_out_of_range() {
    use datafusion::arrow::array::{ArrayRef, TimestampMicrosecondArray};
    use datafusion::arrow::datatypes::DataType;

    let infinite: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![i64::MAX]));
    let options = datafusion::arrow::compute::CastOptions { safe: false, ..Default::default() };
    let error = datafusion::arrow::compute::cast_with_options(&infinite, &DataType::Date32, &options);
    let told = QueryError::from(DataFusionError::from(error.unwrap_err()));
    assert_eq!(told.code.sqlstate(), "22008", "{told:?}");

    let with_zone =
        DataType::Timestamp(datafusion::arrow::datatypes::TimeUnit::Microsecond, Some("UTC".into()));
    let error = datafusion::arrow::compute::cast_with_options(&infinite, &with_zone, &options);
    let told = QueryError::from(DataFusionError::from(error.unwrap_err()));
    assert_eq!(told.code.sqlstate(), "22008", "{told:?}");

    let beyond: ArrayRef = Arc::new(datafusion::arrow::array::Date32Array::from(vec![i32::MAX]));
    let error = datafusion::arrow::compute::cast_with_options(&beyond, &with_zone, &options);
    let told = QueryError::from(DataFusionError::from(error.unwrap_err()));
    assert_eq!(told.message, "date out of range for timestamp");
    assert_eq!(told.code.sqlstate(), "22008", "{told:?}");
}
