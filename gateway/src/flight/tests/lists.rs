use arrow_flight::sql::{
    CommandGetCrossReference, CommandGetDbSchemas, CommandGetExportedKeys, CommandGetImportedKeys,
    CommandGetPrimaryKeys, CommandGetTables, CommandGetXdbcTypeInfo, SqlInfo,
};
use arrow_flight::{FlightInfo, IpcMessage};
use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::{DataType, Schema, UInt32Type};

use super::{Client, Server, fetch, shown};

async fn list(
    client: &mut Client,
    info: Result<FlightInfo, arrow_flight::error::FlightError>,
) -> Vec<String> {
    let info = info.unwrap();
    shown(&fetch(client, info).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_listed_is_what_can_be_queried() {
    let server = Server::open().await;
    let mut client = server.client().await;
    let info = client.get_catalogs().await;
    assert_eq!(list(&mut client, info).await, ["portolan"]);
    let info = client.get_table_types().await;
    assert_eq!(list(&mut client, info).await, ["TABLE", "VIEW"]);
    let wanted = CommandGetDbSchemas { catalog: None, db_schema_filter_pattern: Some("%s".into()) };
    let info = client.get_db_schemas(wanted).await;
    assert_eq!(list(&mut client, info).await, ["portolan|tos"]);

    let all = CommandGetTables::default();
    let info = client.get_tables(all.clone()).await;
    let tables = list(&mut client, info).await;
    for table in ["portolan|public|t|TABLE", "portolan|tos|t|TABLE", "portolan|system|queries|VIEW"] {
        assert!(tables.contains(&table.to_owned()), "{table} in {tables:?}");
    }
    let views = CommandGetTables { table_types: vec!["VIEW".into()], ..all.clone() };
    let info = client.get_tables(views).await;
    assert_eq!(
        list(&mut client, info).await,
        [
            "portolan|system|answers|VIEW",
            "portolan|system|fragments|VIEW",
            "portolan|system|queries|VIEW",
            "portolan|system|settings|VIEW"
        ]
    );
    let elsewhere = CommandGetTables { catalog: Some("other".into()), ..all.clone() };
    let info = client.get_tables(elsewhere).await;
    assert!(list(&mut client, info).await.is_empty());

    let described = CommandGetTables {
        db_schema_filter_pattern: Some("tos".into()),
        table_name_filter_pattern: Some("t".into()),
        include_schema: true,
        ..all
    };
    let info = client.get_tables(described).await.unwrap();
    let batches = fetch(&mut client, info).await.unwrap();
    assert_eq!(batches[0].num_rows(), 1);
    let encoded = batches[0].column(4).as_binary::<i32>().value(0).to_vec();
    let schema = Schema::try_from(IpcMessage(encoded.into())).unwrap();
    let field = schema.field_with_name("num").unwrap();
    assert_eq!(field.data_type(), &DataType::Decimal128(14, 3));
    assert_eq!(field.metadata()["ARROW:FLIGHT:SQL:PRECISION"], "14");
    server.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_listed_from_both_sides() {
    let server = Server::open().await;
    let mut client = server.client().await;
    let (db_schema, table) = (Some("tos".to_owned()), "t".to_owned());
    let info = client
        .get_primary_keys(CommandGetPrimaryKeys {
            catalog: None,
            db_schema: db_schema.clone(),
            table: table.clone(),
        })
        .await;
    assert_eq!(list(&mut client, info).await, ["portolan|tos|t|i4|t_pkey|1", "portolan|tos|t|txt|t_pkey|2"]);
    let expected = [
        "portolan|tos|t|i4|portolan|public|t|i8|1|t_i8_i2_fkey|t_pkey|3|3",
        "portolan|tos|t|txt|portolan|public|t|i2|2|t_i8_i2_fkey|t_pkey|3|3",
    ];
    let info = client
        .get_exported_keys(CommandGetExportedKeys {
            catalog: None,
            db_schema: db_schema.clone(),
            table: table.clone(),
        })
        .await;
    assert_eq!(list(&mut client, info).await, expected);
    let imported = |schema: &str| CommandGetImportedKeys {
        catalog: Some("portolan".to_owned()),
        db_schema: Some(schema.to_owned()),
        table: "t".to_owned(),
    };
    let info = client.get_imported_keys(imported("public")).await;
    assert_eq!(list(&mut client, info).await, expected);
    let info = client.get_imported_keys(imported("tos")).await;
    assert!(list(&mut client, info).await.is_empty());
    let info = client
        .get_cross_reference(CommandGetCrossReference {
            pk_catalog: None,
            pk_db_schema: db_schema,
            pk_table: table.clone(),
            fk_catalog: None,
            fk_db_schema: None,
            fk_table: table,
        })
        .await;
    assert_eq!(list(&mut client, info).await, expected);
    server.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_code_of_sql_info_is_answered() {
    let server = Server::open().await;
    let mut client = server.client().await;
    let info = client.get_sql_info(Vec::new()).await.unwrap();
    let batches = fetch(&mut client, info).await.unwrap();
    let codes = batches[0].column(0).as_primitive::<UInt32Type>().values().to_vec();
    let known: Vec<u32> =
        (0..1_000).filter(|code| SqlInfo::try_from(*code).is_ok()).map(i32::cast_unsigned).collect();
    assert_eq!(codes, known);
    let info =
        client.get_sql_info(vec![SqlInfo::FlightSqlServerName, SqlInfo::FlightSqlServerReadOnly]).await;
    let named = list(&mut client, info).await;
    assert_eq!(named.len(), 2);
    assert!(named[0].contains("Portolan"), "{named:?}");

    let info = client.get_xdbc_type_info(CommandGetXdbcTypeInfo { data_type: None }).await.unwrap();
    let batches = fetch(&mut client, info).await.unwrap();
    let names = batches[0].column(0).as_string::<i32>();
    assert!((0..names.len()).any(|row| names.value(row) == "timestamptz"));
    let info = client.get_xdbc_type_info(CommandGetXdbcTypeInfo { data_type: Some(4) }).await;
    assert_eq!(list(&mut client, info).await.len(), 1);
    server.close().await;
}
