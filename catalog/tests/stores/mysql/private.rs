//! A private server, of the program the test server runs: with a certificate, and with a limit that refuses joins.
//!
//! The server starts on an empty directory without grant tables, so it is there within a second and nobody else sees
//! it. It ends with the test, also when that fails.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use datafusion::arrow::array::RecordBatch;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, OptsBuilder, Row};
use portolan_catalog::config::{ColumnTypes, MysqlConfig, TablePatterns};
use portolan_catalog::federation::Fragment;
use portolan_catalog::limits::SourceLimits;
use portolan_catalog::mysql::{MysqlTls, ZeroDates, load};
use portolan_catalog::registry::Cause;
use portolan_catalog::source::{Source as _, SourceErrorKind, SourceName};

use super::fixture::{Database, Session, open, read, shown, table};

const PATIENCE: Duration = Duration::from_secs(30);

struct Server {
    process: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended_already = self.process.kill();
        let _reaped = self.process.wait();
    }
}

/// Makes a certificate authority and a certificate for `localhost`, which it signs.
fn certificates(folder: &Path) {
    std::fs::write(folder.join("names"), "subjectAltName=DNS:localhost\n").unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    let authority =
        |name: &str| format!("req -x509 -days 2 -subj /CN={name} -keyout {name}.key -out {name}.pem {key}");
    for arguments in [
        authority("ours"),
        authority("other"),
        format!("req -subj /CN=localhost -keyout server.key -out server.csr {key}"),
        "x509 -req -in server.csr -CA ours.pem -CAkey ours.key -CAcreateserial -days 2 -extfile names -out server.pem"
            .to_owned(),
    ] {
        let made = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output();
        let made = made.unwrap_or_else(|error| panic!("openssl is needed for this test: {error}"));
        assert!(made.status.success(), "{arguments}: {}", String::from_utf8_lossy(&made.stderr));
    }
}

