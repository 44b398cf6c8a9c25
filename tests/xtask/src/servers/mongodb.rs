//! A server that speaks MongoDB's protocol, from wheels: SecantusDB, whose storage is WiredTiger. It is a beta under
//! the GPL, so it must never be more than a separate process of the tests.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::process::{self, Daemon};
use super::{Kind, Place, Server, install, probe};

const VERSION: &str = "0.7.0b3";

/// All of it, so that no day brings another dependency.
const REQUIREMENTS: &str = "SecantusDB==0.7.0b3\npymongo==4.20.1\ndnspython==2.9.2\nfuture==1.0.0\nnumpy==2.4.6\n\
                            python-dateutil==4.0.0\ns2sphere==0.2.5\nshapely==2.2.0\ntzdata==2026.6\n";

#[derive(Debug)]
pub(super) struct MongoDb;

impl Server for MongoDb {
    fn version(&self) -> &'static str {
        VERSION
    }

    fn install(&self, root: &Path) -> Result<PathBuf> {
        let what = format!("SecantusDB {VERSION} (wheels, 120 MB)");
        // Wheels with machine code are made for one version of Python.
        let key = format!("{}-{VERSION}-python{}", Kind::Mongodb.name(), python_version()?);
        install::installed(root, &key, &what, |folder, log| install::wheels(REQUIREMENTS, folder, log))
    }

    fn create(&self, _software: &Path, _place: &Place) -> Result<()> {
        Ok(())
    }

    fn daemons(&self, software: &Path, place: &Place) -> Result<Vec<Daemon>> {
        let mut command = process::detached(Path::new("python3"), &place.folder, place.user);
        command
            .env("PYTHONPATH", software)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .args(["-c", "from secantus.cli import main; raise SystemExit(main())"])
            .args(["--host", "127.0.0.1", "--port", &place.port.to_string()])
            .arg(mark(place))
            // An index is built in one transaction, which has to fit: with less it never ends.
            .args(["--cache-size", "1G", "--log-level", "WARNING", "--enable-test-commands"]);
        Ok(vec![Daemon { command, log: place.log("secantusd") }])
    }

    fn marks(&self, place: &Place) -> Vec<String> {
        vec![mark(place)]
    }

    fn answers(&self, place: &Place) -> Result<()> {
        probe::mongodb(place.port)
    }

    fn url(&self, place: &Place) -> Result<String> {
        Ok(format!("mongodb://127.0.0.1:{}/?replicaSet=secantus&directConnection=true", place.port))
    }
}

fn mark(place: &Place) -> String {
    format!("--storage-path={}", place.data().display())
}

fn python_version() -> Result<String> {
    let print = "import sys; print('%d.%d' % sys.version_info[:2])";
    let said = Command::new("python3").args(["-c", print]).output().context("run python3")?;
    let version = String::from_utf8_lossy(&said.stdout).trim().to_owned();
    if version.is_empty() {
        bail!("python3 does not tell its version: {}", String::from_utf8_lossy(&said.stderr));
    }
    Ok(version)
}
