//! The same statements over Flight SQL, with PostgreSQL's texts made from the Arrow values that came.
//!
//! Types are what the server says in a field's metadata, so that a column's SQL type is compared over this door as
//! over the others. One session per connection, opened by a handshake.

use arrow_flight::error::FlightError;
use arrow_flight::sql::client::FlightSqlServiceClient;
use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, DurationMicrosecondType, Field, Float32Type,
    Float64Type, Int16Type, Int32Type, Int64Type, IntervalMonthDayNanoType, IntervalUnit,
    Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};
use futures::TryStreamExt;
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};

use super::door::{Answer, Column, Fault};
use super::render;

/// The metadata that names a column's SQL type.
const TYPE_NAME: &str = "ARROW:FLIGHT:SQL:TYPE_NAME";

/// A session over Flight SQL.
#[derive(Debug)]
pub(crate) struct Client {
    runtime: Runtime,
    service: FlightSqlServiceClient<Channel>,
}

impl Client {
    /// Logs in as the demo's user.
    pub(crate) fn login(address: &str) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let service = runtime.block_on(async {
            let mut service = FlightSqlServiceClient::new(endpoint.connect().await.unwrap());
            service.handshake("demo", "demo").await.unwrap();
            service
        });
        Self { runtime, service }
    }

    /// Asks a statement and reads all endpoints of its answer.
    pub(crate) fn ask(&mut self, sql: &str) -> Result<Answer, Fault> {
        let service = &mut self.service;
        let asked = self.runtime.block_on(async {
            let info = service.execute(sql.to_owned(), None).await?;
            let schema = info.clone().try_decode_schema()?;
            let mut batches: Vec<RecordBatch> = Vec::new();
            for endpoint in info.endpoint {
                let stream = service.do_get(endpoint.ticket.unwrap_or_default()).await?;
                batches.extend(stream.try_collect::<Vec<_>>().await?);
            }
            Ok::<_, FlightError>((schema, batches))
        });
        let (schema, batches) = asked.map_err(fault)?;
        let mut answer = Answer { is_rows: !schema.fields().is_empty(), ..Answer::default() };
        answer.types = schema.fields().iter().map(|field| Column::of_name(type_name(field))).collect();
        for batch in &batches {
            for index in 0..batch.num_rows() {
                answer.rows.push(batch.columns().iter().map(|column| text(column.as_ref(), index)).collect());
            }
        }
        Ok(answer)
    }
}

fn type_name(field: &Field) -> &str {
    field.metadata().get(TYPE_NAME).unwrap_or_else(|| panic!("no SQL type of {field:?}"))
}

fn fault(error: FlightError) -> Fault {
    let FlightError::Tonic(status) = error else { panic!("no answer: {error}") };
    let trailer = |name: &str| {
        let value = status.metadata().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let (sqlstate, position) = (trailer("portolan-sqlstate"), trailer("portolan-position"));
    let hint = status.message().lines().find_map(|line| line.strip_prefix("hint: ")).unwrap_or_default();
    Fault { sqlstate, message: status.message().to_owned(), hint: hint.to_owned(), position }
}

/// PostgreSQL's text of one value.
fn text(array: &dyn Array, row: usize) -> Option<String> {
    if array.is_null(row) {
        return None;
    }
    Some(match array.data_type() {
        DataType::Boolean => if array.as_boolean().value(row) { "t" } else { "f" }.to_owned(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(row).to_string(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).to_string(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Float32 => render::float4(array.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => render::float8(array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(_, _) => array.as_primitive::<Decimal128Type>().value_as_string(row),
        DataType::Decimal256(_, _) => array.as_primitive::<Decimal256Type>().value_as_string(row),
        DataType::Utf8 => array.as_string::<i32>().value(row).to_owned(),
        DataType::LargeUtf8 => array.as_string::<i64>().value(row).to_owned(),
        DataType::Binary => render::bytea(array.as_binary::<i32>().value(row)),
        DataType::FixedSizeBinary(16) => render::uuid(array.as_fixed_size_binary().value(row)),
        DataType::Date32 => render::date_since_1970(array.as_primitive::<Date32Type>().value(row)),
        DataType::Time64(TimeUnit::Microsecond) => {
            render::time(array.as_primitive::<Time64MicrosecondType>().value(row))
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let micros = array.as_primitive::<TimestampMicrosecondType>().value(row);
            let text = render::timestamp_since_1970(micros);
            if zone.is_some() { render::utc(&text) } else { text }
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let span = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
            render::interval(span.months, span.days, span.nanoseconds / 1000)
        }
        DataType::Duration(TimeUnit::Microsecond) => {
            let micros = array.as_primitive::<DurationMicrosecondType>().value(row);
            let day = 86_400_000_000;
            render::interval(0, i32::try_from(micros / day).unwrap(), micros % day)
        }
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            let nested = matches!(items.data_type(), DataType::List(_));
            let shown = (0..items.len()).map(|item| match text(items.as_ref(), item) {
                None => "NULL".to_owned(),
                Some(text) if nested => text,
                Some(text) => render::quoted(text),
            });
            format!("{{{}}}", shown.collect::<Vec<_>>().join(","))
        }
        other => panic!("no rule for the Arrow type {other}"),
    })
}
