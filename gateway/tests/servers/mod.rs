//! `portolan serve` over a PostgreSQL, a MariaDB and a MongoDB that hold hard values, that swallow every packet, or
//! whose passwords must never be seen.
//!
//! What PostgreSQL itself says of its own values is the measure: the same statement is asked of it and of the gateway.

mod leaving;
mod mixed;

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use mongodb::bson::doc;
use mysql_async::prelude::Queryable as _;
use serde_json::{Value, json};
use tokio_postgres::{Client, NoTls};

use super::production::{address, server};
use super::{Demo, refusal, rows, sqlstate, until};

/// What nothing may repeat.
const CANARY: &str = "canary-7f3a";
/// Longer than any answer from memory takes, shorter than an attempt to connect.
const WITHOUT_DIALLING: Duration = Duration::from_secs(8);

/// The stores, all called by one name of this test's own, and a port's file over them.
struct Port {
    folder: tempfile::TempDir,
    name: String,
    file: Value,
    postgres: Client,
    mysql: mysql_async::Pool,
    mongodb: mongodb::Client,
}

const OF_POSTGRES: &str = "CREATE SCHEMA port;
    CREATE TABLE port.hard (id int4 PRIMARY KEY, day date, at timestamp, seen timestamptz, big int8);
    INSERT INTO port.hard VALUES
        (1, '2026-03-05', '2026-03-05 10:11:12.5', '2026-03-05 10:11:12.5Z', 9223372036854775807),
        (2, 'infinity', 'infinity', 'infinity', 9223372036854775807),
        (3, '9999-12-31', '9999-12-31 23:59:59.999999', '9999-12-31 23:59:59.999999Z', 1),
        (4, '-infinity', '-infinity', '-infinity', -1),
        (5, '0001-01-01', '1969-12-31 23:59:59.999999', '1899-12-31 00:00:00Z', NULL),
        (6, NULL, NULL, NULL, NULL);
    CREATE TABLE port.late (id int4, at timestamp, seen timestamptz);
    INSERT INTO port.late VALUES (1, '294276-12-31', '294276-12-31 00:00:00Z');
    CREATE TABLE port.far (id int4, day date);
    INSERT INTO port.far VALUES (1, '5874897-12-31'), (2, '300000-01-01'), (3, 'infinity'), (4, '2026-03-05');
    CREATE TABLE port.odd (id int4, n numeric);
    INSERT INTO port.odd VALUES (1, 1.5), (2, 'NaN'), (3, 0.123456789012345678901), (4, 'Infinity');
    CREATE TABLE port.spans (id int4 PRIMARY KEY, span interval, need interval NOT NULL, n numeric);
    INSERT INTO port.spans SELECT id, span, coalesce(span, '0'), 'NaN'
        FROM unnest(ARRAY['24:00', '1 day', '30 days', '1 mon', NULL, '-1 day', '1 mon -1 day', '29 days']::interval[])
            WITH ORDINALITY t(span, id)";

