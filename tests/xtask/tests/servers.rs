//! `cargo x up` and `down` on a set of servers of their own: what is well is left alone, what is dead or frozen is
//! brought back with its data, and in the end nothing is left. One server stands for all: their life is one code.

#![expect(clippy::unwrap_used, reason = "every function of this file is a test or its reader")]

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder that others may walk through, as PostgreSQL under root has to.
struct Home(PathBuf);

impl Home {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("portolan-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn x(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_x"))
            .args(arguments)
            .args(["--only", "postgres", "--home"])
            .arg(&self.0)
            .env_remove("PORTOLAN_TEST_POSTGRES_URL")
            .output()
            .unwrap()
    }

    /// Standard error of a command that succeeds.
    fn said(&self, arguments: &[&str]) -> String {
        let output = self.x(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}");
        said
    }

    fn url(&self) -> String {
        fs::read_to_string(self.0.join("env")).unwrap()
    }

    /// The server's process.
    fn pid(&self) -> String {
        let text = fs::read_to_string(self.0.join("postgres/data/postmaster.pid")).unwrap();
        text.lines().next().unwrap().to_owned()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.x(&["down", "--wipe"]);
        drop(fs::remove_dir_all(&self.0));
    }
}

fn kill(signal: &str, pid: &str) {
    assert!(Command::new("sh").args(["-c", &format!("kill -s {signal} {pid}")]).status().unwrap().success());
}

fn lives(pid: &str) -> bool {
    fs::read(Path::new("/proc").join(pid).join("cmdline")).is_ok_and(|arguments| !arguments.is_empty())
}

#[test]
fn a_server_is_kept_revived_and_stopped() {
    let home = Home::new("life");
    assert!(home.said(&["up"]).contains("ready after"));
    let url = home.url();
    assert!(url.starts_with("PORTOLAN_TEST_POSTGRES_URL=postgres://portolan:"), "{url}");
    let first = home.pid();

    assert!(home.said(&["up"]).contains("was up"));
    assert_eq!(home.pid(), first, "a server that is well is left alone");

    kill("KILL", &first);
    assert!(home.said(&["up"]).contains("ready after"), "a dead one is started");
    let second = home.pid();
    assert_ne!(second, first);
    assert_eq!(home.url(), url, "with the same port and password");

    kill("STOP", &second);
    assert!(home.said(&["up"]).contains("does not answer"), "a frozen one is restarted");
    assert!(!lives(&second));

    let third = home.pid();
    assert!(home.said(&["down"]).contains("stopped"));
    assert!(!lives(&third));
    assert_eq!(home.url(), "");
    assert!(home.said(&["down"]).contains("was not running"));
}

#[test]
fn a_taken_port_is_told_with_the_option_that_helps() {
    let home = Home::new("port");
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = home.x(&["up", "--port-base", &port]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(said.contains(&format!("port {port} is taken")) && said.contains("--port-base"), "{said}");
}

#[test]
fn a_server_that_is_not_one_is_a_usage_error() {
    let output = Command::new(env!("CARGO_BIN_EXE_x")).args(["up", "--only", "oracle"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}
