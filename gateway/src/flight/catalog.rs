//! Catalog statements: answered by the shadow catalog as on the other door, and brought from its texts to Arrow.
//!
//! A type Arrow has a value for becomes that; what it has none for (`regclass`, `aclitem[]`, a numeric without a scale)
//! stays PostgreSQL's own text, so nothing is rounded or guessed. Such answers are small and come whole: the shadow
//! bounds them.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray, new_empty_array};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::ScalarValue;

use super::FlightConfig;
use super::schema::type_name;
use super::session::FlightSession;
use super::statement::Values;
use super::status::{from_fault, from_statement, refused};
use crate::engine::ResultColumn;
use crate::error::{ErrorCode, QueryError};
use crate::pg::backend::Format;
use crate::pg::bridge::activity_row;
use crate::pg::decode::decode;
use crate::pg::style::Zone;
use crate::pgtypes::PgType;
use crate::pgtypes::oid;
use crate::shadow::{
    DescribeRequest, DescribedColumn, LiveRelations, RelayMode, RelayRequest, SessionView, Shadow,
};

/// A catalog statement as the shadow described it.
#[derive(Debug)]
pub(super) struct CatalogQuery {
    pub(super) sql: Arc<str>,
    columns: Vec<DescribedColumn>,
    /// Types of the parameters; one we do not know is bound as text.
    pub(super) parameters: Vec<PgType>,
    pub(super) schema: SchemaRef,
}

/// The Arrow type of a column; `None` leaves PostgreSQL's text.
fn arrow_type(column: &DescribedColumn) -> Option<DataType> {
    let pg = PgType { typmod: column.typmod, ..PgType::from_oid(column.type_oid)? };
    let item = pg.element().unwrap_or(pg);
    // Without a scale a numeric has no Arrow type.
    if item.oid == oid::NUMERIC && pg.typmod < 4 {
        return None;
    }
    // A declared scale of an array's elements is not kept when they are decoded.
    if item.oid == oid::NUMERIC && pg != item {
        return None;
    }
    pg.to_arrow()
}

impl CatalogQuery {
    /// Describes a statement without running it.
    ///
    /// # Errors
    /// What PostgreSQL says about it; 58000 while the shadow restarts.
    pub(super) async fn plan(
        config: &FlightConfig,
        shadow: &Shadow,
        session: &FlightSession,
        sql: &str,
    ) -> Result<Self, QueryError> {
        let sql: Arc<str> = Arc::from(sql);
        let request = DescribeRequest {
            sql: Arc::clone(&sql),
            position_offset: 0,
            param_oids: Vec::new(),
            session: view(config, session),
        };
        let description = shadow.describe(request).await.map_err(from_statement)?;
        let columns = description.columns.clone().unwrap_or_default();
        let fields: Vec<Field> = columns
            .iter()
            .map(|column| {
                let shown = PgType::from_oid(column.type_oid).map_or_else(
                    || oid::sql_name(column.type_oid),
                    |pg| PgType { typmod: column.typmod, ..pg }.format(),
                );
                Field::new(&column.name, arrow_type(column).unwrap_or(DataType::Utf8), true)
                    .with_metadata(type_name(&shown))
            })
            .collect();
        let parameters =
            description.param_oids.iter().map(|oid| PgType::from_oid(*oid).unwrap_or(PgType::TEXT)).collect();
        Ok(Self { sql, columns, parameters, schema: Arc::new(Schema::new(fields)) })
    }

    /// Whether a column is a number whose scale only the engine can tell.
    pub(super) fn has_loose_numbers(&self) -> bool {
        self.columns.iter().any(|column| column.type_oid == oid::NUMERIC && column.typmod < 4)
    }

    /// Whether the engine makes the same columns of the statement.
    pub(super) fn agrees(&self, columns: &[ResultColumn]) -> bool {
        let same = |(ours, theirs): (&ResultColumn, &DescribedColumn)| {
            ours.name == theirs.name && ours.pg.oid == theirs.type_oid
        };
        columns.len() == self.columns.len() && columns.iter().zip(&self.columns).all(same)
    }