impl Port {
    /// Makes the stores. Databases are not made in transactions, which is what several statements in one text are.
    async fn make(what: &str) -> Self {
        let name = format!("portolan_{what}_{}", std::process::id());
        let (admin, connection) = tokio_postgres::connect(&server("POSTGRES"), NoTls).await.unwrap();
        tokio::spawn(connection);
        admin.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await.unwrap();
        admin.batch_execute(&format!("DROP ROLE IF EXISTS {name}")).await.unwrap();
        admin.batch_execute(&format!("CREATE ROLE {name} LOGIN PASSWORD '{CANARY}'")).await.unwrap();
        admin.batch_execute(&format!("CREATE DATABASE {name} OWNER {name}")).await.unwrap();
        let mut config: tokio_postgres::Config = server("POSTGRES").parse().unwrap();
        config.dbname(&name);
        let (postgres, connection) = config.connect(NoTls).await.unwrap();
        tokio::spawn(connection);
        postgres.batch_execute(OF_POSTGRES).await.unwrap();
        let grant = format!(
            "GRANT USAGE ON SCHEMA port TO {name}; GRANT SELECT ON ALL TABLES IN SCHEMA port TO {name}"
        );
        postgres.batch_execute(&grant).await.unwrap();
        postgres.batch_execute("SET timezone = 'UTC'").await.unwrap();

        let mysql = mysql_async::Pool::new(server("MYSQL").as_str());
        let mut session = mysql.get_conn().await.unwrap();
        for statement in [
            format!("DROP DATABASE IF EXISTS {name}"),
            format!("CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci"),
            format!("CREATE OR REPLACE USER '{name}'@'%' IDENTIFIED BY '{CANARY}'"),
            format!("GRANT SELECT ON {name}.* TO '{name}'@'%'"),
            format!("CREATE TABLE {name}.berth (id int PRIMARY KEY, name varchar(40) NOT NULL)"),
            format!("INSERT INTO {name}.berth VALUES (1, 'DAKAR'), (2, 'Dakar'), (3, 'dákar'), (5, 'Gorée')"),
        ] {
            session.query_drop(statement).await.unwrap();
        }
        drop(session);

        let mongodb = mongodb::Client::with_uri_str(server("MONGODB")).await.unwrap();
        let database = mongodb.database(&name);
        database.drop().await.unwrap();
        let calls = [doc! {"_id": 1, "n": 1}, doc! {"_id": 2, "n": "two"}, doc! {"_id": 5, "n": 5}];
        database.collection("calls").insert_many(calls).await.unwrap();
        let clean = [doc! {"_id": 1, "n": 1}, doc! {"_id": 3, "n": 3}];
        database.collection("clean").insert_many(clean).await.unwrap();

        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("pipelines")).unwrap();
        let file = Self::file(&name);
        Self { folder, name, file, postgres, mysql, mongodb }
    }

    fn file(name: &str) -> Value {
        let (postgres, mysql) = (address(&server("POSTGRES")), address(&server("MYSQL")));
        let url = server("MONGODB");
        let (hosts, options) = url.strip_prefix("mongodb://").unwrap().split_once('/').unwrap();
        let hosts = hosts.rsplit('@').next().unwrap();
        let columns = json!([{"name": "_id", "type": "int4"}, {"name": "n", "type": "int4"}]);
        let mut mongodb = json!({
            "hosts": hosts.split(',').collect::<Vec<_>>(), "database": name,
            "tables": {
                "calls": {"columns": columns},
                "clean": {"columns": columns},
                "lenient": {"collection": "calls", "on_mismatch": "null", "columns": columns},
            },
        });
        if let Some(set) = options.split(['?', '&']).find_map(|option| option.strip_prefix("replicaSet=")) {
            mongodb["replica_set"] = json!(set);
        }
        if let Some((account, _)) = url.strip_prefix("mongodb://").unwrap().split_once('@') {
            let (user, _) = account.split_once(':').unwrap();
            mongodb["user"] = json!(user);
            mongodb["password"] = json!({"env": "MONGODB_PASSWORD"});
        }
        json!({
            "name": "servers",
            "pipelines": "pipelines",
            "warehouse": {"postgres": {
                "host": postgres.host, "port": postgres.port, "user": name, "database": name,
                "password": {"env": "CANARY_PASSWORD"},
            }},
            "users": {"demo": {"password": {"env": "PORTOLAN_PASSWORD"}}},
            "sources": {
                "port": {"postgres": {
                    "host": postgres.host, "port": postgres.port, "user": name, "database": name,
                    "schema": "port", "password": {"env": "CANARY_PASSWORD"},
                }},
                "my": {"mysql": {
                    "host": mysql.host, "port": mysql.port, "user": name, "database": name,
                    "password": {"env": "CANARY_PASSWORD"}, "tls": "disable",
                }},
                "docs": {"mongodb": mongodb},
            },
        })
    }

    fn serve(&self) -> Demo {
        let path = self.folder.path().join("portolan.yaml");
        std::fs::write(&path, self.file.to_string()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_portolan"));
        command.arg("serve").arg("--config").arg(path).arg("--data-dir").arg(self.folder.path().join("data"));
        let url = server("MONGODB");
        let password =
            url.split_once('@').and_then(|(account, _)| account.rsplit(':').next().map(str::to_owned));
        command.env("MONGODB_PASSWORD", password.unwrap_or_default());
        command.env("CANARY_PASSWORD", CANARY).env("PORTOLAN_PASSWORD", "demo");
        Demo::run(&mut command)
    }

    fn snapshot(&self, source: &str) -> PathBuf {
        self.folder.path().join("data/sources").join(format!("{source}.json"))
    }

    async fn remove(self) {
        let Self { name, postgres, mysql, mongodb, .. } = self;
        drop(postgres);
        let (admin, connection) = tokio_postgres::connect(&server("POSTGRES"), NoTls).await.unwrap();
        tokio::spawn(connection);
        admin.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
        admin.batch_execute(&format!("DROP ROLE {name}")).await.unwrap();
        let mut session = mysql.get_conn().await.unwrap();
        session.query_drop(format!("DROP DATABASE {name}")).await.unwrap();
        session.query_drop(format!("DROP USER '{name}'@'%'")).await.unwrap();
        drop(session);
        mysql.disconnect().await.unwrap();
        mongodb.database(&name).drop().await.unwrap();
    }
}

