//! The shadow catalog against the real embedded server: mirror, relay, walls, deadline and restart.
//!
//! One server for all cases, which run in order. This binary is also the embedded server's child.

#![expect(clippy::unwrap_used, reason = "a test without the harness that lints know")]

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use libtest_mimic::{Arguments, Failed, Trial};
use portolan::pg::classify::{self, Class, Limits, RelationNames};
use portolan::shadow::{
    DescribeRequest, LiveRelations, MirrorColumn, MirrorForeignKey, MirrorFunction, MirrorKind, MirrorModel,
    MirrorRole, MirrorSchema, MirrorTable, RelayMode, RelayReply, RelayRequest, SessionView, Shadow,
    ShadowConfig, StatementError,
};
use portolan_catalog::embedded::{ServeArgs, serve_embedded};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == "embedded-postgres") {
        let served = ServeArgs::parse(arguments).and_then(|arguments| serve_embedded(&arguments));
        return if served.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let trials = vec![Trial::test("the_shadow_answers_as_postgresql_and_never_for_mirrored_rows", run)];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn run() -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let directory = tempfile::tempdir()?;
        let shadow = Shadow::open(ShadowConfig {
            data_dir: directory.path().join("shadow"),
            executable: std::env::current_exe()?,
            database: "portolan".to_owned(),
            deadline: Duration::from_secs(2),
        })
        .await?;
        let mut failures = String::new();
        let mut case = async |name: &str, body: Pin<Box<dyn Future<Output = Result<(), Failed>> + '_>>| {
            let outcome = match AssertUnwindSafe(body).catch_unwind().await {
                Ok(Ok(())) => return,
                Ok(Err(failed)) => failed.message().unwrap_or_default().to_owned(),
                Err(panic) => {
                    panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "panicked".to_owned())
                }
            };
            failures.push_str(&format!("{name}: {outcome}\n"));
        };
        case("mirror", Box::pin(mirror(&shadow))).await;
        case("psql", Box::pin(psql(&shadow))).await;
        case("session functions", Box::pin(session_functions(&shadow))).await;
        case("walls", Box::pin(walls(&shadow))).await;
        case("describe", Box::pin(describe(&shadow))).await;
        case("oids stay", Box::pin(oids_stay(&shadow))).await;
        case("endless", Box::pin(endless(&shadow))).await;
        case("killed", Box::pin(killed(&shadow))).await;
        shadow.shutdown().await;
        if failures.is_empty() { Ok(()) } else { Err(failures.into()) }
    })
}

fn column(name: &str, pg_type: &str) -> MirrorColumn {
    MirrorColumn {
        name: name.to_owned(),
        pg_type: pg_type.to_owned(),
        not_null: name == "imo",
        comment: Some(format!("it's {name}")),
    }
}

fn table(name: &str, kind: MirrorKind, columns: Vec<MirrorColumn>) -> MirrorTable {
    MirrorTable {
        schema: "tos".to_owned(),
        name: name.to_owned(),
        kind,
        columns,
        primary_key: if kind == MirrorKind::Table { vec!["imo".to_owned()] } else { Vec::new() },
        foreign_keys: Vec::new(),
        comment: Some(format!("about {name}")),
        row_estimate: Some(42),
    }
}

fn model() -> MirrorModel {
    let mut call = table(
        "call",
        MirrorKind::Table,
        vec![column("imo", "int8"), column("eta", "timestamptz"), column("t", "numeric(14,3)")],
    );
    call.foreign_keys = vec![MirrorForeignKey {
        columns: vec!["imo".to_owned()],
        to_schema: "tos".to_owned(),
        to_table: "vessel".to_owned(),
        to_columns: vec!["imo".to_owned()],
    }];
    MirrorModel {
        version: 1,
        database: "portolan".to_owned(),
        schemas: vec![MirrorSchema {
            name: "tos".to_owned(),
            comment: Some("the port's own system".to_owned()),
        }],
        tables: vec![
            table("vessel", MirrorKind::Table, vec![column("imo", "int8"), column("name", "varchar(8)")]),
            call,
            table("kpi", MirrorKind::View, vec![column("teu", "numeric(10,2)"), column("day", "date")]),
        ],
        roles: vec![MirrorRole { name: "demo".to_owned(), member_of: Vec::new() }],
        functions: MirrorFunction::kpi(),
    }
}

