//! `portolan kpi check` as its users run it: the real program over clean, broken and missing files.

#![expect(clippy::unwrap_used, reason = "every function of this file is part of a test")]

use std::path::Path;
use std::process::{Command, Output};

/// Runs the check inside a folder of the repository.
fn check(folder: &str, paths: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portolan"))
        .args(["kpi", "check"])
        .args(paths)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder))
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn shipped_files_are_clean() {
    let output = check(".", &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    assert_eq!(text(&output.stdout), "");
}

#[test]
fn broken_files_show_every_mistake_with_line_caret_rule_and_hint() {
    let output = check("semantic/tests/fixtures/kpis", &["bad", "gaps"]);
    assert_eq!(output.status.code(), Some(1));
    insta::assert_snapshot!(text(&output.stdout));
    let said = text(&output.stderr);
    let findings = text(&output.stdout).lines().filter(|line| line.contains("[KPI")).count();
    assert!(said.contains(&format!("{findings} findings")), "{said}");
}

#[test]
fn a_file_that_is_not_there_is_no_finding() {
    let output = check("kpis", &["nowhere.yaml"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text(&output.stdout), "");
    assert!(text(&output.stderr).contains("read \"nowhere.yaml\""), "{}", text(&output.stderr));
}
