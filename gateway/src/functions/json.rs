//! `json` and `jsonb` beside a comparison.
//!
//! They are text here, and PostgreSQL compares `jsonb` by kinds, counts and keys, whatever a text of it looks like, and
//! `json` not at all. Such a comparison is refused; that of their text, when it is asked for, is one.

use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::{Expr, ExprSchemable};

use crate::error::QueryError;
use crate::pgtypes::PgType;

/// # Errors
/// 0A000 if one of the values compared is a column of `json` or `jsonb`.
pub(super) fn refuse_comparison<'a>(
    values: impl IntoIterator<Item = &'a Expr>,
    schema: &DFSchema,
) -> Result<()> {
    for value in values {
        if !matches!(value, Expr::Column(_) | Expr::OuterReferenceColumn(_, _)) {
            continue;
        }
        let Ok((_, field)) = value.to_field(schema) else { continue };
        let of = PgType::from_field(&field);
        if of.oid == PgType::JSONB.oid || of.oid == PgType::JSON.oid {
            return Err(QueryError::unsupported(format_args!("a comparison of {}", of.name()))
                .with_hint("compare its text, as in doc::text = '{\"a\": 1}'")
                .into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{DataType, Field, Schema};
    use datafusion::logical_expr::{cast, col, lit};
    use portolan_catalog::source::PG_TYPE_KEY;

    use super::*;

    #[test]
    fn a_document_is_not_compared_and_its_text_is() {
        let doc = Field::new("doc", DataType::Utf8View, true)
            .with_metadata([(PG_TYPE_KEY.to_owned(), "jsonb".to_owned())].into());
        let schema = Schema::new(vec![doc, Field::new("word", DataType::Utf8View, true)]);
        let schema = DFSchema::try_from(schema).unwrap();
        let text = cast(col("doc"), DataType::Utf8);
        refuse_comparison([&text, &lit("{}")], &schema).unwrap();
        refuse_comparison([&col("word"), &lit("{}")], &schema).unwrap();
        for sides in [[col("doc"), lit("{}")], [lit("{}"), col("doc")]] {
            let error = QueryError::from(refuse_comparison(&sides, &schema).unwrap_err());
            assert_eq!(
                (error.code.sqlstate(), error.message.as_str()),
                ("0A000", "a comparison of jsonb is not supported")
            );
        }
    }
}
