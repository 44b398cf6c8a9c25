//! A real driver: tokio-postgres, which prepares, binds in binary and checks what it is told.

use std::time::{Duration, SystemTime};

use futures::{StreamExt, TryStreamExt};
use tokio_postgres::types::Type;
use tokio_postgres::{NoTls, SimpleQueryMessage};

use super::raw::{Door, door};

async fn client(door: &Door) -> tokio_postgres::Client {
    let config =
        format!("host=127.0.0.1 port={} user=demo password=demo dbname=portolan", door.address.port());
    let (client, connection) = tokio_postgres::connect(&config, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

#[tokio::test]
async fn typed_parameters_come_back_in_binary() {
    let door = door().await;
    let client = client(&door).await;
    let types =
        [Type::INT4, Type::TEXT, Type::FLOAT8, Type::TIMESTAMPTZ, Type::INT8_ARRAY, Type::BOOL, Type::BYTEA];
    let statement = client.prepare_typed("echo", &types).await.unwrap();
    let when = SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456);
    let row = client
        .query_one(
            &statement,
            &[&7_i32, &"é", &-1.5_f64, &when, &vec![Some(1_i64), None], &true, &&b"\0\x01"[..]],
        )
        .await
        .unwrap();
    assert_eq!(row.get::<_, i32>(0), 7);
    assert_eq!(row.get::<_, &str>(1), "é");
    assert_eq!(row.get::<_, f64>(2).to_bits(), (-1.5_f64).to_bits());
    assert_eq!(row.get::<_, SystemTime>(3), when);
    assert_eq!(row.get::<_, Vec<Option<i64>>>(4), [Some(1), None]);
    assert!(row.get::<_, bool>(5));
    assert_eq!(row.get::<_, &[u8]>(6), b"\0\x01");
    let nulls = client
        .query_one(
            &statement,
            &[
                &None::<i32>,
                &None::<&str>,
                &None::<f64>,
                &None::<SystemTime>,
                &None::<Vec<i64>>,
                &None::<bool>,
                &None::<&[u8]>,
            ],
        )
        .await
        .unwrap();
    assert_eq!(nulls.get::<_, Option<i32>>(0), None);
    assert_eq!(nulls.get::<_, Option<Vec<i64>>>(4), None);
}

#[tokio::test]
async fn transactions_portals_and_copy_work_through_a_driver() {
    let door = door().await;
    let mut client = client(&door).await;
    let transaction = client.transaction().await.unwrap();
    let simple = transaction.simple_query("rows 3").await.unwrap();
    assert_eq!(simple.iter().filter(|message| matches!(message, SimpleQueryMessage::Row(_))).count(), 3);
    let statement = transaction.prepare("rows 5").await.unwrap();
    let portal = transaction.bind(&statement, &[]).await.unwrap();
    assert_eq!(transaction.query_portal(&portal, 3).await.unwrap().len(), 3);
    assert_eq!(transaction.query_portal(&portal, 3).await.unwrap().len(), 2);
    transaction.commit().await.unwrap();
    let statement = client.prepare("rows 100000").await.unwrap();
    let rows = client.query_raw(&statement, Vec::<i32>::new()).await.unwrap();
    assert_eq!(rows.map(|row| row.unwrap().get::<_, i64>(0)).collect::<Vec<_>>().await.len(), 100_000);
    let copied: Vec<bytes::Bytes> =
        client.copy_out("copy (rows 3) to stdout").await.unwrap().try_collect().await.unwrap();
    assert_eq!(copied.concat(), b"0\n1\n2\n");
    let error = client.query("nosuch", &[]).await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "42P01");
}

#[tokio::test]
async fn the_drivers_cancel_token_works() {
    let door = door().await;
    let client = client(&door).await;
    let token = client.cancel_token();
    let query = tokio::spawn(async move { client.simple_query("hang").await.map(|_| ()) });
    door.until("the statement", |door| door.streams.load(std::sync::atomic::Ordering::SeqCst) == 1).await;
    token.cancel_query(NoTls).await.unwrap();
    let error = query.await.unwrap().unwrap_err();
    assert_eq!(error.code().unwrap().code(), "57014");
    door.no_streams().await;
}
