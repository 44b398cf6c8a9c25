//! Statements whose names, types and texts were looked up in PostgreSQL; rows are separated by `⏎`.

use bytes::BytesMut;
use futures::StreamExt;

use super::fixture::Fixture;
use crate::engine::QueryControl;
use crate::error::QueryError;
use crate::pg::backend::Format;
use crate::pg::encode::ColumnEncoder;
use crate::pg::style::Style;

/// What is known to differ, and why.
const DIFFERENT: &[&str] = &[
    // Averages and quotients of columns carry 16 digits after the point; PostgreSQL chooses them by value.
    "select avg(i2), avg(num), avg(f8) from t where flag",
    // Subqueries with EXISTS or IN as values are refused.
    "select exists(select 1 from t where i4 = 7)",
    "select (select max(i4) from t), 1 in (select 1)",
    // generate_series of int4 is int8.
    "select x from generate_series(1, 3) as g(x)",
];

async fn ask(fixture: &Fixture, sql: &str) -> Result<(String, String), QueryError> {
    let prepared = fixture.engine.prepare(&fixture.session, sql, &[]).await?;
    let header: Vec<_> =
        prepared.columns.iter().map(|column| format!("{}:{}", column.name, column.pg.name())).collect();
    let mut answer =
        fixture.engine.execute(&fixture.session, &prepared, Vec::new(), QueryControl::default()).await?;
    let style = Style::default();
    let mut lines = Vec::new();
    while let Some(batch) = answer.rows.next().await {
        let batch = batch.map_err(QueryError::from)?;
        let encoders: Vec<_> = batch
            .columns()
            .iter()
            .zip(answer.columns.iter())
            .map(|(array, column)| ColumnEncoder::new(array, column.pg, Format::Text, &column.name).unwrap())
            .collect();
        for row in 0..batch.num_rows() {
            let fields: Vec<String> = encoders
                .iter()
                .map(|encoder| {
                    if encoder.is_null(row) {
                        return "NULL".to_owned();
                    }
                    let mut out = BytesMut::new();
                    encoder.text(row, &style, &mut out).unwrap();
                    String::from_utf8(out.to_vec()).unwrap()
                })
                .collect();
            lines.push(fields.join("|"));
        }
    }
    Ok((header.join("|"), lines.join("⏎")))
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_postgresqls_or_refused() {
    let fixture = Fixture::open();
    let mut wrong = Vec::new();
    for line in include_str!("spot.tsv").lines() {
        let mut parts = line.split('\t');
        let (sql, header, rows) =
            (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap_or_default());
        match ask(&fixture, sql).await {
            Ok(answer) if answer == (header.to_owned(), rows.to_owned()) => {}
            _ if DIFFERENT.contains(&sql) => {}
            other => wrong.push(format!("{sql}\n  {other:?}\n  (\"{header}\", \"{rows}\")")),
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
