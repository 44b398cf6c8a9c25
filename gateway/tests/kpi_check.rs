//! `portolan kpi check` as its users run it: the real program over clean, broken and missing files.

#![expect(clippy::unwrap_used, reason = "every function of this file is part of a test")]

use std::path::Path;
use std::process::{Command, Output};

/// Runs the check inside a folder of the repository.
fn check(folder: &str, paths: &[&str]) -> Output {
    kpi(folder, &[&["check"], paths].concat())
}

fn kpi(folder: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portolan"))
        .arg("kpi")
        .args(arguments)
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

#[test]
fn what_is_not_there_yet_is_refused_by_name() {
    for arguments in [
        &["test"][..],
        &["query", "calls", "--by", "terminal"],
        &["diff", "main"],
        &["docs", "--check"],
        &["import", "model.yaml"],
        &["export"],
        &["check", "--live"],
        &["check", "--strict", "kpis"],
        &["check", "--format", "json"],
    ] {
        let output = kpi(".", arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert_eq!(text(&output.stdout), "", "{arguments:?}");
        let named = arguments.iter().take(if arguments.first() == Some(&"check") { 2 } else { 1 });
        for word in named {
            assert!(said.contains(*word), "{arguments:?}: {said}");
        }
        assert!(said.contains("is not supported yet") && said.contains("hint: "), "{arguments:?}: {said}");
    }
    assert_eq!(check(".", &["--format", "text"]).status.code(), Some(0));
}

/// The block of docs/kpis.md behind a mark.
fn block(page: &str, mark: &str) -> String {
    let (_, rest) = page.split_once(&format!("<!-- checked: {mark} -->\n```")).unwrap();
    let (_, rest) = rest.split_once('\n').unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

#[test]
fn the_examples_of_the_page_are_what_it_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = std::fs::read_to_string(root.join("docs/kpis.md")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    std::fs::write(folder.path().join("berth_visits.yaml"), block(&page, "clean")).unwrap();
    std::fs::write(folder.path().join("berth_hours.yaml"), block(&page, "broken")).unwrap();
    let clean = check(place, &["berth_visits.yaml"]);
    assert_eq!(clean.status.code(), Some(0), "{}", text(&clean.stdout));
    let broken = check(place, &["berth_hours.yaml"]);
    assert_eq!(broken.status.code(), Some(1));
    let shown = format!("$ portolan kpi check berth_hours.yaml\n{}", text(&broken.stdout));
    assert_eq!(shown, block(&page, "findings"));
}

/// Every key of the language that is refused stands on the page, so that nobody has to find out by trying.
#[test]
fn the_page_names_every_refused_construct() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = std::fs::read_to_string(root.join("docs/kpis.md")).unwrap();
    let output = check("semantic/tests/fixtures/kpis", &["gaps"]);
    let found = text(&output.stdout);
    let findings: Vec<&str> =
        found.lines().filter_map(|line| line.split_once("error[KPI090]: ")).map(|(_, text)| text).collect();
    assert!(findings.len() > 20, "{found}");
    for finding in findings {
        let name = finding.split('"').nth(1).unwrap_or("values` from a table");
        assert!(page.contains(&format!("`{name}")), "{finding}");
    }
}
