//! Limits of a configured source, on a real server: what is refused, what is stopped, what is let through.

use std::path::Path;

use datafusion::error::DataFusionError;
use datafusion::logical_expr::{col, lit};
use futures::TryStreamExt as _;
use portolan_catalog::Catalog;
use portolan_catalog::config::{OpenContext, SourcesConfig};
use portolan_catalog::federation::{Fragment, PushedFilter};
use portolan_catalog::source::{SourceError, SourceErrorKind};
use portolan_catalog::yaml::parse;
use tokio_postgres::config::Host;
use tokio_postgres::{Config, NoTls};

async fn rows(catalog: &Catalog, fragment: &Fragment) -> Result<usize, SourceError> {
    let unexpected = |what: String| SourceError::new(SourceErrorKind::Remote, what);
    let source = catalog.source("ops").ok_or_else(|| unexpected("the source is not there".into()))?;
    let stream = source.executor().execute(fragment, Default::default()).await?;
    let batches: Vec<_> = stream.try_collect().await.map_err(|error| match &error {
        DataFusionError::External(cause) => {
            cause.downcast_ref::<SourceError>().cloned().unwrap_or_else(|| unexpected(error.to_string()))
        }
        _ => unexpected(error.to_string()),
    })?;
    Ok(batches.iter().map(|batch| batch.num_rows()).sum())
}

#[tokio::test]
async fn a_limit_refuses_or_stops_a_scan_and_never_shortens_it() {
    let mut config: Config = crate::servers::postgres().parse().unwrap();
    let (admin, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    let database = crate::database::new_database(&admin, "limits").await;
    config.dbname(&database);
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
        .batch_execute(
            "CREATE TABLE many AS SELECT g::int4 AS id FROM generate_series(1, 20000) g; ANALYZE many",
        )
        .await
        .unwrap();

    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("password"), config.get_password().unwrap_or_default()).unwrap();
    let Some(Host::Tcp(host)) = config.get_hosts().first() else { panic!("{:?}", config.get_hosts()) };
    let (port, user) = (config.get_ports().first().unwrap(), config.get_user().unwrap());
    let text = format!(
        "ops:\n  postgres:\n    host: {host}\n    port: {port}\n    database: {database}\n    user: {user}\n    \
         password: {{ file: {}/password }}\n    limits: {{ rows: 10K }}\n",
        folder.path().display()
    );
    let sources: SourcesConfig = parse(Path::new("portolan.yaml"), &text).unwrap();
    let catalog = Catalog::open(&sources, &OpenContext::default()).unwrap();
    let (_, table) = catalog.find_table("ops", "many").await.unwrap().unwrap();
    let whole = Fragment::whole(table);
    let over = |least: i32| Fragment {
        filters: vec![PushedFilter { expr: col("id").gt(lit(least)), exact: true }],
        ..whole.clone()
    };

    let refused = rows(&catalog, &whole).await.unwrap_err();
    assert_eq!(refused.kind, SourceErrorKind::Limit);
    assert!(refused.message.contains("\"ops.many\" has about 20000 rows"), "{refused}");
    let stopped = rows(&catalog, &over(9_999)).await.unwrap_err();
    assert_eq!(stopped.kind, SourceErrorKind::Limit);
    assert!(stopped.message.contains("stopped after the 10000 rows"), "{stopped}");
    assert_eq!(rows(&catalog, &over(10_000)).await.unwrap(), 10_000);
    assert_eq!(rows(&catalog, &Fragment { limit: Some(3), ..whole }).await.unwrap(), 3);
    drop(catalog);
    admin.batch_execute(&format!("DROP DATABASE {database} WITH (FORCE)")).await.unwrap();
}
