//! The child's side: opens the data directory, serves the socket, and leaves when the parent does.
//!
//! Runs before any async runtime and owns the process it runs in; it must never be called inside the gateway's own
//! process, because a statement that runs there could not be stopped.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use pglite_oxide::PgliteServer;

use super::{FAILED_PREFIX, READY_LINE};
use crate::source::{SourceError, SourceErrorKind};

/// A dying predecessor needs up to [`STOP_GRACE`] to let go of the data directory; twice that, and some.
const LOCK_PATIENCE: Duration = Duration::from_secs(8);

/// How long an orderly stop may take before the process ends anyway; recovery repairs the rest at the next start.
const STOP_GRACE: Duration = Duration::from_secs(3);

/// Arguments of the subcommand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServeArgs {
    /// Directory of the cluster; created if missing.
    pub data_dir: PathBuf,
    /// Unix socket to listen on, at most 107 bytes.
    pub socket: PathBuf,
}

impl ServeArgs {
    /// Reads `--data-dir D --socket S`.
    ///
    /// # Errors
    /// `Unsupported` naming the argument that is missing or unknown.
    pub fn parse(arguments: impl IntoIterator<Item = std::ffi::OsString>) -> Result<Self, SourceError> {
        let usage = |message: String| {
            SourceError::new(SourceErrorKind::Unsupported, message)
                .with_hint("usage: embedded-postgres --data-dir DIRECTORY --socket PATH")
        };
        let (mut data_dir, mut socket) = (None, None);
        let mut arguments = arguments.into_iter();
        while let Some(name) = arguments.next() {
            let slot = match name.to_str() {
                Some("--data-dir") => &mut data_dir,
                Some("--socket") => &mut socket,
                _ => return Err(usage(format!("unknown argument \"{}\"", name.to_string_lossy()))),
            };
            let value = arguments
                .next()
                .ok_or_else(|| usage(format!("argument \"{}\" needs a value", name.to_string_lossy())))?;
            *slot = Some(PathBuf::from(value));
        }
        match (data_dir, socket) {
            (Some(data_dir), Some(socket)) => Ok(Self { data_dir, socket }),
            _ => Err(usage("embedded-postgres needs --data-dir and --socket".into())),
        }
    }
}

/// Serves until standard input ends, then stops the server and ends the **process** with code 0.
///
/// # Errors
/// `Conflict` if another process holds the data directory, `Unreachable` if the server cannot start. The reason has
/// then also gone to standard output, where the parent reads it.
pub fn serve_embedded(args: &ServeArgs) -> Result<(), SourceError> {
    match start(args) {
        Ok((server, lock)) => {
            announce(READY_LINE);
            wait_for_parent();
            stop(server, args);
            drop(lock);
            leave()
        }
        Err(error) => {
            announce(&format!("{FAILED_PREFIX}{error}"));
            Err(error)
        }
    }
}

fn start(args: &ServeArgs) -> Result<(PgliteServer, File), SourceError> {
    let lock = lock_data_dir(&args.data_dir)?;
    let server = PgliteServer::builder()
        .path(&args.data_dir)
        .unix(&args.socket)
        .postgres_config("timezone", "UTC")
        .postgres_config("standard_conforming_strings", "on")
        .postgres_config("extra_float_digits", "1")
        .start()
        .map_err(|error| {
            SourceError::new(
                SourceErrorKind::Unreachable,
                format!("cannot start the embedded database in \"{}\": {error:#}", args.data_dir.display()),
            )
            .with_hint(
                "check free space and write permission of the data directory and of the cache directory",
            )
        })?;
    Ok((server, lock))
}

/// Takes the data directory for this process alone. The kernel releases the lock however the holder ends.
fn lock_data_dir(data_dir: &Path) -> Result<File, SourceError> {
    let unusable = |error: std::io::Error| {
        SourceError::new(
            SourceErrorKind::Unreachable,
            format!("data directory \"{}\" cannot be used: {}", data_dir.display(), error.kind()),
        )
        .with_hint("choose a directory this user may write to")
        .with_cause(error)
    };
    std::fs::create_dir_all(data_dir).map_err(unusable)?;
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(data_dir.join("portolan.lock"))
        .map_err(unusable)?;
    let give_up = Instant::now() + LOCK_PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if Instant::now() < give_up => {
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _unreadable = file.read_to_string(&mut holder);
                return Err(SourceError::new(
                    SourceErrorKind::Conflict,
                    format!(
                        "data directory \"{}\" is in use by process {}",
                        data_dir.display(),
                        holder.trim()
                    ),
                )
                .with_hint("stop the other process, or choose another data directory"));
            }
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
    }
    file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).map_err(unusable)?;
    writeln!(file, "{}", std::process::id()).map_err(unusable)?;
    Ok(file)
}

fn announce(line: &str) {
    let mut out = std::io::stdout().lock();
    // A parent that is gone is noticed at standard input next.
    let _parent_gone = writeln!(out, "{}", line.replace('\n', " ")).and_then(|()| out.flush());
}

fn wait_for_parent() {
    let mut input = std::io::stdin().lock();
    let mut buffer = [0_u8; 64];
    loop {
        match input.read(&mut buffer) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// Joins the server's thread for at most [`STOP_GRACE`]: it never returns while a statement runs.
fn stop(server: PgliteServer, args: &ServeArgs) {
    let (done, stopped) = mpsc::channel();
    std::thread::spawn(move || {
        let _report = done.send(server.shutdown());
    });
    let _timed_out = stopped.recv_timeout(STOP_GRACE);
    let _absent = std::fs::remove_file(&args.socket);
    if let Some(directory) = args.socket.parent() {
        let _not_ours = std::fs::remove_dir(directory);
    }
}

#[expect(clippy::exit, reason = "the server's thread cannot be joined while a statement runs")]
fn leave() -> ! {
    std::process::exit(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_name_what_is_wrong() {
        let parse = |line: &str| ServeArgs::parse(line.split_whitespace().map(Into::into));
        let good = parse("--socket /s/x --data-dir /d").unwrap();
        assert_eq!(good, ServeArgs { data_dir: "/d".into(), socket: "/s/x".into() });
        assert!(parse("--data-dir /d").unwrap_err().message.contains("--socket"));
        assert!(parse("--data-dir").unwrap_err().message.contains("needs a value"));
        assert!(parse("--port 1").unwrap_err().message.contains("--port"));
    }

    #[test]
    fn a_locked_directory_names_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock_data_dir(dir.path()).unwrap();
        let text = std::fs::read_to_string(dir.path().join("portolan.lock")).unwrap();
        assert_eq!(text.trim(), std::process::id().to_string());
        drop(held);
        drop(lock_data_dir(dir.path()).unwrap());
    }
}
