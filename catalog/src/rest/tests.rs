//! The weather source against a small HTTP server of our own.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{col, lit};
use futures::TryStreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::federation::{Fragment, PushedFilter, Verdict};

/// Serves the given answers in turn, then repeats the last; tells the request lines it saw.
async fn serve(answers: Vec<(&'static str, String)>) -> (String, UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, seen) = unbounded_channel();
    tokio::spawn(async move {
        let mut turn = 0;
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            let mut buffer = [0_u8; 4096];
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                let read = socket.read(&mut buffer).await.unwrap();
                request.extend_from_slice(&buffer[..read]);
            }
            let line = String::from_utf8_lossy(&request).lines().next().unwrap().to_owned();
            let _ = sender.send(line);
            let (head, body) = &answers[turn.min(answers.len() - 1)];
            turn += 1;
            let reply = format!(
                "HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = socket.write_all(reply.as_bytes()).await;
        }
    });
    (url, seen)
}

fn source(url: &str) -> RestSource {
    let station = StationConfig { name: "DKR".into(), latitude: 14.68, longitude: -17.42 };
    let mut config = RestConfig::new(url, vec![station]);
    config.from = NaiveDate::from_ymd_opt(2026, 7, 1);
    config.until = NaiveDate::from_ymd_opt(2026, 7, 3);
    config.marine_path = None;
    RestSource::open(SourceName::try_new("weather").unwrap(), config).unwrap()
}

fn speed(unit: &str, values: &str) -> String {
    format!(
        r#"{{"utc_offset_seconds":0,"hourly_units":{{"time":"iso8601","wind_speed_10m":"{unit}"}},"hourly":{{"time":["2026-07-01T00:00","2026-07-01T01:00"],"wind_speed_10m":[{values}]}}}}"#
    )
}

async fn fragment(source: &RestSource) -> Fragment {
    let mut fragment = Fragment::whole(Arc::clone(&source.tables().await.unwrap()[0]));
    fragment.projection = vec![0, 1, 2];
    fragment
}

async fn read(source: &RestSource) -> Result<String, SourceError> {
    let stream = source.executor().execute(&fragment(source).await, Arc::default()).await?;
    let batches: Vec<RecordBatch> = stream.try_collect().await.unwrap();
    Ok(pretty_format_batches(&batches).unwrap().to_string())
}

#[tokio::test]
async fn kilometres_per_hour_become_metres_per_second_and_nulls_stay() {
    let (url, _) = serve(vec![("200 OK", speed("km/h", "36.0,null"))]).await;
    assert_eq!(
        read(&source(&url)).await.unwrap(),
        "\
+---------+----------------------+---------------+
| station | time                 | wind_speed_ms |
+---------+----------------------+---------------+
| DKR     | 2026-07-01T00:00:00Z | 10.0          |
| DKR     | 2026-07-01T01:00:00Z |               |
+---------+----------------------+---------------+"
    );
}

#[tokio::test]
async fn what_cannot_be_right_is_refused_with_its_reason() {
    for (head, body, kind, expected) in [
        (
            "200 OK",
            speed("furlong/fortnight", "1,2"),
            SourceErrorKind::Data,
            "unit \"furlong/fortnight\", which is not known",
        ),
        ("200 OK", speed("m/s", "1"), SourceErrorKind::Data, "has 1 values for 2 hours"),
        ("200 OK", speed("m/s", "1,\"2\""), SourceErrorKind::Data, "no number"),
        (
            "200 OK",
            speed("m/s", "1,2").replace("seconds\":0", "seconds\":3600"),
            SourceErrorKind::Data,
            "3600 s off UTC",
        ),
        ("200 OK", "<html>".into(), SourceErrorKind::Data, "no weather answer"),
        (
            "400 Bad Request",
            r#"{"error":true,"reason":"Latitude must be in range"}"#.into(),
            SourceErrorKind::Remote,
            "refused the request: Latitude must be in range",
        ),
        ("503 Service Unavailable", String::new(), SourceErrorKind::Unreachable, "status 503"),
        ("429 Too Many Requests\r\nRetry-After: 3600", String::new(), SourceErrorKind::Remote, "for 3600 s"),
    ] {
        let (url, _) = serve(vec![(head, body)]).await;
        let error = read(&source(&url)).await.unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.message.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_short_refusal_is_waited_out() {
    let (url, mut seen) = serve(vec![
        ("429 Too Many Requests\r\nRetry-After: 0", String::new()),
        ("200 OK", speed("m/s", "1,2")),
    ])
    .await;
    assert!(read(&source(&url)).await.is_ok());
    assert!(seen.recv().await.is_some() && seen.recv().await.is_some());
}

#[tokio::test]
async fn a_dead_service_is_unreachable_and_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let source = source(&url);
    let error = read(&source).await.unwrap_err();
    assert_eq!(error.kind, SourceErrorKind::Unreachable);
    assert!(error.message.starts_with("source \"weather\" is unreachable at 127.0.0.1:"), "{error}");
    assert_eq!(source.check().await.state, HealthState::Down);
}

#[tokio::test]
async fn time_and_station_choose_what_is_asked_for() {
    let source = source("http://127.0.0.1:1");
    let executor = source.executor();
    let mut fragment = fragment(&source).await;
    let at = |micros: i64| lit(ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into())));
    let second = 1_782_950_400_000_000; // 2026-07-02 00:00 UTC
    let later = col("time").gt_eq(at(second));
    let verdict = executor.verdict(&fragment.table, &later);
    assert_eq!(verdict, Verdict::Superset("the API takes whole days".into()));
    for kept in
        [col("wind_speed_ms").gt(lit(1.0)), col("time").not_eq(at(second)), col("station").not_eq(lit("x"))]
    {
        assert!(matches!(executor.verdict(&fragment.table, &kept), Verdict::Keep(_)));
    }
    let pushed = |expr| PushedFilter { expr, exact: false };
    fragment.filters = vec![pushed(later)];
    assert_eq!(
        executor.describe(&fragment),
        "GET http://127.0.0.1:1/v1/forecast?latitude=14.68&longitude=-17.42&hourly=wind_speed_10m&start_date=2026-07-02&end_date=2026-07-03&timezone=UTC"
    );
    fragment.filters.push(pushed(col("station").eq(lit("nowhere"))));
    assert_eq!(executor.describe(&fragment), "nothing (no hour can match)");
    let stream = executor.execute(&fragment, Arc::default()).await.unwrap();
    assert!(stream.try_collect::<Vec<_>>().await.unwrap().is_empty());
}

#[test]
fn bad_declarations_are_refused() {
    for (url, latitude) in [("not a url", 0.0), ("ftp://host", 0.0), ("http://host", 91.0)] {
        let station = StationConfig { name: "x".into(), latitude, longitude: 0.0 };
        let config = RestConfig::new(url, vec![station]);
        assert!(RestSource::open(SourceName::try_new("weather").unwrap(), config).is_err());
    }
}