/// Dates beside timestamps, at the ends of their ranges too.
const BESIDE: [&str; 24] = [
    "id, day::timestamp, day::timestamptz, at::date, seen::date, seen::timestamp, at::timestamptz FROM port.hard ORDER BY id",
    "id, day = at, day < seen, at >= day, at = seen, day IS DISTINCT FROM at FROM port.hard ORDER BY id",
    "id FROM port.hard WHERE day > now() ORDER BY id",
    "id FROM port.hard WHERE at > now() AND seen > current_date ORDER BY id",
    "id FROM port.hard WHERE day > timestamp '2026-03-04 10:00' ORDER BY id",
    "id FROM port.hard WHERE day <= timestamp '2026-03-05' ORDER BY id",
    "id FROM port.hard WHERE at >= date '9999-12-31' ORDER BY id",
    "id FROM port.hard WHERE seen < date '2026-03-06' ORDER BY id",
    "id FROM port.hard WHERE day BETWEEN timestamp '1000-01-01' AND timestamptz 'infinity' ORDER BY id",
    "id FROM port.hard WHERE day IN (timestamp '9999-12-31', timestamp 'infinity') ORDER BY id",
    "id FROM port.hard WHERE day IN (SELECT at FROM port.hard) ORDER BY id",
    "x.id, y.id FROM port.hard x JOIN port.hard y ON x.day = y.at ORDER BY 1, 2",
    "x.id, y.id FROM port.hard x JOIN port.hard y ON x.at = y.seen ORDER BY 1, 2",
    "x.id, y.id FROM port.hard x JOIN port.hard y ON x.day < y.seen ORDER BY 1, 2",
    "id, coalesce(day, now()) = day, greatest(day, at), nullif(day, at) FROM port.hard ORDER BY id",
    "day FROM port.hard UNION SELECT at FROM port.hard ORDER BY 1",
    "id, date_trunc('month', day), date_trunc('year', at), date_trunc('week', seen) FROM port.hard WHERE id < 5 ORDER BY id",
    "id, day + 1, day - interval '1 day', at + interval '1 month' FROM port.hard WHERE id < 5 ORDER BY id",
    "id, at - timestamp '2024-01-01', seen - timestamptz '2024-01-01 00:00Z' FROM port.hard ORDER BY id",
    "id, day::text::date, at::text::timestamp FROM port.hard WHERE id < 5 ORDER BY id",
    "id, day > timestamp '2026-01-01', day > timestamp 'infinity', day = timestamp '2026-03-05' FROM port.far ORDER BY id",
    "f.id, h.id FROM port.far f JOIN port.hard h ON f.day > h.at ORDER BY 1, 2",
    "f.id, h.id FROM port.far f JOIN port.hard h ON f.day = h.seen ORDER BY 1, 2",
    "id, day FROM port.far ORDER BY day",
];

