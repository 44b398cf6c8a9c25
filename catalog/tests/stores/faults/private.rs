//! Servers of a test's own, which it may freeze, kill and start again: the programs are those of the shared ones.
//!
//! Data lie in a temporary folder, which goes with the server. Nothing here touches a process it did not start.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable as _;
use tokio_postgres::{Client, Config, NoTls};

use super::addresses;

/// Whom servers run as that refuse to be root.
const NOBODY: u32 = 65_534;
/// A server is up, or down, within this time.
const SOON: Duration = Duration::from_secs(60);

/// One server process with its folder and port.
#[derive(Debug)]
pub(crate) struct Private {
    folder: tempfile::TempDir,
    program: PathBuf,
    arguments: Vec<String>,
    libraries: Option<PathBuf>,
    port: u16,
    child: Option<Child>,
}

impl Private {
    /// An empty PostgreSQL with further settings, running.
    pub(crate) async fn postgres(settings: &[&str]) -> Self {
        let shared: Config = addresses::postgres().parse().unwrap();
        let (client, connection) = shared.connect(NoTls).await.unwrap();
        tokio::spawn(connection);
        let sql = "SELECT setting FROM pg_config WHERE name = 'BINDIR'";
        let programs = PathBuf::from(client.query_one(sql, &[]).await.unwrap().get::<_, String>(0));
        let folder = folder();
        let data = folder.path().join("data");
        let mut create = command(&programs.join("initdb"), folder.path(), None);
        create.args([
            "--username=portolan",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
            "--auth=trust",
        ]);
        create.arg("--pgdata").arg(&data).stdout(Stdio::null());
        assert!(create.status().unwrap().success(), "initdb failed");
        let port = free_port();
        let mut arguments = vec!["-D".to_owned(), data.display().to_string(), "-p".into(), port.to_string()];
        let fixed =
            ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", "shared_buffers=16MB"];
        for setting in fixed.iter().chain(settings) {
            arguments.extend(["-c".to_owned(), (*setting).to_owned()]);
        }
        let program = programs.join("postgres");
        let mut server = Self { folder, program, arguments, libraries: None, port, child: None };
        server.start().await;
        server
    }

    /// An empty MariaDB that asks nobody for a password, running.
    pub(crate) async fn mariadb() -> Self {
        let options = mysql_async::Opts::from_url(&addresses::mysql()).unwrap();
        let options = mysql_async::OptsBuilder::from_opts(options).prefer_socket(false);
        let mut shared = mysql_async::Conn::new(options).await.unwrap();
        let (base, messages): (String, String) =
            shared.query_first("SELECT @@basedir, @@lc_messages_dir").await.unwrap().unwrap();
        shared.disconnect().await.unwrap();
        let base = PathBuf::from(base);
        let folder = folder();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        own(&data);
        let port = free_port();
        let arguments = vec![
            "--no-defaults".to_owned(),
            format!("--basedir={}", base.display()),
            format!("--datadir={}", data.display()),
            format!("--lc-messages-dir={messages}"),
            format!("--port={port}"),
            format!("--socket={}", folder.path().join("socket").display()),
            "--bind-address=127.0.0.1".into(),
            "--skip-grant-tables".into(),
            "--skip-name-resolve".into(),
            "--performance-schema=0".into(),
            "--innodb-flush-method=nosync".into(),
            "--innodb-log-file-size=8M".into(),
            "--innodb-buffer-pool-size=16M".into(),
            "--character-set-server=utf8mb4".into(),
        ];
        let program = base.join("sbin/mariadbd");
        let libraries = Some(base.join("lib/x86_64-linux-gnu"));
        let mut server = Self { folder, program, arguments, libraries, port, child: None };
        server.start().await;
        server
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Starts the server on its data and waits until it listens.
    pub(crate) async fn start(&mut self) {
        let mut command = command(&self.program, self.folder.path(), self.libraries.as_deref());
        let log = fs::File::create(self.folder.path().join("log")).unwrap();
        command.args(&self.arguments).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().unwrap());
        let start = Instant::now();
        while !self.greets().await {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(start.elapsed() < SOON, "{} did not start: {log}", self.program.display());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Whether a client gets as far as a session.
    async fn greets(&self) -> bool {
        if self.libraries.is_none() {
            return self.config().connect(NoTls).await.is_ok();
        }
        mysql_async::Conn::new(mysql_async::Opts::from(self.options())).await.is_ok()
    }

    /// How to reach it, if it is a PostgreSQL.
    pub(crate) fn config(&self) -> Config {
        let mut config = Config::new();
        config.host("127.0.0.1").port(self.port).user("portolan").dbname("postgres");
        config
    }

    /// How to reach it, if it is a MariaDB.
    pub(crate) fn options(&self) -> mysql_async::OptsBuilder {
        mysql_async::OptsBuilder::default()
            .ip_or_hostname("127.0.0.1")
            .tcp_port(self.port)
            .user(Some("root"))
            .prefer_socket(false)
    }

    pub(crate) async fn client(&self) -> Client {
        let (client, connection) = self.config().connect(NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// Stops every process of the server where it is, without a word.
    pub(crate) fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets them go on.
    pub(crate) fn thaw(&self) {
        self.signal("CONT");
    }

    /// Ends every process of the server at once.
    pub(crate) fn kill(&mut self) {
        self.signal("KILL");
        if let Some(mut child) = self.child.take() {
            child.wait().unwrap();
        }
    }

    fn signal(&self, signal: &str) {
        let Some(child) = &self.child else { return };
        // The first process first: it would start others.
        send(signal, &[child.id()]);
        send(signal, &children(child.id()));
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}

fn send(signal: &str, processes: &[u32]) {
    if !processes.is_empty() {
        let processes = processes.iter().map(u32::to_string);
        // One may have ended meanwhile.
        let _ = Command::new("kill").arg(format!("-{signal}")).args(processes).stderr(Stdio::null()).status();
    }
}

/// The processes that a process of ours started.
fn children(parent: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_child = |process: &u32| {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        status
            .lines()
            .any(|line| line.strip_prefix("PPid:").is_some_and(|id| id.trim() == parent.to_string()))
    };
    processes.filter(is_child).collect()
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

fn own(path: &Path) {
    if is_root() {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    own(folder.path());
    folder
}

/// A program with nothing of our environment, as whom it agrees to run.
fn command(program: &Path, folder: &Path, libraries: Option<&Path>) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(folder)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("TZ", "UTC")
        .stdin(Stdio::null());
    if let Some(libraries) = libraries {
        command.env("LD_LIBRARY_PATH", libraries);
    }
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
