//! One corpus of statements, asked through every door of one demo: the same rows, types and SQLSTATEs everywhere.
//!
//! Each file of `tests/corpus` is one test per transport, once more with push-down off, and, where its statements need no
//! table, once more in a form that the engine must answer and not the shadow catalog. Expected values are
//! PostgreSQL's text output, whatever the transport; a record may name the doors it is for (`onlyif postgres`). The
//! runner never accepts a difference, and never skips a file: a demo or a client that cannot be had is a failure. What a
//! door cannot by its nature is listed with the reason in [`door::ABILITIES`].

#![expect(clippy::unwrap_used, clippy::panic, reason = "every function of this binary is part of a test")]

mod demo;
mod door;
mod flight;
mod java;
mod pg;
mod python;
mod render;
mod scram;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use sqllogictest::{Condition, Record, Runner};

use demo::Demo;
use door::{ABILITIES, Column, Connection, DOORS, Door, Mode};

/// The least number of records the corpus must have.
const LEAST_RECORDS: usize = 300;
/// Differences shown of one file.
const SHOWN: usize = 40;

fn main() {
    let arguments = Arguments::from_args();
    let files = files();
    // A selection that runs nothing of the corpus, or only lists it, needs no demo.
    let demo = if arguments.list { None } else { Some(Arc::new(Demo::start())) };
    let python = Arc::new(python::Process::default());
    let mut trials = vec![Trial::test("the_corpus_is_large_enough_and_skips_nothing_by_mistake", {
        let files = files.clone();
        move || counted(&files)
    })];
    for (file, name) in files {
        for door in DOORS {
            for mode in Mode::ALL.iter().filter(|mode| mode.is_for(*door, &name)) {
                let (file, demo, python) = (file.clone(), demo.clone(), Arc::clone(&python));
                trials.push(Trial::test(format!("{name}::{}{}", door.name(), mode.suffix()), move || {
                    run(&file, *door, *mode, &demo.unwrap(), &python)
                }));
            }
        }
    }
    let clients = demo.clone();
    trials.push(Trial::test("python_clients", move || python::clients(&clients.unwrap())));
    let java = demo.clone();
    trials.push(Trial::test("java_metadata", move || java::metadata(&java.unwrap())));
    let conclusion = libtest_mimic::run(&arguments, trials);
    // Both end before the process does, whose destructors `exit` would not run.
    drop((python, demo));
    conclusion.exit();
}

/// The corpus' files with their names, ordered.
fn files() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/corpus");
    let mut found = Vec::new();
    for folder in std::fs::read_dir(&root).unwrap() {
        let folder = folder.unwrap().path();
        for file in std::fs::read_dir(&folder).unwrap() {
            let file = file.unwrap().path();
            let name = file.strip_prefix(&root).unwrap().with_extension("").display().to_string();
            assert!(file.extension().is_some_and(|end| end == "slt"), "{} is no .slt file", file.display());
            found.push((file, name));
        }
    }
    found.sort();
    found
}

fn records(file: &Path) -> Result<Vec<Record<Column>>, Failed> {
    sqllogictest::parse_file(file).map_err(|error| Failed::from(error.to_string()))
}

fn counted(files: &[(PathBuf, String)]) -> Result<(), Failed> {
    let mut count = 0;
    for (file, name) in files {
        for record in records(file)? {
            let (Record::Statement { conditions, .. } | Record::Query { conditions, .. }) = record else {
                continue;
            };
            count += 1;
            for condition in conditions {
                let (Condition::OnlyIf { label } | Condition::SkipIf { label }) = condition;
                if !door::is_label(&label) {
                    return Err(format!("{name}: no door, mode or ability is called \"{label}\"").into());
                }
            }
        }
    }
    if count < LEAST_RECORDS {
        return Err(format!("{count} records, and {LEAST_RECORDS} are promised").into());
    }
    Ok(())
}

/// Runs every record of a file and reports all differences, not the first.
fn run(
    file: &Path,
    door: Door,
    mode: Mode,
    demo: &Demo,
    python: &Arc<python::Process>,
) -> Result<(), Failed> {
    let mut runner = Runner::new(|| async { Connection::open(door, demo, python, mode) });
    for label in door.labels() {
        runner.add_label(label);
    }
    if let Door::Postgres(_) = door {
        for (ability, _) in ABILITIES {
            runner.add_label(ability);
        }
    }
    if mode == Mode::Engine {
        runner.add_label("engine");
    }
    runner.with_normalizer(|line| line.trim_end().to_owned());
    runner.with_validator(|normalizer, actual, expected| {
        let actual = actual.iter().map(|row| normalizer(&row.join(" ")));
        actual.eq(expected.iter().map(normalizer))
    });
    runner.with_column_validator(sqllogictest::strict_column_validator);
    let mut differences = Vec::new();
    for record in records(file)? {
        if let Err(error) = runner.run(record) {
            differences.push(error.display(false).to_string());
        }
    }
    runner.shutdown();
    if differences.is_empty() {
        return Ok(());
    }
    let more = differences.len().saturating_sub(SHOWN);
    let mut text = format!("{} records differ\n\n", differences.len());
    text.push_str(&differences.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("\n\n"));
    if more > 0 {
        text.push_str(&format!("\n\n… and {more} more"));
    }
    Err(text.into())
}