    /// Runs it once.
    ///
    /// # Errors
    /// What PostgreSQL says; 54000 for an answer that is too large; 0A000 for a parameter that has no text.
    pub(super) async fn run(
        &self,
        config: &FlightConfig,
        shadow: &Shadow,
        session: &FlightSession,
        values: &Values,
    ) -> Result<RecordBatch, QueryError> {
        if values.len() != self.parameters.len() {
            return Err(QueryError::new(
                ErrorCode::ProtocolViolation,
                format!(
                    "bind message supplies {} parameters, but prepared statement requires {}",
                    values.len(),
                    self.parameters.len()
                ),
            ));
        }
        let mode = RelayMode::Extended {
            param_oids: Vec::new(),
            param_formats: Vec::new(),
            params: values.iter().map(text_of).collect::<Result<_, _>>()?,
            result_formats: Vec::new(),
        };
        let request = RelayRequest {
            sql: Arc::clone(&self.sql),
            position_offset: 0,
            mode,
            session: view(config, session),
        };
        let reply = shadow.relay(request).await.map_err(from_statement)?;
        if let Some(error) = reply.error {
            return Err(from_statement(error.error));
        }
        let zone = Zone::parse(session.settings().time_zone()).unwrap_or(Zone::Utc);
        self.batch(&reply.rows, zone)
    }

    /// The rows of DataRow frames.
    fn batch(&self, frames: &[Bytes], zone: Zone) -> Result<RecordBatch, QueryError> {
        let mut columns: Vec<Vec<Option<Bytes>>> = vec![Vec::with_capacity(frames.len()); self.columns.len()];
        for frame in frames {
            let values = cells(frame).filter(|values| values.len() == columns.len());
            let values = values.ok_or_else(|| QueryError::internal(&"a row of the catalog is malformed"))?;
            columns.iter_mut().zip(values).for_each(|(column, value)| column.push(value));
        }
        let arrays = columns
            .iter()
            .zip(&self.columns)
            .zip(self.schema.fields())
            .map(|((texts, column), field)| array(texts, column, field, zone))
            .collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(frames.len()));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options)
            .map_err(|error| QueryError::internal(&error))
    }
}

fn array(
    texts: &[Option<Bytes>],
    column: &DescribedColumn,
    field: &Field,
    zone: Zone,
) -> Result<ArrayRef, QueryError> {
    if texts.is_empty() {
        return Ok(new_empty_array(field.data_type()));
    }
    if arrow_type(column).is_none() {
        let texts = texts.iter().map(|text| text.as_ref().map(|text| String::from_utf8_lossy(text)));
        return Ok(Arc::new(texts.collect::<StringArray>()));
    }
    let values = texts
        .iter()
        .map(|text| {
            if text.as_ref().is_some_and(|text| text.starts_with(b"{{")) && field.data_type().is_nested() {
                return Err(refused("an array of more than one dimension")
                    .with_hint("cast it to text, or read it over the PostgreSQL protocol"));
            }
            let value =
                decode(column.type_oid, Format::Text, text.as_deref(), 0, zone).map_err(from_fault)?;
            if value.data_type() == *field.data_type() {
                return Ok(value);
            }
            value.cast_to(field.data_type()).map_err(|error| QueryError::internal(&error))
        })
        .collect::<Result<Vec<ScalarValue>, QueryError>>()?;
    ScalarValue::iter_to_array(values).map_err(|error| QueryError::internal(&error))
}

/// The values of a DataRow frame: a tag, a length, a count, then a length and bytes each, −1 for NULL.
fn cells(frame: &Bytes) -> Option<Vec<Option<Bytes>>> {
    let mut rest = frame.clone();
    if rest.len() < 7 {
        return None;
    }
    rest.advance(5);
    let count = usize::from(rest.get_u16());
    let mut cells = Vec::with_capacity(count.min(rest.len() / 4));
    for _ in 0..count {
        if rest.len() < 4 {
            return None;
        }
        match usize::try_from(rest.get_i32()) {
            Ok(length) if length <= rest.len() => cells.push(Some(rest.split_to(length))),
            Ok(_) => return None,
            Err(_) => cells.push(None),
        }
    }
    Some(cells)
}