fn session() -> Arc<SessionView> {
    let live = LiveRelations {
        activity: vec![serde_json::json!({ "pid": 77, "usename": "demo", "state": "active" })],
        ..LiveRelations::default()
    };
    Arc::new(SessionView {
        session_user: "demo".to_owned(),
        role: "demo".to_owned(),
        backend_pid: 77,
        client: Some(([127, 0, 0, 1], 4000).into()),
        server: None,
        started: chrono::DateTime::UNIX_EPOCH,
        settings: vec![("search_path".to_owned(), "\"$user\", public".to_owned())],
        live: Arc::new(live),
    })
}

async fn relay(shadow: &Shadow, sql: &str) -> Result<RelayReply, StatementError> {
    let request =
        RelayRequest { sql: Arc::from(sql), position_offset: 0, mode: RelayMode::Simple, session: session() };
    shadow.relay(request).await
}

/// Rows as text, values joined by `|`, or `SQLSTATE message`.
async fn answer(shadow: &Shadow, sql: &str) -> String {
    match relay(shadow, sql).await {
        Err(error) => format!("{} {}", error.sqlstate, error.message),
        Ok(RelayReply { error: Some(error), .. }) => {
            format!("{} {}", error.error.sqlstate, error.error.message)
        }
        Ok(reply) => reply.rows.iter().map(|row| values(row)).collect::<Vec<_>>().join("\n"),
    }
}

fn values(frame: &[u8]) -> String {
    let count = u16::from_be_bytes([frame[5], frame[6]]);
    let mut rest = &frame[7..];
    let mut out = Vec::new();
    for _ in 0..count {
        let length = i32::from_be_bytes(rest[..4].try_into().unwrap());
        rest = &rest[4..];
        let Ok(length) = usize::try_from(length) else {
            out.push(String::new());
            continue;
        };
        out.push(String::from_utf8_lossy(&rest[..length]).into_owned());
        rest = &rest[length..];
    }
    out.join("|")
}

fn equal(found: impl AsRef<str>, expected: &str, what: &str) -> Result<(), Failed> {
    let found = found.as_ref();
    if found == expected {
        Ok(())
    } else {
        Err(format!("{what}\n  expected: {expected}\n  found:    {found}").into())
    }
}

async fn mirror(shadow: &Shadow) -> Result<(), Failed> {
    assert!(shadow.ensure(&model()).await?, "a fresh shadow is empty");
    let again = Instant::now();
    assert!(!shadow.ensure(&model()).await?, "an equal model changes nothing");
    assert!(again.elapsed() < Duration::from_millis(500));
    equal(
        answer(shadow, "SELECT relname, relkind, reltuples FROM pg_class WHERE relnamespace = 'tos'::regnamespace AND relkind IN ('r','v') ORDER BY 1").await,
        "call|r|42\nkpi|v|-1\nvessel|r|42",
        "relations",
    )?;
    equal(
        answer(shadow, "SELECT format_type(atttypid, atttypmod), col_description(attrelid, attnum), attnotnull FROM pg_attribute WHERE attrelid = 'tos.vessel'::regclass AND attnum > 0 ORDER BY attnum").await,
        "bigint|it's imo|t\ncharacter varying(8)|it's name|f",
        "columns",
    )?;
    equal(
        answer(shadow, "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'tos.call'::regclass AND contype IN ('p','f') ORDER BY 1").await,
        "call_fkey1|FOREIGN KEY (imo) REFERENCES tos.vessel(imo)\ncall_pkey|PRIMARY KEY (imo)",
        "keys",
    )?;
    equal(
        answer(shadow, "SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = 'tos' ORDER BY 1").await,
        "call|BASE TABLE\nkpi|VIEW\nvessel|BASE TABLE",
        "information schema, as the role",
    )?;
    equal(answer(shadow, "SELECT datname FROM pg_database WHERE datallowconn").await, "portolan", "databases")
}

struct Names;

impl RelationNames for Names {
    fn has_relation(&self, schema: &str, name: &str) -> bool {
        schema == "tos" && matches!(name, "vessel" | "call" | "kpi")
    }

    fn has_schema(&self, schema: &str) -> bool {
        schema == "tos"
    }

    fn is_engine_function(&self, _name: &str) -> bool {
        false
    }
}

