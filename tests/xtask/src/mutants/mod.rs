//! `cargo x mutants`: takes the rewrites of pushed work away, one by one, and looks whether a test notices.
//!
//! A test of a rewrite that passes without it proves nothing. Each mutant is a place in the source with what would
//! stand there if nobody had thought of it (`postgres`, `mysql`, `mongodb`, `federation`); a unit test holds the lists
//! to the tree. Before the first mutant and after the last, the same tests must pass without any: what fails for
//! another reason would look like a catch.

mod federation;
mod mongodb;
mod mysql;
mod postgres;
mod switch;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;

use self::switch::{Mutant, VARIABLE};
use self::tree::Tree;
use crate::{root, servers, target_folder, unobserved};

/// Which mutants.
#[derive(Debug, Clone, Args)]
pub(crate) struct Plan {
    /// Only those whose names begin so; by default all
    #[arg(value_name = "NAME")]
    only: Vec<String>,
}

impl Plan {
    fn takes(&self, mutant: &Mutant) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| mutant.id.starts_with(name.as_str()))
    }
}

/// All mutants.
fn all() -> Vec<Mutant> {
    [federation::MUTANTS, postgres::MUTANTS, mysql::MUTANTS, mongodb::MUTANTS].concat()
}

/// Runs the tests of the mutants, with each and without.
///
/// # Errors
/// A mutant survives or has no place, a test fails without one, or nothing can be built or started.
pub(crate) fn run(plan: &Plan) -> Result<()> {
    let mutants = all();
    let chosen: Vec<&Mutant> = mutants.iter().filter(|mutant| plan.takes(mutant)).collect();
    if chosen.is_empty() {
        bail!("no mutant has such a name");
    }
    let servers = servers::Use::begin()?;
    // Always with all of them, so that a choice builds nothing anew.
    let tree = Tree::make(&root()?, target_folder()?, &mutants)?;
    let mut tests: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (target, test) in chosen.iter().flat_map(|mutant| mutant.tests()) {
        tests.entry(target).or_default().insert(test);
    }
    let mut programs = BTreeMap::new();
    for target in tests.keys() {
        programs.insert(*target, tree.program(target)?);
    }
    let bench = Bench { programs, folder: tree.catalog(), variables: servers.variables()? };
    bench.must_pass(&tests)?;
    let mut survived = Vec::new();
    for mutant in &chosen {
        let noticed = bench.noticed(mutant)?;
        let outcome = noticed.as_deref().unwrap_or("SURVIVED");
        writeln!(std::io::stdout(), "{:<32} {outcome:<60} {}", mutant.id, mutant.why)
            .context("write the table")?;
        if noticed.is_none() {
            survived.push(mutant.id);
        }
    }
    bench.must_pass(&tests)?;
    writeln!(std::io::stdout(), "{} mutants, {} survived", chosen.len(), survived.len())
        .context("write the sum")?;
    if survived.is_empty() { Ok(()) } else { bail!("no test notices: {}", survived.join(", ")) }
}

/// The built tests, and what they need.
struct Bench<'a> {
    programs: BTreeMap<&'a str, PathBuf>,
    folder: PathBuf,
    variables: Vec<(String, String)>,
}

impl Bench<'_> {
    /// The tests without a mutant: all are there, and all pass.
    fn must_pass(&self, tests: &BTreeMap<&str, BTreeSet<&str>>) -> Result<()> {
        for (target, names) in tests {
            let ran = self.ran(target, names.iter().copied(), None)?;
            let missing: Vec<&str> = names
                .iter()
                .copied()
                .filter(|name| !ran.passed.iter().any(|passed| passed == name))
                .collect();
            if !missing.is_empty() {
                bail!("without a mutant these do not pass: {}\n{}", missing.join(", "), ran.said);
            }
        }
        Ok(())
    }

    /// The tests that fail over a mutant, if any does.
    fn noticed(&self, mutant: &Mutant) -> Result<Option<String>> {
        let mut tests: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (target, name) in mutant.tests() {
            tests.entry(target).or_default().push(name);
        }
        let mut noticed = Vec::new();
        for (target, names) in &tests {
            let ran = self.ran(target, names.iter().copied(), Some(mutant.id))?;
            if ran.failed.is_empty() && ran.passed.len() < names.len() {
                bail!("the tests of mutant \"{}\" ended early:\n{}", mutant.id, ran.said);
            }
            noticed.extend(ran.failed);
        }
        Ok((!noticed.is_empty()).then(|| noticed.join(", ")))
    }

    fn ran<'n>(
        &self,
        target: &str,
        names: impl Iterator<Item = &'n str>,
        mutant: Option<&str>,
    ) -> Result<Ran> {
        let program = self.programs.get(target).with_context(|| format!("find the tests \"{target}\""))?;
        let mut command = unobserved(program);
        command.arg("--exact").args(names).current_dir(&self.folder);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.env_remove(VARIABLE).envs(mutant.map(|id| (VARIABLE, id)));
        let output = command.output().with_context(|| format!("run {}", program.display()))?;
        Ok(Ran::of(String::from_utf8_lossy(&output.stdout).into_owned()))
    }
}

