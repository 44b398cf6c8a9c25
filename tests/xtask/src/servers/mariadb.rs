//! MariaDB from Debian's packages, unpacked and not installed, with row-based binary log. It must never touch a
//! server of the system: own folders, own port, own socket.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::process::{self, Daemon};
use super::{Kind, Place, Server, install, places, probe};

/// The series that is known to work. Debian replaces its packages within a series.
const SERIES: &str = "10.11";

const PACKAGES: [&str; 8] = [
    "mariadb-server-core",
    "mariadb-client-core",
    "libmariadb3",
    "libaio1",
    "liburing2",
    "libsnappy1v5",
    "mariadb-common",
    "mysql-common",
];

/// What the empty system tables are made from, in order.
const SYSTEM_TABLES: [&str; 4] = [
    "mysql_system_tables.sql",
    "mysql_performance_tables.sql",
    "mysql_system_tables_data.sql",
    "mysql_sys_schema.sql",
];

/// For tests: nothing is forced to disk; the binary log says all a reader of changes may need.
const SETTINGS: [&str; 20] = [
    "bind-address=127.0.0.1",
    "skip-name-resolve",
    "max-connections=200",
    "character-set-server=utf8mb4",
    "collation-server=utf8mb4_bin",
    "default-time-zone=+00:00",
    "server-id=1",
    "log-bin=binlog",
    "binlog-format=ROW",
    "binlog-row-image=FULL",
    "binlog-row-metadata=FULL",
    "gtid-strict-mode=1",
    "log-slave-updates",
    "expire-logs-days=1",
    "sync-binlog=0",
    "innodb-flush-log-at-trx-commit=0",
    "innodb-flush-method=nosync",
    "innodb-buffer-pool-size=64M",
    "innodb-log-file-size=32M",
    "performance-schema=0",
];

#[derive(Debug)]
pub(super) struct MariaDb;

impl Server for MariaDb {
    fn version(&self) -> &'static str {
        SERIES
    }

    fn install(&self, root: &Path) -> Result<PathBuf> {
        let what = format!("MariaDB {SERIES} (Debian packages, unpacked, 60 MB)");
        let key = format!("{}-{SERIES}", Kind::Mysql.name());
        let folder = install::installed(root, &key, &what, |folder, log| {
            install::debian_packages(&PACKAGES, folder, log)?;
            let program = folder.join("usr/sbin/mariadbd");
            let mut version = process::bare(&program, folder, None);
            version.arg("--version").env("LD_LIBRARY_PATH", libraries(folder)?);
            let said = version.output().context("run mariadbd --version")?;
            let said = String::from_utf8_lossy(&said.stdout).into_owned();
            if !said.contains(&format!("Ver {SERIES}.")) {
                bail!("this system's packages are of another series than {SERIES}: {}", said.trim());
            }
            Ok(())
        })?;
        Ok(folder)
    }

    fn create(&self, software: &Path, place: &Place) -> Result<()> {
        let share = software.join("usr/share/mysql");
        let mut script = String::from("CREATE DATABASE mysql;\nUSE mysql;\n");
        writeln!(script, "SET @auth_root_socket=NULL;\nSET @skip_auth_anonymous='x';")?;
        for name in SYSTEM_TABLES {
            let file = share.join(name);
            let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
            script.push_str(&text);
            script.push('\n');
        }
        let file = place.folder.join("first.sql");
        places::write_whole(&file, &script, 0o644)?;
        places::folder(&place.data(), place.user)?;
        let log = place.log("bootstrap");
        let mut bootstrap = mariadbd(software, place, process::bare)?;
        bootstrap.args(["--bootstrap", "--skip-networking", "--skip-log-bin", "--log-warnings=0"]);
        // `run` leaves no input: the script comes through a shell's redirection, by name.
        let mut shell = process::bare(Path::new("sh"), &place.folder, place.user);
        shell.args(["-c", "exec \"$@\" < \"$0\""]).arg(&file).arg(bootstrap.get_program());
        shell.args(bootstrap.get_args()).env("LD_LIBRARY_PATH", libraries(software)?);
        process::run(&mut shell, "the first start of mariadbd", &log)?;
        fs::remove_file(&file).context("remove the script")
    }

    fn daemons(&self, software: &Path, place: &Place) -> Result<Vec<Daemon>> {
        let accounts = place.folder.join("accounts.sql");
        places::write_whole(&accounts, &accounts_script(&places::password(&place.folder)?), 0o600)?;
        std::os::unix::fs::chown(&accounts, place.user, place.user).context("hand over the accounts")?;
        let mut command = mariadbd(software, place, process::detached)?;
        command
            .arg(mark(place))
            .arg(format!("--port={}", place.port))
            .arg(format!("--socket={}", place.folder.join("socket").display()))
            .arg(format!("--init-file={}", accounts.display()));
        Ok(vec![Daemon { command, log: place.log("mariadbd") }])
    }

    fn marks(&self, place: &Place) -> Vec<String> {
        vec![mark(place)]
    }

    fn answers(&self, place: &Place) -> Result<()> {
        probe::mariadb(place.port)
    }

    fn url(&self, place: &Place) -> Result<String> {
        Ok(format!("mysql://root:{}@127.0.0.1:{}", places::password(&place.folder)?, place.port))
    }
}

fn mark(place: &Place) -> String {
    format!("--pid-file={}", place.folder.join("pid").display())
}

/// The accounts, set at each start; those that the first start makes without a password go. The server reads one statement a line.
fn accounts_script(password: &str) -> String {
    format!(
        "SET sql_log_bin=0;\n\
         ALTER USER root@localhost IDENTIFIED BY '{password}';\n\
         CREATE OR REPLACE USER root@'127.0.0.1' IDENTIFIED BY '{password}';\n\
         GRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION;\n\
         DELETE FROM mysql.global_priv WHERE User='root' AND Host NOT IN ('localhost','127.0.0.1');\n\
         FLUSH PRIVILEGES;\n\
         SET sql_log_bin=1;\n"
    )
}

fn mariadbd(
    software: &Path,
    place: &Place,
    make: fn(&Path, &Path, Option<u32>) -> std::process::Command,
) -> Result<std::process::Command> {
    let usr = software.join("usr");
    let mut command = make(&usr.join("sbin/mariadbd"), &place.folder, place.user);
    command
        .env("LD_LIBRARY_PATH", libraries(software)?)
        .arg("--no-defaults")
        .arg(format!("--basedir={}", usr.display()))
        .arg(format!("--datadir={}", place.data().display()))
        .arg(format!("--lc-messages-dir={}", usr.join("share/mysql").display()));
    for setting in SETTINGS {
        command.arg(format!("--{setting}"));
    }
    Ok(command)
}

/// The folder of the packages' libraries, which is named after the processor.
fn libraries(software: &Path) -> Result<PathBuf> {
    let folder = software.join("usr/lib");
    for entry in fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry.context("list the libraries")?.path();
        if path.to_string_lossy().ends_with("-linux-gnu") {
            return Ok(path);
        }
    }
    bail!("{} has no libraries", folder.display())
}