/// What psql sends for its backslash commands is told to be catalog and answered.
async fn psql(shadow: &Shadow) -> Result<(), Failed> {
    let table = answer(shadow, "SELECT 'tos.vessel'::regclass::oid").await;
    let view = answer(shadow, "SELECT 'tos.kpi'::regclass::oid").await;
    let text = include_str!("fixtures/psql_15_on_17.sql").replace("$TABLE", &table).replace("$VIEW", &view);
    let mut count = 0;
    for statement in text.split(";\n").filter(|statement| !statement.trim().is_empty()) {
        let class = classify::classify(statement, &["public".to_owned()], &Names, &Limits::default())?;
        assert_eq!(class, Class::Catalog, "{statement}");
        let reply = relay(shadow, statement).await?;
        if let Some(error) = reply.error {
            return Err(format!("{statement}\n{}", error.error.message).into());
        }
        assert!(reply.row_description.is_some() && reply.complete.is_some(), "{statement}");
        count += 1;
    }
    assert!(count >= 20, "{count} statements");
    equal(
        answer(shadow, "SELECT n.nspname, p.proname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE proname OPERATOR(pg_catalog.~) '^(measure)$' COLLATE pg_catalog.default").await,
        "pg_catalog|measure",
        "\\df measure",
    )
}

async fn session_functions(shadow: &Shadow) -> Result<(), Failed> {
    equal(
        answer(
            shadow,
            "SELECT current_user, session_user, pg_backend_pid(), inet_client_port(), current_database()",
        )
        .await,
        "demo|demo|77|4000|portolan",
        "session functions",
    )?;
    equal(
        answer(shadow, "SELECT pid, usename, state FROM pg_stat_activity").await,
        "77|demo|active",
        "activity",
    )?;
    equal(answer(shadow, "SHOW search_path").await, "\"$user\", public", "search_path")?;
    let reply = relay(shadow, "SELECT set_config('jit', 'off', false)").await?;
    assert_eq!(reply.settings.len(), 1);
    assert_eq!((reply.settings[0].name.as_str(), reply.settings[0].value.as_deref()), ("jit", Some("off")));
    assert!(reply.notices.is_empty(), "the private notice stays inside");
    equal(
        answer(shadow, "SELECT set_config('role', 'postgres', false)").await,
        "42501 permission denied to set parameter \"role\"",
        "set_config of the role",
    )
}

async fn walls(shadow: &Shadow) -> Result<(), Failed> {
    let reads = [
        "WITH c AS (SELECT * FROM tos.vessel) SELECT count(*) FROM c",
        "SELECT 1 WHERE EXISTS (SELECT 1 FROM tos.vessel)",
        "SELECT * FROM tos.vessel WHERE false",
        "SELECT * FROM tos.kpi",
        "SELECT count(*) FROM pg_class, tos.call",
        "EXPLAIN SELECT * FROM tos.vessel",
    ];
    for sql in reads {
        let found = answer(shadow, sql).await;
        assert!(found.starts_with("0A000 reading \"tos."), "{sql}: {found}");
    }
    for sql in [
        "SELECT query_to_xml('select * from tos.vessel', true, true, '')",
        "SELECT pg_sleep(1)",
        "SELECT lo_creat(-1)",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT pg_advisory_lock(1)",
        "SELECT pg_notify('a', 'b')",
    ] {
        let found = answer(shadow, sql).await;
        assert!(found.starts_with("42501 ") || found.starts_with("25006 "), "{sql}: {found}");
    }
    for (sql, code) in [
        ("CREATE TABLE x (a int)", "0A000"),
        ("WITH x AS (DELETE FROM tos.vessel RETURNING 1) SELECT * FROM x", "25006"),
        ("SELECT 1; SELECT 2", "42601"),
        ("SELECT 1 +", "42601"),
        ("SELEC 1", "42601"),
    ] {
        let found = answer(shadow, sql).await;
        assert!(found.starts_with(code), "{sql}: {found}");
    }
    // No false alarm.
    for sql in [
        "SELECT 'tos.vessel'::regclass",
        "SELECT has_table_privilege('tos.vessel', 'select')",
        "SELECT pg_relation_size('tos.vessel')",
    ] {
        let found = answer(shadow, sql).await;
        assert!(!found.contains(' '), "{sql}: {found}");
    }
    equal(answer(shadow, "SELECT current_user").await, "demo", "the role is as before")
}

