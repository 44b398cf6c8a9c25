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
    assert_eq!(model.metrics.len(), 7);
}

#[test]
fn broken_files_report_every_mistake_in_one_run() {
    let loaded = portolan_semantic::load(&read(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/kpis/bad"),
    ));
    insta::assert_snapshot!(portolan_semantic::render_text(&loaded.diagnostics));
}
