//! One server from whatever state it is in to ready, or to gone. It must never touch a server that is well, and never
//! take half-made data for whole: data is named only after it was made to the end.

use std::fs;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::process::{self, POLL};
use super::{Kind, Place, places, say};

/// How long a running server may take to answer before it counts as frozen.
const WELL: Duration = Duration::from_secs(5);

/// How long a start may take. On a busy machine HDFS needs 20 s.
const READY: Duration = Duration::from_secs(120);

/// Whether any process of the server is there.
///
/// # Errors
/// `/proc` cannot be read.
pub(super) fn is_running(kind: Kind, place: &Place) -> Result<bool> {
    for mark in kind.server().marks(place) {
        if !process::running(&mark)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The port of the last start.
pub(super) fn last_port(place: &Place) -> Option<u16> {
    fs::read_to_string(place.folder.join("port")).ok()?.trim().parse().ok()
}

/// Brings a server up; tells whether there was anything to do.
///
/// # Errors
/// It cannot be installed, or does not become ready; the end of its log is told.
pub(super) fn up(kind: Kind, place: &Place, software: &Path) -> Result<bool> {
    let server = kind.server();
    let marks = server.marks(place);
    let mut alive = Vec::new();
    for mark in &marks {
        alive.push(!process::running(mark)?.is_empty());
    }
    let same_port = last_port(place) == Some(place.port);
    if alive.iter().all(|alive| *alive) && same_port && answers_within(kind, place, WELL, &mut []).is_ok() {
        return Ok(false);
    }
    if alive.contains(&true) && (!same_port || !alive.contains(&false)) {
        let why = if same_port { "does not answer" } else { "is to have another port" };
        say(&format!("{} {why}: restarting it", kind.name()))?;
        process::stop(&marks, server.end())?;
        alive.fill(false);
    }
    let software = server.install(software)?;
    for folder in [place.folder.clone(), place.folder.join("tmp")] {
        places::folder(&folder, place.user)?;
    }
    places::folder(&place.folder.join("log"), None)?;
    if !alive.contains(&true) && !places::is_free(place.port) {
        bail!("port {} is taken by another program; choose others with --port-base", place.port);
    }
    create(kind, place, &software)?;
    places::write_whole(&place.folder.join("port"), &format!("{}\n", place.port), 0o644)?;
    let mut children = Vec::new();
    for (mut daemon, alive) in server.daemons(&software, place)?.into_iter().zip(alive) {
        if !alive {
            children.push((process::spawn(&mut daemon)?, daemon.log));
        }
    }
    let mut watched: Vec<&mut Child> = children.iter_mut().map(|(child, _)| child).collect();
    if let Err(error) = answers_within(kind, place, READY, &mut watched) {
        let logs: Vec<String> = children
            .iter()
            .map(|(_, log)| format!("the end of {}:\n{}", log.display(), process::tail(log)))
            .collect();
        process::stop(&marks, server.end())?;
        bail!(
            "it does not become ready: {error:#}; if its data is damaged, `cargo x down --wipe --only {}` clears \
             it\n{}",
            kind.name(),
            logs.join("\n")
        );
    }
    Ok(true)
}

/// Makes the empty data of a first start, or of the first one of another version.
fn create(kind: Kind, place: &Place, software: &Path) -> Result<()> {
    let server = kind.server();
    let made_by = place.folder.join("made-by");
    let known = fs::read_to_string(&made_by).unwrap_or_default();
    if known == server.version() {
        return Ok(());
    }
    if !known.is_empty() {
        say(&format!("{}: data of version {known} makes room for {}", kind.name(), server.version()))?;
        fs::remove_file(&made_by).context("forget the old data")?;
    }
    clear(&place.data())?;
    places::folder(&place.data(), place.user)?;
    server.create(software, place)?;
    places::write_whole(&made_by, server.version(), 0o644)
}

fn clear(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("clear {}", folder.display()))?;
    }
    Ok(())
}

/// Waits until the server answers. The end of one of `children` ends the wait.
fn answers_within(kind: Kind, place: &Place, patience: Duration, children: &mut [&mut Child]) -> Result<()> {
    let end = Instant::now() + patience;
    loop {
        let Err(error) = kind.server().answers(place) else { return Ok(()) };
        for child in &mut *children {
            if let Some(status) = child.try_wait().context("look after a process")? {
                bail!("a process of it ended: {status}");
            }
        }
        if Instant::now() > end {
            return Err(error);
        }
        std::thread::sleep(POLL);
    }
}

/// Stops a server for sure; tells whether it ran. `wipe` clears its data and logs as well.
///
/// # Errors
/// A process outlives even `KILL`, or the data cannot be cleared.
pub(super) fn down(kind: Kind, place: &Place, wipe: bool) -> Result<bool> {
    let server = kind.server();
    let stopped = process::stop(&server.marks(place), server.end())?;
    if wipe {
        clear(&place.folder)?;
    }
    Ok(stopped > 0)
}