impl Server {
    /// Starts the program that the test server runs, with a certificate.
    async fn start(database: &mut Database) -> Self {
        let told: Row =
            database.admin.query_first("SELECT @@basedir, @@lc_messages_dir").await.unwrap().unwrap();
        let base = PathBuf::from(told.get::<String, _>(0).unwrap());
        let messages: String = told.get(1).unwrap();
        let program = ["sbin/mariadbd", "bin/mariadbd"].map(|place| base.join(place));
        let program = program.into_iter().find(|program| program.is_file()).unwrap_or_else(|| {
            panic!("no mariadbd below {}: this test needs the server of `cargo x up`", base.display())
        });
        let folder = tempfile::tempdir().unwrap();
        certificates(folder.path());
        std::fs::create_dir(folder.path().join("data")).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let within = |name: &str| folder.path().join(name).display().to_string();
        let mut command = Command::new(program);
        command
            .env("LD_LIBRARY_PATH", base.join("lib/x86_64-linux-gnu"))
            .arg("--no-defaults")
            .arg(format!("--basedir={}", base.display()))
            .arg(format!("--lc-messages-dir={messages}"))
            .arg(format!("--datadir={}", within("data")))
            .arg(format!("--socket={}", within("socket")))
            .arg(format!("--pid-file={}", within("pid")))
            .arg(format!("--port={port}"))
            .arg(format!("--ssl-ca={}", within("ours.pem")))
            .arg(format!("--ssl-cert={}", within("server.pem")))
            .arg(format!("--ssl-key={}", within("server.key")))
            .args(["--bind-address=127.0.0.1", "--skip-networking=0", "--skip-grant-tables"])
            .args([
                "--innodb-flush-method=nosync",
                "--innodb-buffer-pool-size=16M",
                "--innodb-log-file-size=8M",
            ])
            // A statement that may look at more rows than that is refused.
            .arg("--max-join-size=1500")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.path().join("log")).unwrap());
        // It refuses to run as root unless it is told to.
        if std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(folder.path()).unwrap()) == 0 {
            command.arg("--user=root");
        }
        let process = command.spawn().unwrap();
        let mut server = Self { process, port, folder };
        let started = Instant::now();
        loop {
            let options = OptsBuilder::default()
                .ip_or_hostname("127.0.0.1")
                .tcp_port(port)
                .user(Some("root"))
                .prefer_socket(false);
            if let Ok(mut admin) = Conn::new(options).await {
                admin.query_drop("CREATE DATABASE port").await.unwrap();
                let view = "CREATE VIEW port.cipher AS SELECT VARIABLE_VALUE AS used FROM \
                            information_schema.SESSION_STATUS WHERE VARIABLE_NAME = 'SSL_CIPHER'";
                admin.query_drop(view).await.unwrap();
                admin.disconnect().await.unwrap();
                return server;
            }
            let ended = server.process.try_wait().unwrap();
            assert!(
                ended.is_none() && started.elapsed() < PATIENCE,
                "{}",
                std::fs::read_to_string(server.folder.path().join("log")).unwrap_or_default()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn config(&self, host: &str, tls: MysqlTls, authority: Option<&str>) -> MysqlConfig {
        MysqlConfig {
            host: host.into(),
            port: self.port,
            database: "port".into(),
            user: "root".into(),
            password: None,
            connections: 2.try_into().unwrap(),
            tls,
            tls_ca: authority.map(|name| self.folder.path().join(name)),
            zero_dates: ZeroDates::Error,
            limits: SourceLimits::default(),
            fallback: None,
            tables: TablePatterns::default(),
            columns: ColumnTypes::default(),
        }
    }
}

/// What the server itself says of the connection that reads.
async fn cipher(config: &MysqlConfig) -> String {
    let source = open("ops", config);
    let definition = table(&source, "cipher").await;
    let batches: Vec<RecordBatch> = read(&source, &Fragment::whole(definition)).await.unwrap();
    shown(&batches).concat()
}

#[tokio::test]
async fn a_connection_is_encrypted_and_the_servers_name_is_checked() {
    let mut database = Database::new().await;
    let server = Server::start(&mut database).await;
    for (host, tls, authority, encrypted) in [
        ("localhost", MysqlTls::VerifyFull, Some("ours.pem"), true),
        ("localhost", MysqlTls::Required, None, true),
        ("127.0.0.1", MysqlTls::Required, Some("other.pem"), true),
        // The authority's certificate is enough, whatever host it is for.
        ("127.0.0.1", MysqlTls::VerifyCa, Some("ours.pem"), true),
        ("localhost", MysqlTls::VerifyCa, Some("ours.pem"), true),
        ("127.0.0.1", MysqlTls::Disable, None, false),
    ] {
        let used = cipher(&server.config(host, tls, authority)).await;
        assert_eq!(used.contains("TLS_"), encrypted, "{host} {tls:?} {authority:?}: {used:?}");
    }
    for (host, tls, authority, why) in [
        ("127.0.0.1", MysqlTls::VerifyFull, Some("ours.pem"), "another name"),
        ("localhost", MysqlTls::VerifyFull, Some("other.pem"), "another authority"),
        ("localhost", MysqlTls::VerifyFull, None, "not one of the public authorities"),
        // Another authority is one under any name, and without one nobody is trusted.
        ("127.0.0.1", MysqlTls::VerifyCa, Some("other.pem"), "another authority, any name"),
        ("localhost", MysqlTls::VerifyCa, Some("other.pem"), "another authority, its name"),
        ("localhost", MysqlTls::VerifyCa, None, "no authority"),
    ] {
        let source = open("ops", &server.config(host, tls, authority));
        let error = source.tables().await.unwrap_err();
        assert_eq!(error.kind, SourceErrorKind::Unreachable, "{why}: {error}");
        assert_eq!(error.message, "source \"ops\": cannot connect: TLS failed", "{why}");
        assert!(error.hint.as_deref().is_some_and(|hint| hint.contains("certificate")), "{why}: {error:?}");
    }
    // What fills a database trusts no other server than what reads it.
    let filled = async |authority: &str| {
        let config = server.config("localhost", MysqlTls::VerifyFull, Some(authority));
        let config = MysqlConfig { database: "filled".into(), ..config };
        load(&SourceName::try_new("ops").unwrap(), &config, "nothing", &[]).await
    };
    let error = filled("other.pem").await.unwrap_err();
    assert_eq!(
        (error.kind, error.message.as_str()),
        (SourceErrorKind::Unreachable, "source \"ops\": no connection for loading")
    );
    assert_eq!(filled("ours.pem").await.unwrap(), 0);
    drop(server);
    database.finish().await;
}

/// What the server refuses is named, and evaluated here from then on.
#[tokio::test]
async fn a_construct_that_the_server_refuses_stays_here() {
    let mut database = Database::new().await;
    let server = Server::start(&mut database).await;
    let options =
        OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(server.port).prefer_socket(false);
    let mut admin = Conn::new(options.user(Some("root"))).await.unwrap();
    for (table, columns, row) in
        [("one", "k INT, v VARCHAR(9) PRIMARY KEY", 1_000), ("two", "k INT PRIMARY KEY, v VARCHAR(9)", 7)]
    {
        admin.query_drop(format!("CREATE TABLE port.{table} ({columns})")).await.unwrap();
        let rows: Vec<String> = (0..1_000).map(|n| format!("({n}, '{}')", n % row)).collect();
        admin.query_drop(format!("INSERT INTO port.{table} VALUES {}", rows.join(", "))).await.unwrap();
    }
    admin.disconnect().await.unwrap();
    let source = open("ops", &server.config("127.0.0.1", MysqlTls::Disable, None));
    let session = Session::new(vec![source]);
    let sql = "SELECT o.v FROM one o WHERE EXISTS (SELECT 1 FROM two t WHERE t.v = o.v) AND o.k < 2";
    let error = session.rows(sql, true).await.unwrap_err();
    assert!(
        error.contains("source \"ops\" refused a statement on \"one\" with conditions, a join"),
        "{error}"
    );
    assert_eq!(session.same(sql).await, ["0", "1"]);
    assert_eq!(session.leaves(sql).await.len(), 2);
    let refused = session.catalog.source("ops").unwrap().quarantined();
    let join = refused.iter().find(|row| row.construct.starts_with("join")).unwrap();
    assert_eq!((join.cause, join.sample.as_str()), (Cause::Refused, "remote code 42000/1104"));
    let capabilities = session.sources[0].executor().capabilities();
    assert!(capabilities.iter().all(|row| row.active), "{capabilities:#?}");
    drop(server);
    database.finish().await;
}
