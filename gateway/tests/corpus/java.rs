//! The demo through pgjdbc's metadata calls, prepared statements and fetching in parts.
//!
//! `tests/java/Metadata.java` asks and compares; a driver or a Java that cannot be had is a failure here, never a skip.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use libtest_mimic::Failed;

use super::demo::Demo;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/java")
}

/// Runs the JDBC client against the demo; what it prints is the failure.
pub(crate) fn metadata(demo: &Demo) -> Result<(), Failed> {
    let made = Command::new(folder().join("environment.sh")).stdin(Stdio::null()).output()?;
    if !made.status.success() {
        return Err(format!("no JDBC driver: {}", String::from_utf8_lossy(&made.stderr)).into());
    }
    let driver = String::from_utf8(made.stdout)?;
    let run = Command::new("java")
        .args(["-cp", driver.trim()])
        .arg(folder().join("Metadata.java"))
        .arg(&demo.pg)
        .stdin(Stdio::null())
        .output()?;
    let said = format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    if run.status.success() { Ok(()) } else { Err(said.into()) }
}