async fn describe(shadow: &Shadow) -> Result<(), Failed> {
    let describe = async |sql: &str| {
        shadow
            .describe(DescribeRequest {
                sql: Arc::from(sql),
                position_offset: 0,
                param_oids: Vec::new(),
                session: session(),
            })
            .await
    };
    let description = describe("SELECT name, measure(t), count(*) FROM tos.vessel JOIN tos.call USING (imo) WHERE imo = $1 GROUP BY 1").await?;
    assert_eq!(description.param_oids, [20]);
    let columns = description.columns.clone().unwrap_or_default();
    let shown: Vec<_> =
        columns.iter().map(|column| (column.name.as_str(), column.type_oid, column.typmod)).collect();
    assert_eq!(shown, [("name", 1043, 12), ("measure", 1700, -1), ("count", 20, -1)]);
    assert!(columns[0].table_oid >= 16384 && columns[0].attnum == 2);
    for (sql, code, position) in [
        ("SELECT 'é', pg_backend_pid(), FROM x", "42601", Some(31)),
        ("SELECT * FROM nowhere", "42P01", Some(15)),
        ("SELECT nam FROM tos.vessel", "42703", Some(8)),
    ] {
        let error = describe(sql).await.unwrap_err();
        assert_eq!((error.sqlstate.as_str(), error.position), (code, position), "{sql}: {error}");
    }
    let error = describe("SELECT nam FROM tos.vessel").await.unwrap_err();
    assert!(error.hint.is_some_and(|hint| hint.contains("vessel.name")));
    Ok(())
}

async fn oids_stay(shadow: &Shadow) -> Result<(), Failed> {
    const OIDS: &str =
        "SELECT 'tos.vessel'::regclass::oid, 'tos.call'::regclass::oid, 'tos.kpi'::regclass::oid";
    let before = answer(shadow, OIDS).await;
    let mut changed = model();
    changed.tables[0].columns.push(column("flag", "bpchar(2)"));
    changed.tables[1].comment = Some("another".to_owned());
    assert!(shadow.ensure(&changed).await?);
    equal(answer(shadow, OIDS).await, &before, "OIDs after a change")?;
    equal(
        answer(shadow, "SELECT obj_description('tos.call'::regclass), count(*) FROM pg_attribute WHERE attrelid = 'tos.vessel'::regclass AND attnum > 0").await,
        "another|3",
        "the change",
    )?;
    changed.tables.remove(2);
    assert!(shadow.ensure(&changed).await?);
    equal(answer(shadow, "SELECT to_regclass('tos.kpi')").await, "", "a dropped view")?;
    assert!(shadow.ensure(&model()).await?);
    Ok(())
}

async fn endless(shadow: &Shadow) -> Result<(), Failed> {
    const ENDLESS: &str =
        "WITH RECURSIVE r AS (SELECT 1 AS a FROM pg_class UNION ALL SELECT a FROM r) SELECT count(*) FROM r";
    let started = Instant::now();
    let found = answer(shadow, ENDLESS).await;
    assert!(found.starts_with("57014 "), "{found}");
    assert!(started.elapsed() < Duration::from_millis(2500), "{:?}", started.elapsed());
    let back = Instant::now();
    equal(answer(shadow, "SELECT count(*) FROM pg_database WHERE datname = 'portolan'").await, "1", "back")?;
    assert!(back.elapsed() < Duration::from_secs(5), "{:?}", back.elapsed());
    let found = answer(shadow, ENDLESS).await;
    assert!(found.starts_with("57014 "), "{found}");
    let found = answer(shadow, ENDLESS).await;
    assert!(found.starts_with("54001 "), "a statement that ended the server twice: {found}");
    Ok(())
}

async fn killed(shadow: &Arc<Shadow>) -> Result<(), Failed> {
    equal(answer(shadow, "SELECT 1 FROM pg_database WHERE datname = 'portolan'").await, "1", "before")?;
    let child = shadow.child_id().await.ok_or("no child")?;
    let busy = {
        let shadow = Arc::clone(shadow);
        tokio::spawn(async move {
            answer(
                &shadow,
                "SELECT count(*) FROM pg_attribute a, pg_attribute b WHERE a.attnum + b.attnum = 7",
            )
            .await
        })
    };
    let killed = std::process::Command::new("kill").args(["-9", &child.to_string()]).status()?;
    assert!(killed.success());
    let found = busy.await?;
    // Either it was repeated on the new server, or it took its 2 s there.
    assert!(found.parse::<u64>().is_ok() || found.starts_with("57014 "), "{found}");
    equal(
        answer(shadow, "SELECT 1 FROM pg_database WHERE datname = 'portolan'").await,
        "1",
        "after kill -9",
    )?;
    assert_ne!(shadow.child_id().await, Some(child));
    assert!(!shadow.ensure(&model()).await?, "the mirror outlives the process");
    Ok(())
}
