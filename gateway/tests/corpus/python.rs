//! The demo through the drivers people use, in the pinned Python environment.
//!
//! `tests/python/clients.py` asks and compares; a Python that cannot be had is a failure here, never a skip.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use libtest_mimic::Failed;

use super::demo::Demo;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/python")
}

/// Runs the clients against the demo; what they print is the failure.
pub(crate) fn clients(demo: &Demo) -> Result<(), Failed> {
    let made = Command::new(folder().join("environment.sh")).stdin(Stdio::null()).output()?;
    if !made.status.success() {
        return Err(format!("no Python environment: {}", String::from_utf8_lossy(&made.stderr)).into());
    }
    let python = String::from_utf8(made.stdout)?;
    let run = Command::new(python.trim())
        .arg(folder().join("clients.py"))
        .args(["--pg", &demo.pg, "--flight", &demo.flight])
        .stdin(Stdio::null())
        .output()?;
    let said = format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    if run.status.success() { Ok(()) } else { Err(said.into()) }
}
