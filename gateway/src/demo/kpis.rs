//! The KPI definitions that the program ships with, which are those of the repository's `kpis/`.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::bail;
use portolan_semantic::{Model, load, render_text};

/// Files by name, so that a mistake is reported where a reader finds it.
const FILES: [(&str, &str); 1] = [("kpis/port_calls.yaml", include_str!("../../../kpis/port_calls.yaml"))];

/// Loads the shipped definitions.
///
/// # Errors
/// When a shipped file has a mistake, with all of them.
pub fn shipped_kpis() -> anyhow::Result<Arc<Model>> {
    let files: Vec<_> = FILES.map(|(name, text)| (PathBuf::from(name), text.to_owned())).into();
    let loaded = load(&files);
    if !loaded.diagnostics.is_empty() {
        bail!("{}", render_text(&loaded.diagnostics));
    }
    Ok(loaded.model)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shipped_definitions_have_no_mistake() {
        assert_eq!(shipped_kpis().unwrap().models.len(), 1);
    }
}
