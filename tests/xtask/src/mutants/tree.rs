//! The mutated copy of the workspace, and what is built of it.
//!
//! The copy is built into the workspace's own target folder, so that no dependency is built again; its crates have
//! another version, so that cargo never takes one of them for one of ours. Files that did not change are not written.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::switch::{Mutant, switched};
use crate::unobserved;

/// The version of our crates.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A copy of the workspace in a folder.
#[derive(Debug)]
pub(super) struct Tree {
    root: PathBuf,
    target: PathBuf,
}

impl Tree {
    /// Copies what git knows of the workspace, as it lies in the folder now, with all mutants in it.
    ///
    /// # Errors
    /// A mutant has no place, or files cannot be read or written.
    pub(super) fn make(workspace: &Path, target: PathBuf, mutants: &[Mutant]) -> Result<Self> {
        let root = target.join("mutants");
        let listed = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(workspace)
            .output()
            .context("run git ls-files")?;
        if !listed.status.success() {
            bail!("git ls-files failed: {}", String::from_utf8_lossy(&listed.stderr).trim_end());
        }
        let listed = String::from_utf8(listed.stdout).context("read the names of files")?;
        let (mut kept, mut wrong) = (BTreeSet::new(), Vec::new());
        for name in listed.split('\0').filter(|name| !name.is_empty()) {
            let (from, to) = (workspace.join(name), root.join(name));
            // Removed, and git does not know it yet.
            if !from.is_file() {
                continue;
            }
            kept.insert(to.clone());
            let here: Vec<&Mutant> = mutants.iter().filter(|mutant| mutant.file == name).collect();
            let text = || fs::read_to_string(&from).with_context(|| format!("read {}", from.display()));
            match name {
                "Cargo.toml" => write_if_new(&to, renamed_manifest(&text()?).as_bytes())?,
                "Cargo.lock" => write_if_new(&to, renamed_lock(&text()?).as_bytes())?,
                _ if here.is_empty() => copy_if_new(&from, &to)?,
                _ => match switched(&text()?, &here) {
                    Ok(text) => write_if_new(&to, text.as_bytes())?,
                    Err(offences) => wrong.extend(offences),
                },
            }
        }
        wrong.extend(mutants.iter().filter_map(|mutant| {
            let there = kept.contains(&root.join(mutant.file));
            (!there).then(|| format!("mutant \"{}\": there is no file {}", mutant.id, mutant.file))
        }));
        if !wrong.is_empty() {
            bail!("{}", wrong.join("\n"));
        }
        remove_others(&root, &kept)?;
        Ok(Self { root, target })
    }

    /// The folder that tests of the catalog run in.
    pub(super) fn catalog(&self) -> PathBuf {
        self.root.join("catalog")
    }

    /// Builds one test target and gives its program. The whole workspace is named, as everywhere: otherwise features
    /// are others, and the query engine is built again.
    ///
    /// # Errors
    /// It does not build.
    pub(super) fn program(&self, test: &str) -> Result<PathBuf> {
        let arguments = [
            "test",
            "--workspace",
            "--locked",
            "--no-run",
            "--message-format=json-render-diagnostics",
            "--test",
            test,
        ];
        writeln!(std::io::stderr(), "> cargo {} (of the mutants)", arguments.join(" "))
            .context("write to stderr")?;
        let built = unobserved("cargo")
            .args(arguments)
            .current_dir(&self.root)
            .env("CARGO_TARGET_DIR", &self.target)
            .stderr(Stdio::inherit())
            .output()
            .context("run cargo")?;
        if !built.status.success() {
            bail!("the mutants do not build: {}", built.status);
        }
        let said = String::from_utf8_lossy(&built.stdout);
        let of_test = |path: &&str| {
            let name = Path::new(path).file_name().map(|name| name.to_string_lossy().into_owned());
            name.is_some_and(|name| name.rsplit_once('-').is_some_and(|(stem, _)| stem == test))
        };
        let program = said.lines().filter_map(executable).find(of_test);
        program.map(PathBuf::from).with_context(|| format!("cargo names no program of the tests \"{test}\""))
    }
}

/// The program that a line of cargo's messages names.
fn executable(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("\"executable\":\"")?;
    rest.split_once('"').map(|(path, _)| path)
}

fn other_version() -> (String, String) {
    (format!("version = \"{VERSION}\""), format!("version = \"{VERSION}-mutants\""))
}