/// Intervals, which are equal by their lengths, beside a column that cannot be read and is not asked for.
const SPANS: [&str; 17] = [
    "count(*) FROM port.spans",
    "id FROM port.spans WHERE span = '1 day' ORDER BY id",
    "id FROM port.spans WHERE need IN ('24 hours', '1 mon') ORDER BY id",
    "id FROM port.spans WHERE span BETWEEN '1 day' AND '29 days' ORDER BY id",
    "id, span FROM port.spans ORDER BY span DESC NULLS LAST, id LIMIT 4",
    "count(*), min(id) FROM port.spans GROUP BY span ORDER BY 2",
    "count(*), min(id) FROM port.spans GROUP BY need ORDER BY 2",
    "need, count(*) FROM port.spans WHERE id IN (1, 4, 7) GROUP BY need ORDER BY need",
    "DISTINCT need, id > 2 FROM port.spans WHERE id IN (1, 4, 7) ORDER BY need",
    "count(*) FROM (SELECT need FROM port.spans UNION SELECT span FROM port.spans) u",
    "count(DISTINCT span), count(DISTINCT need), min(need), max(need) FROM port.spans WHERE id IN (5, 7, 8, 4)",
    "x.id, y.id FROM port.spans x JOIN port.spans y ON x.need = y.span ORDER BY 1, 2",
    "x.id, y.id FROM port.spans x JOIN port.spans y USING (need) ORDER BY 1, 2",
    "id FROM port.spans WHERE need NOT IN (SELECT span FROM port.spans WHERE id = 1) ORDER BY id",
    "id FROM port.spans x WHERE EXISTS (SELECT 1 FROM port.spans y WHERE y.need = x.need AND y.id <> x.id) ORDER BY id",
    "id, rank() OVER (ORDER BY need), count(*) OVER (PARTITION BY span), max(need) OVER (ORDER BY id) FROM port.spans ORDER BY id",
    "DISTINCT ON (need) need, id FROM port.spans ORDER BY need, id DESC",
];

