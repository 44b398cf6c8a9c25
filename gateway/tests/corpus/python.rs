//! The demo through the drivers people use, in the pinned Python environment.
//!
//! `tests/python/clients.py` asks and compares by itself; `tests/python/door.py` carries the corpus through the two
//! Python clients of Flight SQL, one process for all sessions, started by the first that asks. A Python that cannot
//! be had is a failure here, never a skip.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use libtest_mimic::Failed;
use serde_json::{Value, json};

use super::demo::Demo;
use super::door::{Answer, Column, Fault};

/// A client of Flight SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Driver {
    /// `pyarrow.flight`, with the commands of Flight SQL made by hand.
    Pyarrow,
    /// `adbc-driver-flightsql`, which prepares every statement.
    Adbc,
}

impl Driver {
    /// The name in tests, in records and for the process.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pyarrow => "pyarrow",
            Self::Adbc => "adbc",
        }
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/python")
}

/// The Python of the pinned environment, which is made if it is missing.
fn python() -> Result<PathBuf, Failed> {
    let made = Command::new(folder().join("environment.sh")).stdin(Stdio::null()).output()?;
    if !made.status.success() {
        return Err(format!("no Python environment: {}", String::from_utf8_lossy(&made.stderr)).into());
    }
    Ok(PathBuf::from(String::from_utf8(made.stdout)?.trim()))
}

/// Runs the clients against the demo; what they print is the failure.
pub(crate) fn clients(demo: &Demo) -> Result<(), Failed> {
    let run = Command::new(python()?)
        .arg(folder().join("clients.py"))
        .args(["--pg", &demo.pg, "--flight", &demo.flight])
        .stdin(Stdio::null())
        .output()?;
    let said = format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    if run.status.success() { Ok(()) } else { Err(said.into()) }
}

/// The process behind all sessions through Python.
#[derive(Debug, Default)]
pub(crate) struct Process {
    running: Mutex<Option<Running>>,
    sessions: AtomicU32,
}

#[derive(Debug)]
struct Running {
    child: Child,
    asks: ChildStdin,
    says: BufReader<ChildStdout>,
}

impl Running {
    fn start(demo: &Demo) -> Self {
        let python = python().unwrap_or_else(|failed| panic!("{}", failed.message().unwrap_or_default()));
        let mut child = Command::new(python)
            .arg(folder().join("door.py"))
            .args(["--flight", &demo.flight])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (asks, says) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, asks, says }
    }

    /// One line there and one back.
    fn ask(&mut self, line: &Value) -> Value {
        writeln!(self.asks, "{line}").unwrap();
        let mut said = String::new();
        self.says.read_line(&mut said).unwrap();
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("the Python door said {said:?}: {error}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let running = self.running.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Running { mut child, asks, says }) = running {
            // It ends when nobody asks any more.
            drop((asks, says));
            let _ = child.wait();
        }
    }
}

/// A session of one client.
#[derive(Debug)]
pub(crate) struct Client {
    process: Arc<Process>,
    driver: Driver,
    number: u32,
}

impl Client {
    /// A session that logs in with its first statement. The process is started if it does not run yet.
    pub(crate) fn new(process: &Arc<Process>, demo: &Demo, driver: Driver) -> Self {
        let mut running = process.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.get_or_insert_with(|| Running::start(demo));
        drop(running);
        let number = process.sessions.fetch_add(1, Ordering::Relaxed);
        Self { process: Arc::clone(process), driver, number }
    }

    fn send(&self, line: &Value) -> Value {
        let mut running = self.process.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.as_mut().map_or(Value::Null, |running| running.ask(line))
    }

    /// Asks a statement and reads its whole answer.
    pub(crate) fn ask(&self, sql: &str) -> Result<Answer, Fault> {
        let said = self.send(&json!({"session": self.number, "client": self.driver.name(), "sql": sql}));
        if let Some(refused) = said.get("refused") {
            let part = |name: &str| refused[name].as_str().unwrap_or_default().to_owned();
            let (sqlstate, message) = (part("sqlstate"), part("message"));
            return Err(Fault { sqlstate, message, hint: part("hint"), position: part("position") });
        }
        let (Some(types), Some(rows)) = (said["types"].as_array(), said["rows"].as_array()) else {
            panic!("{} cannot ask {sql}: {said}", self.driver.name())
        };
        let values = |row: &Value| {
            let row = row.as_array().unwrap();
            row.iter().map(|value| value.as_str().map(str::to_owned)).collect()
        };
        Ok(Answer {
            is_rows: !types.is_empty(),
            types: types.iter().map(|name| Column::of_name(name.as_str().unwrap())).collect(),
            rows: rows.iter().map(values).collect(),
        })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.send(&json!({"session": self.number}));
        }
    }
}