/// What came of some tests.
#[derive(Debug)]
struct Ran {
    passed: Vec<String>,
    failed: Vec<String>,
    said: String,
}

impl Ran {
    fn of(said: String) -> Self {
        let ended = |how: &str| -> Vec<String> {
            let lines = said.lines().filter_map(|line| line.strip_prefix("test ")?.strip_suffix(how));
            lines.map(str::to_owned).collect()
        };
        Self { passed: ended(" ... ok"), failed: ended(" ... FAILED"), said }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// The files in which the module of a test may be.
    fn files_of(target: &str, test: &str) -> Vec<PathBuf> {
        let folder = Path::new("catalog/tests").join(target);
        let Some((module, _)) = test.rsplit_once("::") else { return vec![folder.join("main.rs")] };
        let module = folder.join(module.replace("::", "/"));
        vec![module.with_extension("rs"), module.join("mod.rs")]
    }

    #[test]
    fn every_mutant_has_its_place_and_its_tests() {
        let root = root().unwrap();
        let mutants = all();
        let mut wrong = Vec::new();
        let files: BTreeSet<&str> = mutants.iter().map(|mutant| mutant.file).collect();
        for file in files {
            let here: Vec<&Mutant> = mutants.iter().filter(|mutant| mutant.file == file).collect();
            match fs::read_to_string(root.join(file)) {
                Ok(text) => wrong.extend(switch::switched(&text, &here).err().unwrap_or_default()),
                Err(error) => wrong.push(format!("{file}: {error}")),
            }
        }
        for mutant in &mutants {
            if mutant.caught_by.is_empty() || mutant.tests().count() < mutant.caught_by.len() {
                wrong.push(format!("mutant \"{}\" names no test, or one without its target", mutant.id));
            }
            for (target, test) in mutant.tests() {
                let name = test.rsplit("::").next().unwrap_or_default();
                let declared = format!("fn {name}(");
                let has = |file: &PathBuf| {
                    fs::read_to_string(root.join(file)).is_ok_and(|text| text.contains(&declared))
                };
                if !files_of(target, test).iter().any(has) {
                    wrong.push(format!("mutant \"{}\": there is no test {target}::{test}", mutant.id));
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        let names: BTreeSet<&str> = mutants.iter().map(|mutant| mutant.id).collect();
        assert_eq!(names.len(), mutants.len(), "two mutants have one name");
    }

    #[test]
    fn a_choice_is_of_beginnings() {
        let takes = |only: &[&str]| {
            let plan = Plan { only: only.iter().map(|name| (*name).to_owned()).collect() };
            all().iter().filter(|mutant| plan.takes(mutant)).count()
        };
        assert_eq!((takes(&[]), takes(&["none-of-these"])), (all().len(), 0));
        assert_eq!(takes(&["mysql-"]), mysql::MUTANTS.len());
        assert_eq!(takes(&["mysql-", "mongodb-"]), mysql::MUTANTS.len() + mongodb::MUTANTS.len());
    }

    #[test]
    fn what_the_tests_say_is_read() {
        let ran =
            Ran::of("\nrunning 2 tests\ntest a::b ... ok\ntest c ... FAILED\n\ntest result: FAILED.".into());
        assert_eq!((ran.passed, ran.failed), (vec!["a::b".to_owned()], vec!["c".to_owned()]));
    }
}
