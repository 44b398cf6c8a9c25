use std::sync::Arc;

use arrow_flight::sql::{Any, ProstMessageExt, TicketStatementQuery};
use arrow_flight::{Action, Criteria, FlightDescriptor, HandshakeRequest, Ticket};
use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::DataType;
use futures::{StreamExt, TryStreamExt};
use tonic::{Code, Request};

use super::{Server, ask, fetch, rows, shown, told};
use crate::flight::message::packed;

fn basic(text: &str) -> String {
    use base64::Engine as _;
    format!("Basic {}", base64::engine::general_purpose::STANDARD_NO_PAD.encode(text))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_needs_the_right_password() {
    let server = Server::open().await;
    for (credentials, state) in [
        (Some("demo:wrong"), "28P01"),
        (Some("nobody:demo"), "28P01"),
        (Some("nocolon"), "28000"),
        (None, "28000"),
    ] {
        let mut client = server.anonymous().await;
        let mut request = Request::new(futures::stream::iter([HandshakeRequest::default()]));
        if let Some(credentials) = credentials {
            request.metadata_mut().insert("authorization", basic(credentials).parse().unwrap());
        }
        let status = client.inner_mut().handshake(request).await.unwrap_err();
        let (got, code, text) = told(status.into());
        assert_eq!((got.as_str(), code), (state, Code::Unauthenticated), "{credentials:?}");
        assert!(text.contains(&format!("(SQLSTATE {state})")), "{text}");
    }
    let mut client = server.anonymous().await;
    for token in [None, Some("forged")] {
        if let Some(token) = token {
            client.set_token(token.to_owned());
        }
        let (state, code, _) = told(ask(&mut client, "select 1").await.unwrap_err());
        assert_eq!((state.as_str(), code), ("28000", Code::Unauthenticated));
    }
    let mut client = server.client().await;
    assert_eq!(rows(&mut client, "select 1").await, ["1"]);
    client.do_action(Action::new("CloseSession", "")).await.unwrap();
    let (state, ..) = told(ask(&mut client, "select 1").await.unwrap_err());
    assert_eq!(state, "28000");
    server.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_may_come_with_every_call_or_in_the_payload() {
    let server = Server::open().await;
    let mut client = server.anonymous().await;
    client.set_header("authorization", basic("demo:demo"));
    assert_eq!(rows(&mut client, "select 1").await, ["1"]);
    // The session is everybody's with this header.
    let (state, ..) = told(ask(&mut client, "set timezone = 'Asia/Hong_Kong'").await.unwrap_err());
    assert_eq!(state, "0A000");

    let mut client = server.anonymous().await;
    let payload = b"\x12\x04demo\x1a\x04demo".to_vec().into();
    let request = futures::stream::iter([HandshakeRequest { protocol_version: 0, payload }]);
    let mut answers = client.inner_mut().handshake(request).await.unwrap().into_inner();
    let token = answers.message().await.unwrap().unwrap().payload;
    let mut request = Request::new(Criteria::default());
    request.metadata_mut().insert_bin("auth-token-bin", tonic::metadata::MetadataValue::from_bytes(&token));
    let (state, ..) = told(client.inner_mut().list_flights(request).await.unwrap_err().into());
    assert_eq!(state, "0A000");
    server.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_have_public_names_and_plain_types() {
    let server = Server::open().await;
    let mut client = server.client().await;
    let sql = "select 1, 1, i4, i4, txt, num, tz, null from t where i4 = 7";
    let batches = ask(&mut client, sql).await.unwrap();
    let schema = batches[0].schema();
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["?column?", "?column?", "i4", "i4", "txt", "num", "tz", "?column?"]);
    assert_eq!(shown(&batches), ["1|1|7|7|a|12.345|2024-03-05T10:11:12.500Z|NULL"]);
    assert_eq!(schema.field(5).data_type(), &DataType::Decimal128(14, 3));
    assert_eq!(schema.field(5).metadata()["ARROW:FLIGHT:SQL:SCALE"], "3");
    assert_eq!(schema.field(6).metadata()["ARROW:FLIGHT:SQL:TYPE_NAME"], "timestamp with time zone");
    assert!(rows(&mut client, "select i4 from t where false").await.is_empty());
    assert_eq!(rows(&mut client, "select count(*) from t;").await, ["3"]);
    server.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_may_be_redeemed_twice_and_by_its_owner_only() {
    let server = Server::open().await;
    let (mut client, mut other) = (server.client().await, server.client().await);
    let info = client.execute("select max(i4) from t".to_owned(), None).await.unwrap();
    for _ in 0..2 {
        assert_eq!(shown(&fetch(&mut client, info.clone()).await.unwrap()), ["2147483647"]);
    }
    let (state, code, _) = told(fetch(&mut other, info).await.unwrap_err());
    assert_eq!((state.as_str(), code), ("28000", Code::Unauthenticated));
    let forged = TicketStatementQuery { statement_handle: vec![0; 24].into() };
    let unknown = Any { type_url: "example.com/x.Nonsense".to_owned(), value: vec![1].into() };
    for (ticket, expected) in [
        (packed(forged.as_any()), "28000"),
        (packed(unknown), "0A000"),
        (b"garbage".to_vec().into(), "08P01"),
    ] {
        let Err(error) = client.do_get(Ticket::new(ticket)).await else { panic!("{expected}") };
        assert_eq!(told(error).0, expected);
    }
    server.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_statements_take_parameters() {
    let server = Server::open().await;
    let mut client = server.client().await;
    let sql = "select i4, txt from t where i4 = ? or txt = ? order by i4";
    let mut statement = client.prepare(sql.to_owned(), None).await.unwrap();
    assert_eq!(statement.dataset_schema().unwrap().fields().len(), 2);
    let types: Vec<_> = statement
        .parameter_schema()
        .unwrap()
        .fields()
        .iter()
        .map(|field| field.data_type().clone())
        .collect();
    assert_eq!(types, [DataType::Int32, DataType::Utf8]);
    let info = statement.execute().await.unwrap();
    assert_eq!(told(fetch(&mut client, info).await.unwrap_err()).0, "08P01");

    let batch = |numbers: Vec<Option<i64>>, texts: Vec<&str>| {
        let numbers = Arc::new(Int64Array::from(numbers)) as ArrayRef;
        let texts = Arc::new(StringArray::from(texts)) as ArrayRef;
        RecordBatch::try_from_iter_with_nullable([("a", numbers, true), ("b", texts, true)]).unwrap()
    };
    statement.set_parameters(batch(vec![Some(7)], vec!["Bé"])).unwrap();
    let bound = statement.execute().await.unwrap();
    // A ticket keeps the values it was made with.
    statement.set_parameters(batch(vec![None, Some(7)], vec!["Bé", ""])).unwrap();
    let both = statement.execute().await.unwrap();
    assert_eq!(shown(&fetch(&mut client, bound).await.unwrap()), ["7|a", "2147483647|Bé"]);
    assert_eq!(shown(&fetch(&mut client, both).await.unwrap()), ["2147483647|Bé", "7|a"]);

    statement.set_parameters(batch(vec![Some(1 << 40)], vec![""])).unwrap();
    assert_eq!(told(statement.execute().await.unwrap_err()).0, "22003");
    let lone = RecordBatch::try_from_iter([("a", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]).unwrap();
    statement.set_parameters(lone.clone()).unwrap();
    assert_eq!(told(statement.execute().await.unwrap_err()).0, "08P01");

    // A value of another type declares its parameter.
    let mut free = client.prepare("select ?".to_owned(), None).await.unwrap();
    free.set_parameters(lone).unwrap();
    let info = free.execute().await.unwrap();
    assert_eq!(info.clone().try_decode_schema().unwrap().field(0).data_type(), &DataType::Int64);
    assert_eq!(shown(&fetch(&mut client, info).await.unwrap()), ["1"]);
    server.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_carry_their_sqlstate_hint_and_position() {
    let server = Server::open().await;
    let mut client = server.client().await;
    for (sql, state, code, part) in [
        ("select * from nowhere", "42P01", Code::NotFound, "position: 15"),
        ("select i5 from t", "42703", Code::InvalidArgument, "hint: "),
        ("select 1 +", "42601", Code::InvalidArgument, "syntax error"),
        ("select 1; select 2", "42601", Code::InvalidArgument, "multiple commands"),
        ("", "42601", Code::InvalidArgument, "empty"),
        ("insert into t values (1)", "25006", Code::FailedPrecondition, "INSERT"),
        ("begin", "0A000", Code::Unimplemented, "transaction of its own"),
        ("select * from pg_catalog.pg_class", "0A000", Code::Unimplemented, "GetTables"),
        ("select $1::int", "42P02", Code::InvalidArgument, "prepare the statement"),
        ("select i4 / (i4 - 7) from t", "22012", Code::InvalidArgument, "division by zero"),
        ("set portolan.pushdwn = off", "42704", Code::InvalidArgument, "portolan.pushdown"),
    ] {
        let (got, got_code, text) = told(match ask(&mut client, sql).await {
            Ok(batches) => panic!("{sql}: {batches:?}"),
            Err(error) => error,
        });
        assert_eq!((got.as_str(), got_code), (state, code), "{sql}: {text}");
        assert!(text.contains(part), "{sql}: {text}");
    }
    let update = client.execute_update("delete from t".to_owned(), None).await.unwrap_err();
    assert_eq!(told(update).0, "25006");
    let update = client.execute_update("select 1".to_owned(), None).await.unwrap_err();
    assert_eq!(told(update).0, "0A000");
    assert_eq!(told(client.begin_transaction().await.unwrap_err()).0, "0A000");
    let status = client.inner_mut().do_exchange(futures::stream::empty()).await.unwrap_err();
    // Without the client's own header nobody is known.
    assert_eq!(told(status.into()).0, "28000");
    server.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_belong_to_the_token() {
    let server = Server::open().await;
    let (mut client, mut other) = (server.client().await, server.client().await);
    let sql = "select date_trunc('day', tz) from t where i4 = 2147483647";
    let mut statement = client.prepare(sql.to_owned(), None).await.unwrap();
    assert_eq!(rows(&mut client, sql).await, ["2024-12-31T00:00:00Z"]);
    assert_eq!(client.execute_update("set timezone = 'Asia/Hong_Kong'".to_owned(), None).await.unwrap(), 0);
    assert_eq!(rows(&mut client, "show timezone").await, ["Asia/Hong_Kong"]);
    assert_eq!(rows(&mut other, "show timezone").await, ["UTC"]);
    let zoned = rows(&mut client, sql).await;
    assert_ne!(zoned, ["2024-12-31T00:00:00Z"]);
    let info = statement.execute().await.unwrap();
    assert_eq!(shown(&fetch(&mut client, info).await.unwrap()), zoned);
    // Made when it is asked for, whether or not its empty answer is fetched; fetching does not make it again.
    let set = client.execute("set timezone = 'Africa/Dakar'".to_owned(), None).await.unwrap();
    assert_eq!(rows(&mut client, "show timezone").await, ["Africa/Dakar"]);
    assert!(rows(&mut client, "reset all").await.is_empty());
    assert!(shown(&fetch(&mut client, set).await.unwrap()).is_empty());
    assert_eq!(rows(&mut client, "show timezone").await, ["UTC"]);
    assert!(rows(&mut client, "show all").await.len() > 20);
    server.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn schema_and_poll_are_answered_without_running_anything() {
    let server = Server::open().await;
    let mut client = server.client().await;
    let token = client.token().unwrap().clone();
    let query =
        arrow_flight::sql::CommandStatementQuery { query: "select i4 from t".into(), transaction_id: None };
    let descriptor = FlightDescriptor::new_cmd(packed(query.as_any()));
    let authorized = |message: FlightDescriptor| {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        request
    };
    let schema = client.inner_mut().get_schema(authorized(descriptor.clone())).await.unwrap().into_inner();
    let schema: datafusion::arrow::datatypes::Schema = (&schema).try_into().unwrap();
    assert_eq!(schema.field(0).name(), "i4");
    let poll = client.inner_mut().poll_flight_info(authorized(descriptor)).await.unwrap().into_inner();
    assert!(poll.flight_descriptor.is_none());
    assert_eq!(shown(&fetch(&mut client, poll.info.unwrap()).await.unwrap()).len(), 3);
    let path = FlightDescriptor::new_path(vec!["t".to_owned()]);
    let status = client.inner_mut().get_flight_info(authorized(path)).await.unwrap_err();
    assert_eq!(told(status.into()).0, "0A000");
    let actions: Vec<_> = {
        let mut request = Request::new(arrow_flight::Empty {});
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        client.inner_mut().list_actions(request).await.unwrap().into_inner().try_collect().await.unwrap()
    };
    assert_eq!(actions.len(), crate::flight::service::ACTIONS.len());
    for (action, state) in [("SetSessionOptions", "0A000"), ("CreatePreparedSubstraitPlan", "0A000")] {
        let mut results = match client.do_action(Action::new(action, "")).await {
            Ok(results) => results,
            Err(error) => {
                assert_eq!(told(error).0, state);
                continue;
            }
        };
        panic!("{action}: {:?}", results.next().await);
    }
    server.close().await;
}
