//! Introspection: what a database contains, and what happens when it changes.

use std::collections::BTreeSet;

use mysql_async::prelude::Queryable as _;
use portolan_catalog::asof::SourceVersion;
use portolan_catalog::config::MysqlConfig;
use portolan_catalog::federation::{Evidence, Fragment, FragmentSort, Verdict};
use portolan_catalog::mysql::{MysqlTls, ZeroDates};
use portolan_catalog::secret::SecretRef;
use portolan_catalog::source::{
    COMMENT_KEY, HealthState, Source as _, SourceErrorKind, SourceName, TableKind,
};

use super::fixture::{Database, Session, drop_left_over, open, read, table};
use crate::leftover::{OLD, fresh, made_before};

#[tokio::test]
async fn tables_views_partitions_keys_and_comments_are_told() {
    let mut database = Database::new().await;
    let odd =
        if database.is_maria().await { "ip INET6, u UUID" } else { "v VECTOR(3), e VARCHAR(9) INVISIBLE" };
    database.run(&format!("CREATE TABLE odd (k INT, {odd}, p POLYGON)")).await;
    database
        .run(
            "CREATE TABLE berth (id INT NOT NULL, part INT NOT NULL, name VARCHAR(9) NOT NULL COMMENT 'it''s', PRIMARY KEY (part, id)) COMMENT 'quays';
             CREATE TABLE call_at (k INT PRIMARY KEY, berth INT, part INT, CONSTRAINT at_berth FOREIGN KEY (part, berth) REFERENCES berth (part, id));
             CREATE TABLE log (k INT PRIMARY KEY, t TEXT) PARTITION BY HASH (k) PARTITIONS 3;
             CREATE VIEW busy AS SELECT berth, count(*) AS calls FROM call_at GROUP BY berth;
             CREATE VIEW broken AS SELECT k FROM log;
             INSERT INTO berth VALUES (1, 1, 'a'), (2, 1, 'b');
             INSERT INTO call_at VALUES (1, 1, 1), (2, 1, 1);
             INSERT INTO log VALUES (1, 'x'), (2, 'y');
             ANALYZE TABLE berth;
",
        )
        .await;
    let source = database.source();
    let tables = source.tables().await.unwrap();
    let names: Vec<(&str, TableKind)> =
        tables.iter().map(|table| (table.name.as_str(), table.kind)).collect();
    assert_eq!(
        names,
        [
            ("berth", TableKind::Table),
            ("broken", TableKind::View),
            ("busy", TableKind::View),
            ("call_at", TableKind::Table),
            ("log", TableKind::Table),
            ("odd", TableKind::Table),
        ]
    );
    let berth = &tables[0];
    assert_eq!((berth.schema.as_str(), berth.comment.as_deref()), ("ops", Some("quays")));
    assert_eq!(
        (berth.primary_key.clone(), berth.row_estimate),
        (vec!["part".to_owned(), "id".into()], Some(2))
    );
    assert_eq!(berth.arrow.field(2).metadata()[COMMENT_KEY], "it's");
    assert!(!berth.arrow.field(2).is_nullable());
    let key = &tables[3].foreign_keys[0];
    assert_eq!(
        (key.columns.clone(), key.to_table.as_str()),
        (vec!["part".to_owned(), "berth".into()], "berth")
    );
    assert_eq!(
        (key.to_schema.as_str(), key.to_columns.clone()),
        ("ops", vec!["part".to_owned(), "id".into()])
    );
    let session = database.session(ZeroDates::Error);
    assert_eq!(session.same("SELECT t FROM log WHERE k > 1").await, ["y"]);
    assert_eq!(session.same("SELECT calls FROM busy").await, ["2"]);
    assert_eq!(session.same("SELECT count(*) FROM log").await, ["2"]);
    database.run("DROP TABLE log").await;
    let told: BTreeSet<String> =
        source.tables().await.unwrap().iter().map(|table| table.name.clone()).collect();
    assert!(told.contains("berth") && !told.contains("log"), "{told:?}");
    database.finish().await;
}

#[tokio::test]
async fn two_sources_of_one_server_join() {
    let (mut one, mut two) = (Database::new().await, Database::new().await);
    one.run(
        "CREATE TABLE t (k INT, v VARCHAR(9) CHARACTER SET latin1);\nINSERT INTO t VALUES (1, 'é'), (2, 'b')",
    )
    .await;
    two.run("CREATE TABLE t (k INT, v VARCHAR(9));\nINSERT INTO t VALUES (1, 'é'), (3, 'b')").await;
    let session = Session::new(vec![open("one", &one.config()), open("two", &two.config())]);
    let rows = session.same("SELECT a.k, b.k FROM one.t a JOIN two.t b ON a.v = b.v").await;
    assert_eq!(rows, ["1|1", "2|3"]);
    one.finish().await;
    two.finish().await;
}

/// A column that is gone or was altered is an error of its kind, never another column's values.
#[tokio::test]
async fn a_table_that_changes_while_we_run_is_noticed() {
    let mut database = Database::new().await;
    database
        .run("CREATE TABLE t (a INT, b DATETIME, c VARCHAR(9));\nINSERT INTO t VALUES (1, '2026-01-01', 'x')")
        .await;
    let source = database.source();
    let definition = table(&source, "t").await;
    let whole = Fragment::whole(definition);
    assert_eq!(read(&source, &whole).await.unwrap()[0].num_rows(), 1);
    for (alter, kind) in [
        ("ALTER TABLE t MODIFY b TIMESTAMP", SourceErrorKind::NotFound),
        ("ALTER TABLE t MODIFY b DATETIME, MODIFY c VARBINARY(9)", SourceErrorKind::NotFound),
        ("ALTER TABLE t MODIFY c VARCHAR(9), MODIFY a BIGINT UNSIGNED", SourceErrorKind::Data),
        ("ALTER TABLE t DROP COLUMN c", SourceErrorKind::NotFound),
        ("DROP TABLE t", SourceErrorKind::NotFound),
    ] {
        database.run(alter).await;
        if alter.contains("BIGINT") {
            database.run("UPDATE t SET a = 18446744073709551615").await;
        }
        let error = read(&source, &whole).await.unwrap_err();
        assert_eq!(error.kind, kind, "{alter}: {error}");
        if alter.contains("COLUMN") {
            assert_eq!(error.remote_code.as_deref(), Some("42S22/1054"));
        }
    }
    database.finish().await;
}

