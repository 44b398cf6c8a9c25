//! Real servers for the tests, started natively: `cargo x up` and `cargo x down`.
//!
//! They listen on the loopback only and outlive this program. Software and data lie in the cache folder; nothing is
//! installed into the system. A server that `PORTOLAN_TEST_<NAME>_URL` names belongs to somebody else: it must never
//! be started, stopped or written into the file of variables.

mod hdfs;
mod install;
mod kafka;
mod lifecycle;
mod mariadb;
mod mongodb;
mod places;
mod postgres;
mod probe;
mod process;

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use places::Places;
use process::Daemon;

/// Which servers, and where.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Choice {
    /// Only these, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "SERVERS")]
    only: Vec<Kind>,
    /// Folder of data, logs, ports and the file of variables; by default `portolan/servers` in the cache folder
    #[arg(long, value_name = "FOLDER")]
    home: Option<PathBuf>,
}

impl Choice {
    fn kinds(&self) -> Vec<Kind> {
        let chosen = |kind: &&Kind| self.only.is_empty() || self.only.contains(kind);
        Kind::value_variants().iter().filter(chosen).copied().collect()
    }
}

/// The servers, each named as its variable is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Postgres,
    #[value(alias = "mariadb")]
    Mysql,
    #[value(alias = "mongo")]
    Mongodb,
    Kafka,
    Hdfs,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Mysql => "mysql",
            Self::Mongodb => "mongodb",
            Self::Kafka => "kafka",
            Self::Hdfs => "hdfs",
        }
    }

    fn variable(self) -> String {
        format!("PORTOLAN_TEST_{}_URL", self.name().to_uppercase())
    }

    /// Whether somebody else's server is used.
    fn is_given(self) -> bool {
        std::env::var_os(self.variable()).is_some_and(|url| !url.is_empty())
    }

    fn refuses_root(self) -> bool {
        matches!(self, Self::Postgres | Self::Mysql)
    }

    /// Its first port, counted from the base. Kafka takes two, HDFS eight.
    fn offset(self) -> u16 {
        match self {
            Self::Postgres => 0,
            Self::Mysql => 1,
            Self::Mongodb => 2,
            Self::Kafka => 3,
            Self::Hdfs => 5,
        }
    }

    fn server(self) -> &'static dyn Server {
        match self {
            Self::Postgres => &postgres::Postgres,
            Self::Mysql => &mariadb::MariaDb,
            Self::Mongodb => &mongodb::MongoDb,
            Self::Kafka => &kafka::Kafka,
            Self::Hdfs => &hdfs::Hdfs,
        }
    }
}

/// Where one server is, and whom it runs as.
#[derive(Debug)]
struct Place {
    folder: PathBuf,
    port: u16,
    user: Option<u32>,
}

impl Place {
    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.join("log").join(format!("{name}.log"))
    }
}

/// What is particular to a kind of server. Nothing here waits or looks for what is there already.
trait Server: Sync {
    /// Data made by another version is not used.
    fn version(&self) -> &'static str;

    /// Installs it under `root` if it is not there; returns where its programs are.
    fn install(&self, root: &Path) -> Result<PathBuf>;

    /// Fills the empty data folder.
    fn create(&self, software: &Path, place: &Place) -> Result<()>;

    /// Writes the configuration; the processes, one for each mark.
    fn daemons(&self, software: &Path, place: &Place) -> Result<Vec<Daemon>>;

    /// One argument for each process that nothing else on this machine has.
    fn marks(&self, place: &Place) -> Vec<String>;

    /// Whether it serves now; the error says why not.
    fn answers(&self, place: &Place) -> Result<()>;

    /// The signal that ends it in good order.
    fn end(&self) -> &'static str {
        "TERM"
    }

    /// As `PORTOLAN_TEST_<NAME>_URL` wants it.
    fn url(&self, place: &Place) -> Result<String>;
}