/// A parameter as PostgreSQL's text.
fn text_of(value: &ScalarValue) -> Result<Option<Bytes>, QueryError> {
    if value.is_null() {
        return Ok(None);
    }
    if let Some(Some(text)) = value.try_as_str() {
        return Ok(Some(Bytes::copy_from_slice(text.as_bytes())));
    }
    if value.data_type().is_integer() || matches!(value, ScalarValue::Boolean(_)) {
        return Ok(Some(value.to_string().into()));
    }
    if let ScalarValue::FixedSizeBinary(16, Some(bytes)) = value
        && let Ok(uuid) = uuid::Uuid::from_slice(bytes)
    {
        return Ok(Some(uuid.hyphenated().to_string().into()));
    }
    Err(QueryError::unsupported(format!("a parameter of type {} in a catalog statement", value.data_type()))
        .with_hint("bind it as a text and cast it in the statement"))
}

/// What the shadow must know about a session.
fn view(config: &FlightConfig, session: &FlightSession) -> Arc<SessionView> {
    let user = &session.identity.user;
    let settings = session.settings();
    let (role, changed) = (settings.role_of(user), settings.for_shadow());
    drop(settings);
    let activity = config.connections.activity().iter().map(activity_row).collect();
    Arc::new(SessionView {
        session_user: user.clone(),
        role,
        backend_pid: session.identity.pid,
        client: None,
        server: None,
        started: config.started,
        settings: changed,
        live: Arc::new(LiveRelations { activity, ..LiveRelations::default() }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: &[Option<&str>]) -> Bytes {
        let mut body = vec![b'D', 0, 0, 0, 0];
        body.extend(u16::try_from(values.len()).unwrap().to_be_bytes());
        for value in values {
            let length = value.map_or(-1, |value| i32::try_from(value.len()).unwrap());
            body.extend(length.to_be_bytes());
            body.extend(value.unwrap_or_default().as_bytes());
        }
        body.into()
    }

    fn query(columns: &[(u32, i32)]) -> CatalogQuery {
        let columns: Vec<DescribedColumn> = columns
            .iter()
            .map(|(type_oid, typmod)| DescribedColumn {
                name: "c".to_owned(),
                table_oid: 0,
                attnum: 0,
                type_oid: *type_oid,
                type_len: -1,
                typmod: *typmod,
            })
            .collect();
        let fields: Vec<Field> = columns
            .iter()
            .map(|column| Field::new("c", arrow_type(column).unwrap_or(DataType::Utf8), true))
            .collect();
        CatalogQuery {
            sql: "".into(),
            columns,
            parameters: Vec::new(),
            schema: Arc::new(Schema::new(fields)),
        }
    }

    #[test]
    fn texts_of_the_catalog_become_values_or_stay_texts() {
        // name, oid, bool, int2, text[], numeric(6,1), numeric, aclitem[], timestamptz
        let query = query(&[
            (19, -1),
            (26, -1),
            (16, -1),
            (21, -1),
            (1009, -1),
            (1700, ((6 << 16) | 1) + 4),
            (1700, -1),
            (1034, -1),
            (1184, -1),
        ]);
        let full = row(&[
            Some("berths"),
            Some("4294967295"),
            Some("t"),
            Some("-7"),
            Some("{a,NULL,\"b c\"}"),
            Some("12.5"),
            Some("12.50"),
            Some("{demo=r/demo}"),
            Some("2024-01-02 03:04:05.5+00"),
        ]);
        let empty = row(&[None; 9]);
        let batch = query.batch(&[full, empty], Zone::Utc).unwrap();
        let shown = crate::flight::tests::shown(&[batch]);
        assert_eq!(
            shown,
            [
                "berths|4294967295|true|-7|[a, NULL, b c]|12.5|12.50|{demo=r/demo}|2024-01-02T03:04:05.500Z",
                "NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL",
            ]
        );
        assert_eq!(query.batch(&[], Zone::Utc).unwrap().num_rows(), 0);
        assert!(query.batch(&[row(&[None])], Zone::Utc).is_err());
        assert!(query.batch(&[Bytes::from_static(b"D\0\0\0\0\0\x09\0\0\0\x10x")], Zone::Utc).is_err());
    }
}