/// One client with UTC, and push-down as it is told.
async fn client(gateway: &Demo, pushdown: bool) -> Client {
    let client = gateway.connect("demo").await.unwrap();
    let settings =
        format!("SET timezone = 'UTC'; SET portolan.pushdown = {}", if pushdown { "on" } else { "off" });
    client.batch_execute(&settings).await.unwrap();
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn hard_values_are_what_postgresql_says_or_are_refused_by_their_place() {
    let port = Port::make("values").await;
    let gateway = port.serve();
    let mut statements = vec![
        "SELECT sum(big) FROM port.hard WHERE id < 3".to_owned(),
        "SELECT sum(big), count(big) FROM port.hard".to_owned(),
        "SELECT id, sum(big) FROM port.hard GROUP BY id ORDER BY id".to_owned(),
    ];
    for column in ["day", "at", "seen"] {
        for what in ["'infinity'", "'-infinity'", "'9999-12-31'", "'0001-01-01'"] {
            for operator in ["=", ">", "<=", "<>"] {
                statements
                    .push(format!("SELECT id FROM port.hard WHERE {column} {operator} {what} ORDER BY id"));
            }
        }
        statements.extend([
            format!("SELECT id, {column} FROM port.hard ORDER BY id"),
            format!("SELECT min({column}), max({column}) FROM port.hard"),
            format!(
                "SELECT {column}, count(*) FROM port.hard GROUP BY {column} ORDER BY {column} NULLS FIRST"
            ),
            format!(
                "SELECT x.id, y.id FROM port.hard x JOIN port.hard y ON x.{column} = y.{column} ORDER BY 1, 2"
            ),
            format!(
                "SELECT id, date_trunc('month', {column}) FROM port.hard WHERE id IN (1, 3, 5) ORDER BY id"
            ),
        ]);
    }
    statements.extend(BESIDE.iter().chain(&SPANS).map(|rest| format!("SELECT {rest}")));
    statements
        .extend(["SELECT id FROM port.odd ORDER BY id", "SELECT count(*) FROM port.late"].map(Into::into));
    for pushdown in [true, false] {
        let client = client(&gateway, pushdown).await;
        for sql in &statements {
            let said = rows(&port.postgres, sql).await;
            assert_eq!(rows(&client, sql).await, said, "{sql}, push-down {pushdown}");
        }
        for (sql, state, place) in [
            ("SELECT at FROM port.late", "22008", "port.late.at"),
            ("SELECT seen FROM port.late WHERE id = 1", "22008", "port.late.seen"),
            ("SELECT max(seen) FROM port.late", "22008", "port.late.seen"),
            ("SELECT day::timestamp FROM port.far", "22008", "date out of range for timestamp"),
            ("SELECT at - at FROM port.hard WHERE id = 2", "22008", "interval out of range"),
            ("SELECT day - day FROM port.hard WHERE id = 2", "22008", "cannot subtract infinite dates"),
            ("SELECT n FROM port.odd WHERE id = 2", "22003", "port.odd.n"),
            ("SELECT n FROM port.odd WHERE id = 3", "22003", "port.odd.n"),
            ("SELECT n FROM port.odd WHERE id = 4", "22003", "port.odd.n"),
            ("SELECT n FROM docs.calls", "HV000", "docs.calls.n"),
        ] {
            let error = refusal(&client, sql).await;
            assert_eq!(error.code().code(), state, "{sql}, push-down {pushdown}: {error:?}");
            let told = format!(
                "{} {} {}",
                error.message(),
                error.detail().unwrap_or_default(),
                error.hint().unwrap_or_default()
            );
            assert!(told.contains(place), "{sql}, push-down {pushdown}: {told}");
        }
        // Where it was declared, a null that is counted.
        let counted = "SELECT mismatches FROM system.sources WHERE name = 'docs'";
        let before: i64 = rows(&client, counted).await[0][0].as_ref().unwrap().parse().unwrap();
        let lenient = rows(&client, "SELECT _id, n FROM docs.lenient ORDER BY _id").await;
        let of = |id: &str, n: Option<&str>| vec![Some(id.to_owned()), n.map(str::to_owned)];
        assert_eq!(lenient, [of("1", Some("1")), of("2", None), of("5", Some("5"))], "push-down {pushdown}");
        let after: i64 = rows(&client, counted).await[0][0].as_ref().unwrap().parse().unwrap();
        assert_eq!(after, before + 1, "push-down {pushdown}");
    }
    assert_eq!(gateway.stop(), Some(0));
    port.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_to_each_of_three_sources_is_told_and_no_password() {
    let port = Port::make("told").await;
    let gateway = port.serve();
    let client = client(&gateway, true).await;
    let sql = "SELECT h.id, b.name, d.n FROM port.hard h JOIN my.berth b ON b.id = h.id JOIN docs.clean d ON d._id = h.id \
               WHERE h.id <> 4 AND h.big::text <> 'x' AND b.name = 'DAKAR' AND upper(b.name) = 'DAKAR' AND d.n = 1";
    let answer = vec![vec![Some("1".to_owned()), Some("DAKAR".to_owned()), Some("1".to_owned())]];
    assert_eq!(rows(&client, sql).await, answer);
    let mut seen = gateway.said();
    for explain in ["EXPLAIN", "EXPLAIN VERBOSE", "EXPLAIN ANALYZE"] {
        let plan: Vec<String> =
            rows(&client, &format!("{explain} {sql}")).await.into_iter().flatten().flatten().collect();
        for (source, sent, kept) in
            [("port", "(\"id\" <> (4))", "big"), ("my", "`berth`", "upper("), ("docs", "clean", "")]
        {
            let leaf = plan.iter().find(|line| line.contains(&format!("FederatedScan source={source} ")));
            let leaf = leaf.unwrap_or_else(|| panic!("{explain}: no leaf of {source}: {plan:#?}"));
            let (asked, stayed) = leaf.split_once(" kept: ").unwrap_or((leaf, ""));
            assert!(asked.contains(" sent: ") && asked.contains(sent), "{explain}: {leaf}");
            assert!(stayed.contains(kept), "{explain}: {leaf}");
            assert_eq!(leaf.contains(" rows="), explain == "EXPLAIN ANALYZE", "{leaf}");
        }
        seen += &plan.join("\n");
    }
    // What two aggregates share is cast once, and both are summed up at the source.
    let shared = "EXPLAIN SELECT sum(big), avg(big), count(*) FROM port.hard";
    let plan = rows(&client, shared).await.into_iter().flatten().flatten().collect::<Vec<_>>().join("\n");
    assert!(plan.contains("sum(\"big\")") && plan.contains("count(\"big\")"), "{plan}");
    // The reads are kept with their figures, and everything that is kept is free of secrets.
    let reads = "SELECT source, rows >= minimal_rows FROM system.fragments WHERE state = 'done' AND minimal_rows IS NOT NULL";
    let kept = rows(&client, reads).await;
    assert!(!kept.is_empty() && kept.iter().all(|row| row[1].as_deref() == Some("t")), "{kept:?}");
    for table in ["fragments", "sources", "pushdown", "queries", "settings"] {
        let all = rows(&client, &format!("SELECT * FROM system.{table}")).await;
        seen += &all.into_iter().flatten().flatten().collect::<Vec<_>>().join("\n");
    }
    // Neither does an error show one.
    let dropped = "DROP TABLE port.odd; REVOKE SELECT ON port.late FROM PUBLIC";
    port.postgres.batch_execute(dropped).await.unwrap();
    port.postgres.batch_execute(&format!("REVOKE SELECT ON port.late FROM {}", port.name)).await.unwrap();
    for sql in ["SELECT n FROM port.odd", "SELECT id FROM port.late"] {
        seen += &format!("{:?}", refusal(&client, sql).await);
    }
    seen += &gateway.get("/metrics");
    seen += &gateway.said();
    for line in seen.lines() {
        assert!(!line.contains(CANARY), "{line}");
    }
    assert!(seen.contains("FederatedScan") && seen.len() > 10_000, "nothing was looked at");
    drop(client);
    assert_eq!(gateway.stop(), Some(0));
    port.remove().await;
}

/// An open port and nothing behind it: the kernel takes the connection, and nobody ever answers.
#[tokio::test(flavor = "multi_thread")]
async fn sources_that_swallow_every_packet_cost_only_their_own_queries() {
    let mut port = Port::make("silent").await;
    let gateway = port.serve();
    let client = gateway.connect("demo").await.unwrap();
    for table in ["port.hard", "my.berth", "docs.lenient"] {
        rows(&client, &format!("SELECT count(*) FROM {table}")).await;
    }
    until("a snapshot of each source", async || {
        ["port", "my", "docs"].into_iter().all(|source| port.snapshot(source).exists())
    })
    .await;
    drop(client);
    assert_eq!(gateway.stop(), Some(0));

    // All of them fall silent, and the list of one is damaged.
    let silent: Vec<TcpListener> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let ports: Vec<u16> = silent.iter().map(|one| one.local_addr().unwrap().port()).collect();
    for (source, kind, at) in [("port", "postgres", ports[0]), ("my", "mysql", ports[1])] {
        port.file["sources"][source][kind]["host"] = json!("127.0.0.1");
        port.file["sources"][source][kind]["port"] = json!(at);
    }
    port.file["sources"]["docs"]["mongodb"]["hosts"] = json!([format!("127.0.0.1:{}", ports[2])]);
    let whole = std::fs::read(port.snapshot("my")).unwrap();
    std::fs::write(port.snapshot("my"), &whole[..whole.len() / 2]).unwrap();
    let gateway = port.serve();
    let client = gateway.connect("demo").await.unwrap();
    let at_once = async |sql: &str| {
        let asked = tokio::time::timeout(WITHOUT_DIALLING, rows(&client, sql)).await;
        asked.unwrap_or_else(|_| panic!("it waited for somebody: {sql}"))
    };
    assert_eq!(at_once("SELECT 1").await, [[Some("1".to_owned())]]);
    let columns = "SELECT string_agg(attname, ',' ORDER BY attnum) FROM pg_attribute \
                   WHERE attrelid = to_regclass('port.hard') AND attnum > 0";
    until("the columns from the snapshot", async || {
        at_once(columns).await == [[Some("id,day,at,seen,big".to_owned())]]
    })
    .await;
    let damaged = gateway.said();
    let told = damaged.lines().filter(|line| line.contains("schema snapshot") && line.contains("my.json"));
    assert_eq!(told.count(), 1, "{damaged}");

    // Whoever asks a silent one is told so: after an attempt, all of them at one time, and at once when it is known.
    let tables = ["port.hard"; 6].into_iter().chain(["my.berth", "docs.lenient"]);
    let told = futures::future::join_all(tables.map(|table| {
        let gateway = &gateway;
        async move {
            let client = gateway.connect("demo").await.unwrap();
            (table, sqlstate(&client, &format!("SELECT * FROM {table}")).await)
        }
    }));
    for (table, state) in told.await {
        assert_eq!(state, "HV00N", "{table}");
    }
    let known = tokio::time::timeout(WITHOUT_DIALLING, sqlstate(&client, "SELECT * FROM port.hard")).await;
    assert_eq!(known.ok().as_deref(), Some("HV00N"), "it waited for a server that is known to be silent");
    assert_eq!(at_once("SELECT count(*) FROM system.sources WHERE state = 'down'").await.len(), 1);
    drop(client);
    assert_eq!(gateway.stop(), Some(0));
    drop(silent);
    port.remove().await;
}
