//! Tables that change while the gateway runs: real PostgreSQL and MariaDB, altered behind its back.
//!
//! A query that names what is gone is told so at its first try, any other query is answered at its first try, and what
//! is new is seen as soon as somebody has looked.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mysql_async::prelude::Queryable as _;
use serde_json::json;
use tokio_postgres::NoTls;

use super::production::{address, server};
use super::{Demo, refusal, rows, sqlstate};

/// A port of two databases, and nothing made of them.
struct Port {
    file: PathBuf,
    data_dir: PathBuf,
}

const PASSWORDS: [&str; 2] = ["POSTGRES_PASSWORD", "MARIADB_PASSWORD"];

impl Port {
    fn write(folder: &Path, schema: &str) -> Self {
        let (postgres, mysql) = (address(&server("POSTGRES")), address(&server("MYSQL")));
        std::fs::create_dir(folder.join("pipelines")).unwrap();
        let text = json!({
            "name": "drift",
            "pipelines": "pipelines",
            "warehouse": {"postgres": {
                "host": postgres.host, "port": postgres.port, "user": postgres.user, "database": schema,
                "password": {"env": PASSWORDS[0]},
            }},
            "users": {"demo": {"password": {"env": "PORTOLAN_PASSWORD"}}},
            "sources": {
                "pg": {"postgres": {
                    "host": postgres.host, "port": postgres.port, "user": postgres.user, "database": "postgres",
                    "schema": schema, "password": {"env": PASSWORDS[0]},
                }},
                "my": {"mysql": {
                    "host": mysql.host, "port": mysql.port, "user": mysql.user, "database": schema,
                    "password": {"env": PASSWORDS[1]}, "tls": "disable",
                }},
            },
        });
        let file = folder.join("portolan.yaml");
        std::fs::write(&file, text.to_string()).unwrap();
        Self { file, data_dir: folder.join("data") }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let (postgres, mysql) = (address(&server("POSTGRES")), address(&server("MYSQL")));
        let mut command = Command::new(env!("CARGO_BIN_EXE_portolan"));
        command.args(arguments).arg("--config").arg(&self.file).arg("--data-dir").arg(&self.data_dir);
        command
            .env(PASSWORDS[0], postgres.password)
            .env(PASSWORDS[1], mysql.password)
            .env("PORTOLAN_PASSWORD", "demo");
        command
    }

    /// What `portolan source check` says, and its exit code.
    fn check(&self, names: &[&str]) -> (Option<i32>, String) {
        let arguments: Vec<&str> = ["source", "check"].iter().chain(names).copied().collect();
        let Output { status, stdout, stderr } = self.command(&arguments).output().unwrap();
        (status.code(), String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr))
    }
}

