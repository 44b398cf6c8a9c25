//! Processes that outlive this program: start, find again, stop for sure. Linux only, because it reads `/proc`.
//!
//! There are no pid files: a number in a file may belong to somebody else by now. Every daemon carries one argument
//! that no other process has, its mark, and is found by it. It must never signal a process that lacks the mark.

use std::fs::{self, File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How often a condition is looked at.
pub(super) const POLL: Duration = Duration::from_millis(50);

/// How long a daemon may take to stop by itself, and to vanish after it was killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// A log that has grown over this is set aside at the next start, in bytes.
const LOG_MOST: u64 = 16 << 20;

/// One process of a server, not yet started.
#[derive(Debug)]
pub(super) struct Daemon {
    /// Has the mark among its arguments.
    pub(super) command: Command,
    /// Both of its outputs are appended here.
    pub(super) log: PathBuf,
}

/// A command in a folder of its own, with nothing of the caller's environment but `PATH`, under another user where
/// one is named.
pub(super) fn bare(program: &Path, folder: &Path, user: Option<u32>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder);
    strip(&mut command, folder, user);
    command
}

fn strip(command: &mut Command, folder: &Path, user: Option<u32>) {
    command.env_clear().env("LC_ALL", "C.UTF-8").env("TZ", "UTC").env("HOME", folder);
    for name in ["PATH", "JAVA_HOME"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
}

/// A command in a session of its own: neither the end of `cargo x` nor a closed terminal reaches it.
pub(super) fn detached(program: &Path, folder: &Path, user: Option<u32>) -> Command {
    let mut command = bare(Path::new("setsid"), folder, user);
    command.arg(program);
    command
}

/// Starts a daemon.
///
/// # Errors
/// Its log or the program cannot be opened.
pub(super) fn spawn(daemon: &mut Daemon) -> Result<Child> {
    if fs::metadata(&daemon.log).is_ok_and(|found| found.len() > LOG_MOST) {
        fs::rename(&daemon.log, daemon.log.with_extension("log.old")).context("set an old log aside")?;
    }
    let log = append(&daemon.log)?;
    daemon
        .command
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("share a log")?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("start {:?}", daemon.command.get_program()))
}

/// Runs a step of an installation or a first start to its end; its output goes to `log`.
///
/// # Errors
/// It could not be started, or failed; the last lines of its output are told.
pub(super) fn run(command: &mut Command, what: &str, log: &Path) -> Result<()> {
    let output = append(log)?;
    let status = command
        .stdin(Stdio::null())
        .stdout(output.try_clone().context("share a log")?)
        .stderr(output)
        .status()
        .with_context(|| format!("{what}: run {}", command.get_program().display()))?;
    if !status.success() {
        bail!("{what} failed: {status}; the end of {}:\n{}", log.display(), tail(log));
    }
    Ok(())
}

fn append(log: &Path) -> Result<File> {
    OpenOptions::new().create(true).append(true).open(log).with_context(|| format!("open {}", log.display()))
}

/// The last lines of a log, for an error's text.
pub(super) fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}

/// Processes that carry the mark. A zombie has no arguments, so it is not among them.
///
/// # Errors
/// `/proc` cannot be listed.
pub(super) fn running(mark: &str) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("read /proc: the test servers need Linux")? {
        let Ok(entry) = entry else { continue };
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // Gone in the meantime, or nobody's business.
        let Ok(arguments) = fs::read(entry.path().join("cmdline")) else { continue };
        if arguments.split(|byte| *byte == 0).any(|argument| argument == mark.as_bytes()) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// Stops every process with one of the marks, with its whole group: `signal` first, force after some seconds. A
/// process that was stopped (`SIGSTOP`) is continued. Returns how many there were.
///
/// # Errors
/// Some are still there.
pub(super) fn stop(marks: &[String], signal: &str) -> Result<usize> {
    let before = all_running(marks)?;
    for (pid, step) in before.iter().flat_map(|pid| [(pid, signal), (pid, "CONT")]) {
        send(step, &pid.to_string());
    }
    if gone(marks, PATIENCE)? {
        return Ok(before.len());
    }
    for pid in all_running(marks)? {
        send("KILL", &format!("-{pid}"));
        send("KILL", &pid.to_string());
    }
    if gone(marks, PATIENCE)? {
        return Ok(before.len());
    }
    bail!("processes {:?} do not end, not even by force", all_running(marks)?)
}

fn all_running(marks: &[String]) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for mark in marks {
        found.extend(running(mark)?);
    }
    Ok(found)
}

fn gone(marks: &[String], patience: Duration) -> Result<bool> {
    let end = Instant::now() + patience;
    loop {
        if all_running(marks)?.is_empty() {
            return Ok(true);
        }
        if Instant::now() > end {
            return Ok(false);
        }
        std::thread::sleep(POLL);
    }
}

/// The shell's own `kill`: there is no other without unsafe code that is on every Linux. Its complaint about a process
/// that has just ended is of no interest; who asks for the end looks for it.
fn send(signal: &str, target: &str) {
    let _ended = Command::new("sh")
        .args(["-c", "kill -s \"$0\" -- \"$1\"", signal, target])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(mark: &str, log: &Path, script: &str) -> Child {
        let mut command = detached(Path::new("sh"), &std::env::temp_dir(), None);
        command.args(["-c", script, mark]);
        spawn(&mut Daemon { command, log: log.to_owned() }).unwrap()
    }

    fn found_within_seconds(mark: &str) -> Vec<u32> {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let found = running(mark).unwrap();
            if !found.is_empty() || Instant::now() > end {
                return found;
            }
            std::thread::sleep(POLL);
        }
    }

    #[test]
    fn a_daemon_is_found_by_its_mark_and_stopped_with_its_children() {
        let mark = format!("--portolan-process-test={}", std::process::id());
        let log = std::env::temp_dir().join(format!("portolan-process-{}.log", std::process::id()));
        assert!(running(&mark).unwrap().is_empty());
        // One that would not end by itself, whose child would live on.
        let mut child =
            sleeper(&mark, &log, "trap '' TERM; sleep 600 & echo started; while :; do wait; done");
        assert_eq!(found_within_seconds(&mark), [child.id()]);
        let end = Instant::now() + Duration::from_secs(10);
        while tail(&log) != "started" && Instant::now() < end {
            std::thread::sleep(POLL);
        }
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap();
        assert_eq!(stop(std::slice::from_ref(&mark), "TERM").unwrap(), 1);
        child.wait().unwrap();
        assert!(running(&mark).unwrap().is_empty());
        // It was killed with its group; who was killed is not gone at once.
        let end = Instant::now() + Duration::from_secs(10);
        for grandchild in children.split_whitespace() {
            let lives = || fs::read(format!("/proc/{grandchild}/cmdline")).is_ok_and(|read| !read.is_empty());
            while lives() && Instant::now() < end {
                std::thread::sleep(POLL);
            }
            assert!(!lives(), "{grandchild} lives on");
        }
        assert_eq!(stop(&[mark], "TERM").unwrap(), 0, "nothing left to stop");
        fs::remove_file(log).unwrap();
    }

    #[test]
    fn a_failed_step_tells_the_end_of_its_output() {
        let log = std::env::temp_dir().join(format!("portolan-step-{}.log", std::process::id()));
        let mut command = bare(Path::new("sh"), &std::env::temp_dir(), None);
        command.args(["-c", "echo no such package; exit 3"]);
        let told = run(&mut command, "installing", &log).unwrap_err().to_string();
        assert!(told.contains("installing failed") && told.contains("no such package"), "{told}");
        fs::remove_file(log).unwrap();
    }
}