/// `cargo x up`. Returns what had to be started.
///
/// # Errors
/// One sentence for each server that is not up; the others are.
pub(crate) fn up(choice: &Choice, port_base: Option<u16>) -> Result<Vec<Kind>> {
    let places = Places::new(choice.home.as_deref())?;
    let _one_at_a_time = exclusive(&places)?;
    let mut any = false;
    for kind in Kind::value_variants() {
        any |= lifecycle::is_running(*kind, &last_place(&places, *kind))?;
    }
    let base = places.port_base(port_base, any)?;
    let outcomes: Vec<(Kind, Result<bool>)> = std::thread::scope(|scope| {
        let places = &places;
        let start = |kind| (kind, scope.spawn(move || up_one(kind, &places_of(places, kind, base))));
        let threads: Vec<_> = choice.kinds().into_iter().map(start).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Result<bool>>| {
            thread.join().unwrap_or_else(|_| bail!("its thread panicked"))
        };
        threads.into_iter().map(|(kind, thread)| (kind, join(thread))).collect()
    });
    write_variables(&places)?;
    let mut started = Vec::new();
    let mut failures = Vec::new();
    for (kind, outcome) in outcomes {
        match outcome {
            Ok(true) => started.push(kind),
            Ok(false) => {}
            Err(error) => failures.push(format!("{}: {error:#}", kind.name())),
        }
    }
    if !failures.is_empty() {
        bail!("not every server is up\n{}", failures.join("\n"));
    }
    say(&format!("their URLs are in {}", places.variables().display()))?;
    Ok(started)
}

/// Where a server is, and where its software is to be.
fn places_of(places: &Places, kind: Kind, base: u16) -> (Place, PathBuf) {
    let place = Place {
        folder: places.server(kind),
        port: base.saturating_add(kind.offset()),
        user: places.drops_to(kind),
    };
    (place, places.software(kind))
}

/// Where a server was at its last start.
fn last_place(places: &Places, kind: Kind) -> Place {
    let (mut place, _) = places_of(places, kind, 0);
    place.port = lifecycle::last_port(&place).unwrap_or_default();
    place
}

fn up_one(kind: Kind, (place, software): &(Place, PathBuf)) -> Result<bool> {
    let name = kind.name();
    if kind.is_given() {
        say(&format!("{name}: the one that {} names", kind.variable()))?;
        return Ok(false);
    }
    let begin = Instant::now();
    let started = lifecycle::up(kind, place, software)?;
    let how = match started {
        true => format!("ready after {:.1} s", begin.elapsed().as_secs_f64()),
        false => "was up".to_owned(),
    };
    let log = place.folder.join("log");
    say(&format!("{name}: {how}, 127.0.0.1:{}, logs in {}", place.port, log.display()))?;
    Ok(started)
}

/// `cargo x down`. `wipe` clears data and logs as well.
///
/// # Errors
/// One sentence for each server that could not be stopped.
pub(crate) fn down(choice: &Choice, wipe: bool) -> Result<()> {
    let places = Places::new(choice.home.as_deref())?;
    let _one_at_a_time = exclusive(&places)?;
    let mut failures = Vec::new();
    std::thread::scope(|scope| {
        let places = &places;
        let stop = |kind| (kind, scope.spawn(move || lifecycle::down(kind, &last_place(places, kind), wipe)));
        let threads: Vec<_> = choice.kinds().into_iter().map(stop).collect();
        for (kind, thread) in threads {
            let outcome = match thread.join() {
                Ok(Ok(true)) => say(&format!("{}: stopped", kind.name())),
                Ok(Ok(false)) => say(&format!("{}: was not running", kind.name())),
                Ok(Err(error)) => Err(error),
                Err(_) => Err(anyhow::anyhow!("its thread panicked")),
            };
            if let Err(error) = outcome {
                failures.push(format!("{}: {error:#}", kind.name()));
            }
        }
    });
    write_variables(&places)?;
    if !failures.is_empty() {
        bail!("not every server is down\n{}", failures.join("\n"));
    }
    Ok(())
}

/// Lets one `up` or `down` in at a time.
fn exclusive(places: &Places) -> Result<File> {
    let lock = places::lock_file(&places.home().join("lock"))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            say("waiting for another `cargo x`, which starts or stops servers")?;
            lock.lock().context("wait for another `cargo x`")?;
        }
        Err(TryLockError::Error(error)) => return Err(error).context("lock the servers"),
    }
    Ok(lock)
}

/// Writes the URLs of the servers that run.
fn write_variables(places: &Places) -> Result<()> {
    let mut text = String::new();
    for kind in Kind::value_variants() {
        let place = last_place(places, *kind);
        if !kind.is_given() && lifecycle::is_running(*kind, &place)? {
            text.push_str(&format!("{}={}\n", kind.variable(), kind.server().url(&place)?));
        }
    }
    places::write_whole(&places.variables(), &text, 0o600)
}

/// The folder of a set of servers.
///
/// # Errors
/// The file system's.
pub(crate) fn home(choice: &Choice) -> Result<PathBuf> {
    Ok(Places::new(choice.home.as_deref())?.home().to_path_buf())
}