#[tokio::test]
async fn a_source_is_lazy_and_says_why_it_cannot_be_reached() {
    let mut database = Database::new().await;
    // MySQL makes itself a certificate, of no authority.
    let tls = if database.is_maria().await {
        (
            SourceErrorKind::Unsupported,
            "source \"ops\": cannot connect: the server offers no TLS, which its configuration asks for",
        )
    } else {
        (SourceErrorKind::Unreachable, "source \"ops\": cannot connect: TLS failed")
    };
    let config = |change: &dyn Fn(&mut MysqlConfig)| {
        let mut config = database.config();
        change(&mut config);
        open("ops", &config)
    };
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let wrong = database.password().with_file_name("wrong");
    std::fs::write(&wrong, "no such password").unwrap();
    for (source, kind, text) in [
        (
            config(&|config| config.port = closed),
            SourceErrorKind::Unreachable,
            "source \"ops\" is unreachable",
        ),
        (
            config(&|config| config.password = Some(SecretRef::File(wrong.clone()))),
            SourceErrorKind::Auth,
            "source \"ops\": cannot connect: access denied",
        ),
        (
            config(&|config| config.database = "pt_nowhere".into()),
            SourceErrorKind::NotFound,
            "source \"ops\": cannot connect: database, table or column not found",
        ),
        (config(&|config| config.tls = MysqlTls::VerifyFull), tls.0, tls.1),
    ] {
        let error = source.tables().await.unwrap_err();
        assert_eq!((error.kind, error.to_string().as_str()), (kind, text));
        let health = source.check().await;
        assert_eq!((health.state, health.error.as_deref()), (HealthState::Down, Some(text)));
    }
    let up = database.source().check().await;
    assert!(up.state == HealthState::Up && up.server_version.is_some(), "{up:?}");
    database.finish().await;
}

#[tokio::test]
async fn an_answer_carries_the_servers_version() {
    let mut database = Database::new().await;
    database.run("CREATE TABLE t (k INT)").await;
    let session = database.session(ZeroDates::Error);
    session.rows("SELECT k FROM t", true).await.unwrap();
    let read_at = session.query.as_of.snapshot();
    let Some(SourceVersion::Gtid(before)) = read_at.0.get("ops") else { panic!("{read_at}") };
    assert!(read_at.to_string().starts_with("ops=gtid:"), "{read_at}");
    database.run("INSERT INTO t VALUES (1)").await;
    let now = session.sources[0].version().await.unwrap();
    assert_ne!(now, SourceVersion::Gtid(before.clone()));
    assert_eq!(session.sources[0].name(), &SourceName::try_new("ops").unwrap());
    database.finish().await;
}

/// What a verdict rests on is asked of the server itself, once; before that it stays here.
#[tokio::test]
async fn what_the_server_can_do_is_proved_on_it() {
    let mut database = Database::new().await;
    database.run("CREATE TABLE t (k INT, v VARCHAR(9), d DATE)").await;
    let source = database.source();
    let before = source.executor().capabilities();
    assert!(before.iter().any(|row| row.evidence == Evidence::Probe));
    assert!(before.iter().all(|row| row.active == (row.evidence != Evidence::Probe)), "{before:#?}");
    let definition = table(&source, "t").await;
    let after = source.executor().capabilities();
    for row in &after {
        assert!(row.active && row.mismatch.is_none(), "{row:#?}");
        assert_eq!(row.proven_at.is_some(), row.evidence == Evidence::Probe, "{row:#?}");
    }
    // The same server is not asked again.
    source.tables().await.unwrap();
    assert_eq!(source.executor().capabilities(), after);
    let executor = database.source().executor();
    let key = FragmentSort { column: 1, descending: false, nulls_first: false };
    assert!(matches!(executor.sort_verdict(definition.arrow.field(1), &key), Verdict::Keep(_)));
    assert!(matches!(source.executor().sort_verdict(definition.arrow.field(1), &key), Verdict::Rewrite(_)));
    database.finish().await;
}

#[tokio::test]
async fn only_old_databases_of_the_family_that_nobody_uses_are_dropped() {
    let mut database = Database::new().await;
    // Another run's databases are not of this family.
    let family = format!("old_{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
    let [left, young, other] =
        [made_before(&family, OLD), fresh(&family), made_before(&format!("{family}_more"), OLD)];
    for name in [&left, &young, &other] {
        database.admin.query_drop(format!("CREATE DATABASE {name}")).await.unwrap();
    }
    let used = Database::named(made_before(&family, OLD)).await;
    drop_left_over(&mut database.admin, &[family.as_str()]).await;
    let mut there = async |name: &str| {
        let count = "SELECT count(*) FROM information_schema.schemata WHERE schema_name = ?";
        database.admin.exec_first::<u64, _, _>(count, (name,)).await.unwrap() == Some(1)
    };
    assert!(!there(&left).await, "it is old");
    assert!(there(&young).await && there(&other).await && there(&used.name).await);
    used.finish().await;
    for name in [&young, &other] {
        database.admin.query_drop(format!("DROP DATABASE {name}")).await.unwrap();
    }
    database.finish().await;
}
