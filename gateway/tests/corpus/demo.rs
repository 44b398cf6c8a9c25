//! The one demo all records are asked of: a month of a dirty port, from a fixed seed up to a fixed end.
//!
//! Started as a user starts it, as a process with free ports; it must never outlive the test.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// Workers beside it; a session uses as many of them as its mode says, most use none.
const WORKERS: usize = 3;

/// A worker over a lake that need not be there yet, and its URL.
fn worker(lake: &Path) -> (Child, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_portolan"))
        .args(["worker", "--json", "--listen", "127.0.0.1:0", "--lake"])
        .arg(lake)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
    (child, format!("http://{}", ready["listen"].as_str().unwrap_or_default()))
}

/// A running demo and its addresses.
#[derive(Debug)]
pub(crate) struct Demo {
    child: Child,
    workers: Vec<Child>,
    _data: TempDir,
    pub(crate) pg: String,
    pub(crate) flight: String,
}

impl Demo {
    /// Starts the demo and waits for its line of JSON.
    pub(crate) fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let (workers, urls): (Vec<Child>, Vec<String>) =
            (0..WORKERS).map(|_| worker(&data.path().join("lake"))).unzip();
        let mut child = Command::new(env!("CARGO_BIN_EXE_portolan"))
            .args(["demo", "--months", "1", "--until", "2026-11-01T00:00:00Z", "--seed", "7", "--dirt", "1"])
            .args(["--pg-port", "0", "--flight-port", "0", "--http-port", "0", "--json", "--data-dir"])
            .arg(data.path())
            .args(urls.iter().flat_map(|url| ["--worker", url]))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let mut errors = child.stderr.take().unwrap();
        if line.is_empty() {
            let mut said = String::new();
            let _ = errors.read_to_string(&mut said);
            panic!("the demo ended early: {said}");
        }
        // What it says later is not needed, but must be read, or it would wait for a reader.
        std::thread::spawn(move || std::io::copy(&mut errors, &mut std::io::sink()));
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
        let address = |key: &str| ready[key].as_str().unwrap_or_default().to_owned();
        Self { pg: address("pg"), flight: address("flight"), child, workers, _data: data }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
        for worker in &mut self.workers {
            let _ = worker.kill();
            let _ = worker.wait();
        }
    }
}
