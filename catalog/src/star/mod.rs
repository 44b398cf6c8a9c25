//! The star schema as data: four dimensions and one fact, their columns, keys, comments and DDL.
//!
//! Meaning of every column is in its comment, which is also what clients see in `\d+`. This module never contacts a
//! store. Rules the DDL enforces by itself: reserved members exist in every dimension, no foreign key is NULL, at
//! most one row per call carries the call's measures and at most one per visit the visit's, versions of a member
//! do not overlap. That *at least* one row carries them is asserted by the load.

mod ddl;
mod dimensions;
mod fact;
mod key;

pub use ddl::{ddl, qualified};
pub use key::{NOT_APPLICABLE, UNKNOWN, UNRESOLVED, surrogate_key};

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::source::{COMMENT_KEY, PG_TYPE_KEY};

/// One column.
#[derive(Debug, Clone, PartialEq)]
pub struct StarColumn {
    /// Name, lower case.
    pub name: &'static str,
    /// Type in the lake and in answers.
    pub arrow: DataType,
    /// Type in PostgreSQL.
    pub pg_type: &'static str,
    /// Whether NULL is allowed.
    pub nullable: bool,
    /// What it means, with unit and clock.
    pub comment: &'static str,
}

/// A foreign key of the fact: always one column to a dimension's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StarForeignKey {
    /// Referencing column.
    pub column: &'static str,
    /// Dimension.
    pub to_table: &'static str,
    /// The dimension's key.
    pub to_column: &'static str,
}

/// One table of the star.
#[derive(Debug, Clone, PartialEq)]
pub struct StarTable {
    /// Name, lower case, without schema.
    pub name: &'static str,
    /// What a row is.
    pub comment: &'static str,
    /// Columns in order.
    pub columns: Vec<StarColumn>,
    /// Primary key: one column, a deterministic [`surrogate_key`].
    pub primary_key: &'static str,
    /// Foreign keys, the fact's only.
    pub foreign_keys: Vec<StarForeignKey>,
    /// Constraints and indexes beyond keys, with `{table}` standing for the qualified table name.
    pub extra_ddl: Vec<String>,
}

impl StarTable {
    /// The table as an Arrow schema, with comments and PostgreSQL types as metadata.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        let fields: Vec<Field> = self
            .columns
            .iter()
            .map(|column| {
                let metadata = HashMap::from([
                    (COMMENT_KEY.to_owned(), column.comment.to_owned()),
                    (PG_TYPE_KEY.to_owned(), column.pg_type.to_owned()),
                ]);
                Field::new(column.name, column.arrow.clone(), column.nullable).with_metadata(metadata)
            })
            .collect();
        Arc::new(Schema::new(fields))
    }
}

/// The five tables; dimensions first, so that creating or loading them in order satisfies every foreign key.
#[must_use]
pub fn tables() -> Vec<StarTable> {
    vec![
        dimensions::date(),
        dimensions::vessel(),
        dimensions::terminal(),
        dimensions::cargo(),
        fact::cargo_operation(),
    ]
}

/// Shorthand for column lists.
fn column(
    name: &'static str,
    (arrow, pg_type): (DataType, &'static str),
    nullable: bool,
    comment: &'static str,
) -> StarColumn {
    StarColumn { name, arrow, pg_type, nullable, comment }
}

fn key_type() -> (DataType, &'static str) {
    (DataType::Int64, "int8")
}

fn text() -> (DataType, &'static str) {
    (DataType::Utf8, "text")
}

fn flag() -> (DataType, &'static str) {
    (DataType::Boolean, "bool")
}

fn integer() -> (DataType, &'static str) {
    (DataType::Int32, "int4")
}

fn instant() -> (DataType, &'static str) {
    (DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), "timestamptz")
}

fn hours() -> (DataType, &'static str) {
    (DataType::Decimal128(14, 6), "numeric(14,6)")
}

fn tonnes() -> (DataType, &'static str) {
    (DataType::Decimal128(14, 3), "numeric(14,3)")
}

fn teu() -> (DataType, &'static str) {
    (DataType::Decimal128(10, 2), "numeric(10,2)")
}

fn measure() -> (DataType, &'static str) {
    (DataType::Float64, "float8")
}