/// The root manifest, whose first version is that of all crates. Switches have parentheses that not all places need.
fn renamed_manifest(text: &str) -> String {
    const LINTS: &str = "[workspace.lints.rust]\n";
    let (ours, other) = other_version();
    text.replacen(&ours, &other, 1).replacen(LINTS, &format!("{LINTS}unused_parens = \"allow\"\n"), 1)
}

/// The lock file, in which our crates are those without a source.
fn renamed_lock(text: &str) -> String {
    let (ours, other) = other_version();
    let blocks = text.split("\n\n").map(|block| {
        if block.contains("\nsource = ") { block.to_owned() } else { block.replace(&ours, &other) }
    });
    blocks.collect::<Vec<_>>().join("\n\n")
}

fn write_if_new(to: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(to).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    make_folder(to)?;
    fs::write(to, bytes).with_context(|| format!("write {}", to.display()))
}

/// Keeps the permissions too.
fn copy_if_new(from: &Path, to: &Path) -> Result<()> {
    let bytes = fs::read(from).with_context(|| format!("read {}", from.display()))?;
    if fs::read(to).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    make_folder(to)?;
    fs::copy(from, to).with_context(|| format!("write {}", to.display())).map(drop)
}

fn make_folder(of: &Path) -> Result<()> {
    let folder = of.parent().with_context(|| format!("find the folder of {}", of.display()))?;
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))
}

/// What an earlier copy had and this has not.
fn remove_others(root: &Path, kept: &BTreeSet<PathBuf>) -> Result<()> {
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if !kept.contains(&path) {
                fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_crates_get_another_version_and_no_other_does() {
        let lock = format!(
            "version = 4\n\n[[package]]\nname = \"other\"\nversion = \"{VERSION}\"\nsource = \"registry\"\n\n\
             [[package]]\nname = \"portolan\"\nversion = \"{VERSION}\"\ndependencies = [\n \"other\",\n]\n"
        );
        let ours = format!("name = \"portolan\"\nversion = \"{VERSION}");
        assert_eq!(renamed_lock(&lock), lock.replace(&ours, &format!("{ours}-mutants")));
        let manifest =
            format!("[workspace.package]\nversion = \"{VERSION}\"\n[x]\nversion = \"{VERSION}\"\n");
        assert_eq!(renamed_manifest(&manifest).matches("-mutants").count(), 1);
        let lints = renamed_manifest("[workspace.lints.rust]\nunsafe_code = \"forbid\"\n");
        assert_eq!(lints, "[workspace.lints.rust]\nunused_parens = \"allow\"\nunsafe_code = \"forbid\"\n");
    }

    #[test]
    fn a_copy_has_the_switches_and_nothing_that_was_there_before() {
        let folder = std::env::temp_dir().join(format!("portolan-mutants-{}", std::process::id()));
        let (workspace, target) = (folder.join("w"), folder.join("t"));
        for (name, text) in
            [("w/Cargo.toml", "[workspace]"), ("w/catalog/a.rs", "a + b"), ("t/mutants/old.rs", "")]
        {
            write_if_new(&folder.join(name), text.as_bytes()).unwrap();
        }
        let git = Command::new("git").args(["init", "--quiet"]).current_dir(&workspace).status().unwrap();
        assert!(git.success());
        let mutant =
            |file| Mutant { id: "m", why: "", file, from: "a + b", to: "a", caught_by: &["stores::a"] };
        let tree = Tree::make(&workspace, target.clone(), &[mutant("catalog/a.rs")]).unwrap();
        assert!(fs::read_to_string(tree.catalog().join("a.rs")).unwrap().contains("{ a } else { a + b }"));
        assert!(target.join("mutants/Cargo.toml").is_file() && !target.join("mutants/old.rs").exists());
        let refused = Tree::make(&workspace, target, &[mutant("catalog/b.rs")]).unwrap_err();
        assert!(refused.to_string().contains("there is no file catalog/b.rs"), "{refused}");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn cargo_names_the_program_of_a_test() {
        let line = r#"{"reason":"compiler-artifact","target":{"name":"stores"},"executable":"/t/debug/deps/stores-0f","fresh":true}"#;
        assert_eq!(executable(line), Some("/t/debug/deps/stores-0f"));
        assert_eq!(executable(r#"{"reason":"compiler-artifact","executable":null}"#), None);
    }
}