/// Each server's URL by its name, ours or the one that a variable names.
///
/// # Errors
/// The file of variables cannot be read.
pub(crate) fn urls(choice: &Choice) -> Result<Vec<(&'static str, String)>> {
    let file = Places::new(choice.home.as_deref())?.variables();
    let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let mut urls = Vec::new();
    for kind in Kind::value_variants() {
        let variable = kind.variable();
        let given = std::env::var_os(&variable).filter(|_| kind.is_given());
        let ours = || text.lines().find_map(|line| line.strip_prefix(&variable)?.strip_prefix('='));
        if let Some(url) =
            given.map(|url| url.to_string_lossy().into_owned()).or_else(|| ours().map(str::to_owned))
        {
            urls.push((kind.name(), url));
        }
    }
    Ok(urls)
}

/// Writes a file that only its owner reads.
///
/// # Errors
/// The file system's.
pub(crate) fn write_secret(path: &Path, text: &str) -> Result<()> {
    places::write_whole(path, text, 0o600)
}

/// Makes a database in PostgreSQL if it is not there.
///
/// # Errors
/// The server's, told by its client.
pub(crate) fn make_database(name: &str, url: &str) -> Result<()> {
    postgres::make_database(&Places::new(None)?.software(Kind::Postgres), name, url)
}

/// Servers in use by a run of tests.
#[derive(Debug)]
pub(crate) struct Use {
    places: Places,
    /// Locked for reading as long as the tests run.
    users: File,
    started: Vec<Kind>,
}

impl Use {
    /// Brings all servers up.
    ///
    /// # Errors
    /// As [`up`].
    pub(crate) fn begin() -> Result<Self> {
        let places = Places::new(None)?;
        let users = places::lock_file(&places.home().join("users"))?;
        users.lock_shared().context("lock the servers")?;
        let started = up(&Choice::default(), None)?;
        Ok(Self { places, users, started })
    }

    /// The folder of this set of servers, for data that belongs with them.
    pub(crate) fn home(&self) -> &Path {
        self.places.home()
    }

    /// What the tests are told: the URLs of our servers. Those of others they have already.
    ///
    /// # Errors
    /// The file of variables cannot be read.
    pub(crate) fn variables(&self) -> Result<Vec<(String, String)>> {
        let file = self.places.variables();
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let pair = |line: &str| line.split_once('=').map(|(name, url)| (name.to_owned(), url.to_owned()));
        Ok(text.lines().filter_map(pair).collect())
    }

    /// Stops what this use has started, unless somebody else uses it by now.
    ///
    /// # Errors
    /// As [`down`].
    pub(crate) fn end(self) -> Result<()> {
        if self.started.is_empty() {
            return Ok(());
        }
        self.users.unlock().context("unlock the servers")?;
        match self.users.try_lock() {
            Ok(()) => down(&Choice { only: self.started, home: None }, false),
            Err(TryLockError::WouldBlock) => say("another run of tests uses the servers: they stay up"),
            Err(TryLockError::Error(error)) => Err(error).context("lock the servers"),
        }
    }
}

/// A Java virtual machine for a small server, `memory` MiB of heap.
fn java(place: &Place, make: fn(&Path, &Path, Option<u32>) -> Command, memory: u32) -> Command {
    let program = std::env::var_os("JAVA_HOME")
        .map(|home| PathBuf::from(home).join("bin/java"))
        .filter(|java| java.is_file())
        .unwrap_or_else(|| PathBuf::from("java"));
    let mut command = make(&program, &place.folder, place.user);
    command
        .arg(format!("-Xmx{memory}m"))
        .args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xss512k", "-XX:-UsePerfData"])
        .arg("-Djava.net.preferIPv4Stack=true")
        .arg(format!("-Djava.io.tmpdir={}", place.folder.join("tmp").display()));
    command
}

/// One line for whoever waits.
fn say(line: &str) -> Result<()> {
    writeln!(std::io::stderr(), "{line}").context("write to stderr")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_servers_do_not_overlap() {
        let mut taken: Vec<u16> = Vec::new();
        for kind in Kind::value_variants() {
            let ports = match kind {
                Kind::Kafka => 2,
                Kind::Hdfs => 8,
                _ => 1,
            };
            taken.extend((0..ports).map(|port| kind.offset() + port));
        }
        let all: Vec<u16> = (0..places::PORTS).collect();
        assert_eq!(taken, all);
    }

    #[test]
    fn nothing_chosen_is_everything() {
        assert_eq!(Choice::default().kinds(), Kind::value_variants());
        let two = Choice { only: vec![Kind::Kafka, Kind::Mysql], home: None };
        assert_eq!(two.kinds(), [Kind::Mysql, Kind::Kafka]);
    }
}
