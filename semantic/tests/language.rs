//! The language: the shipped files are clean, broken ones report everything at once.

use std::path::Path;

use files::read;

#[cfg(test)]
mod files {
    use std::path::{Path, PathBuf};

    pub(super) fn read(folder: &Path) -> Vec<(PathBuf, String)> {
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|file| file.extension().is_some_and(|ext| ext == "yaml"));
        files.sort();
        files
            .into_iter()
            .map(|file| (PathBuf::from(file.file_name().unwrap()), std::fs::read_to_string(&file).unwrap()))
            .collect()
    }
}

#[test]
fn the_shipped_kpis_have_no_diagnostics() {
    let loaded = portolan_semantic::load(&read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../kpis")));
    assert_eq!(portolan_semantic::render_text(&loaded.diagnostics), "");
    let model = loaded.model.model("port_calls").unwrap();
    assert_eq!(model.measures.len(), 14);
    assert_eq!(model.metrics.len(), 8);
}

#[test]
fn broken_files_report_every_mistake_in_one_run() {
    let loaded = portolan_semantic::load(&read(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/kpis/bad"),
    ));
    insta::assert_snapshot!(portolan_semantic::render_text(&loaded.diagnostics));
}

/// One file per construct that the language has and this crate does not compute: each is refused by name, at its place,
/// with a hint, and whatever rests on it is not usable.
#[test]
fn constructs_that_are_not_computed_are_refused_by_name() {
    let files = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/kpis/gaps"));
    let loaded = portolan_semantic::load(&files);
    for (file, _) in &files {
        let refused: Vec<_> = loaded.diagnostics.iter().filter(|found| found.file == *file).collect();
        assert!(!refused.is_empty(), "{} is accepted", file.display());
        for found in refused {
            assert_eq!(found.rule, "KPI090", "{}", found.headline());
            assert!(found.hint.is_some() && found.line > 1, "{}", found.headline());
        }
        let stem = file.file_stem().unwrap().to_string_lossy();
        let broken = loaded.model.broken.iter().any(|broken| broken.name == stem);
        let disabled = loaded.model.model(&stem).is_some_and(|model| !model.disabled.is_empty());
        let tested = stem == "tests" && loaded.model.model(&stem).is_some_and(|model| model.tests.is_empty());
        assert!(broken || disabled || tested, "{stem} is usable as if nothing were missing");
    }
    insta::assert_snapshot!(portolan_semantic::render_text(&loaded.diagnostics));
}