fn one(text: &str) -> Vec<Vec<Option<String>>> {
    vec![text.split('|').map(|value| Some(value.to_owned())).collect()]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_changes_behind_the_gateway_is_noticed_by_the_query_that_meets_it() {
    let directory = tempfile::tempdir().unwrap();
    let schema = format!("portolan_drift_{}", std::process::id());
    let (postgres, connection) = tokio_postgres::connect(&server("POSTGRES"), NoTls).await.unwrap();
    tokio::spawn(connection);
    let pool = mysql_async::Pool::new(server("MYSQL").as_str());
    let mut mysql = pool.get_conn().await.unwrap();
    let fill = "INSERT INTO t VALUES (1, 'one', 10), (2, 'two', 20)";
    // Databases are not made in transactions, which is what several statements in one text are.
    postgres.batch_execute(&format!("DROP DATABASE IF EXISTS {schema} WITH (FORCE)")).await.unwrap();
    postgres.batch_execute(&format!("CREATE DATABASE {schema}")).await.unwrap();
    for statement in [
        format!("DROP SCHEMA IF EXISTS {schema} CASCADE; CREATE SCHEMA {schema}; SET search_path = {schema}"),
        "CREATE TABLE t (a int4, b text, c int4); CREATE TABLE gone (x int4)".to_owned(),
        fill.to_owned(),
    ] {
        postgres.batch_execute(&statement).await.unwrap();
    }
    for statement in [
        format!("DROP DATABASE IF EXISTS {schema}"),
        format!("CREATE DATABASE {schema} CHARACTER SET utf8mb4"),
        format!("USE {schema}"),
        "CREATE TABLE t (a int, b text, c int)".to_owned(),
        "CREATE TABLE gone (x int)".to_owned(),
        fill.to_owned(),
    ] {
        mysql.query_drop(statement).await.unwrap();
    }
    let port = Port::write(directory.path(), &schema);
    let gateway = Demo::run(&mut port.command(&["serve"]));
    let client = gateway.connect("demo").await.unwrap();
    for source in ["pg", "my"] {
        let all = format!("SELECT a, b, c FROM {source}.t WHERE a = 2");
        assert_eq!(rows(&client, &all).await, one("2|two|20"), "{source}");
        assert_eq!(rows(&client, &format!("SELECT count(*) FROM {source}.gone")).await, one("0"));
    }
    let prepared = client.prepare("SELECT b FROM pg.t WHERE a = $1").await.unwrap();
    assert_eq!(client.query(&prepared, &[&1_i32]).await.unwrap().len(), 1);

    // A column is dropped: 42703 at once where it is named, an answer at once where it is not.
    postgres.batch_execute("ALTER TABLE t DROP COLUMN b").await.unwrap();
    mysql.query_drop("ALTER TABLE t DROP COLUMN b").await.unwrap();
    let gone = client.query(&prepared, &[&1_i32]).await.unwrap_err();
    assert_eq!(gone.code().map(|code| code.code()), Some("42703"), "{gone:?}");
    assert_eq!(sqlstate(&client, "SELECT a, b FROM my.t").await, "42703");
    for source in ["pg", "my"] {
        let error = refusal(&client, &format!("SELECT a FROM {source}.t WHERE b = 'two'")).await;
        assert_eq!(error.code().code(), "42703", "{error:?}");
        assert_eq!(rows(&client, &format!("SELECT c FROM {source}.t WHERE a = 2")).await, one("20"));
        assert_eq!(rows(&client, &format!("SELECT * FROM {source}.t WHERE a = 1")).await, one("1|10"));
    }
    let drift = "SELECT name, drift FROM system.sources WHERE name IN ('pg', 'my') ORDER BY 1";
    let told = |source: &str| vec![Some(source.to_owned()), Some(format!("column \"{source}.t.b\" is gone"))];
    assert_eq!(rows(&client, drift).await, [told("my"), told("pg")]);
    let figures = gateway.get("/metrics");
    assert!(figures.contains("portolan_source_drift_total{source=\"pg\",kind=\"postgres\"} 1"), "{figures}");

    // A table is dropped.
    postgres.batch_execute("DROP TABLE gone").await.unwrap();
    mysql.query_drop("DROP TABLE gone").await.unwrap();
    for source in ["pg", "my"] {
        assert_eq!(sqlstate(&client, &format!("SELECT x FROM {source}.gone")).await, "42P01", "{source}");
    }

    // A column of another type: an answer of the same types comes at once.
    mysql.query_drop("ALTER TABLE t MODIFY c VARCHAR(9)").await.unwrap();
    assert_eq!(rows(&client, "SELECT count(c) FROM my.t").await, one("2"));
    assert_eq!(rows(&client, "SELECT c || '!' FROM my.t WHERE a = 1").await, one("10!"));

    // A new column: any client can have the tables listed again, and says what it found.
    postgres.batch_execute("ALTER TABLE t ADD COLUMN d int4 DEFAULT 7").await.unwrap();
    assert_eq!(sqlstate(&client, "SELECT d FROM pg.t").await, "42703");
    let found = "1 table; column \"pg.t.d\" is new";
    assert_eq!(rows(&client, "SELECT portolan_refresh('pg')").await, one(&format!("pg: {found}")));
    assert_eq!(rows(&client, "SELECT d FROM pg.t WHERE a = 1").await, one("7"));
    assert_eq!(sqlstate(&client, "SELECT portolan_refresh('nowhere')").await, "42704");
    let every = rows(&client, "SELECT portolan_refresh()").await;
    assert!(every[0][0].as_ref().is_some_and(|said| said.contains("my: 1 table\n")), "{every:?}");

    // So does the command line, without asking the gateway, which sees what was found.
    mysql.query_drop("ALTER TABLE t ADD COLUMN e int DEFAULT 8").await.unwrap();
    let (code, said) = port.check(&["my"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.starts_with("my mysql up (") && said.contains("\n  column \"my.t.e\" is new\n"), "{said}");
    assert_eq!(rows(&client, "SELECT e FROM my.t WHERE a = 1").await, one("8"));
    let (code, said) = port.check(&[]);
    assert!(code == Some(0) && said.contains("nothing has changed"), "{said}");
    let (code, said) = port.check(&["nowhere"]);
    assert!(code == Some(2) && said.contains("hint: sources are lake, my, pg, warehouse"), "{said}");

    // One that is down is told, with the exit code of a failure.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text = std::fs::read_to_string(&port.file).unwrap();
    let used = format!("\"port\":{}", address(&server("POSTGRES")).port);
    std::fs::write(&port.file, text.replace(&used, &format!("\"port\":{taken}"))).unwrap();
    let (code, said) = port.check(&[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("pg postgres down: ") && said.contains("my mysql up"), "{said}");

    drop((client, prepared));
    assert_eq!(gateway.stop(), Some(0));
    postgres.batch_execute(&format!("DROP SCHEMA {schema} CASCADE")).await.unwrap();
    postgres.batch_execute(&format!("DROP DATABASE {schema} WITH (FORCE)")).await.unwrap();
    mysql.query_drop(format!("DROP DATABASE {schema}")).await.unwrap();
    drop(mysql);
    pool.disconnect().await.unwrap();
}
