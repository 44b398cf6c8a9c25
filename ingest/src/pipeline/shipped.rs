//! The pipelines this product ships, inside the binary: a fresh machine needs no directory beside it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::load::load_texts;
use super::{Diagnostic, Pipelines};

macro_rules! shipped {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../pipelines/", $name)))),*]
    };
}

const FILES: &[(&str, &str)] = shipped![
    "ais_positions.yaml",
    "berth_visits.yaml",
    "berths.yaml",
    "call_clock.gold.sql",
    "cargo_operations.silver.sql",
    "cargo_operations.yaml",
    "dim_cargo.gold.sql",
    "dim_date.gold.sql",
    "dim_terminal.gold.sql",
    "dim_vessel.gold.sql",
    "fact_cargo_operation.gold.sql",
    "gold.yaml",
    "op_stoppages.yaml",
    "port_call_events.silver.sql",
    "port_call_events.yaml",
    "port_calls.yaml",
    "ref_cargo.yaml",
    "terminal.crosswalk.yaml",
    "terminals.yaml",
    "vessel_history.yaml",
    "vessels.silver.sql",
    "vessels.yaml",
    "weather.yaml",
];

/// The shipped pipelines of the Port of Dakar, checked like any others.
#[must_use]
pub fn shipped_pipelines() -> (Pipelines, Vec<Diagnostic>) {
    let files: BTreeMap<PathBuf, String> = FILES
        .iter()
        .map(|(name, text)| (PathBuf::from("ingest/pipelines").join(name), (*text).to_owned()))
        .collect();
    load_texts(&files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_pipelines_have_no_mistake_and_none_is_forgotten() {
        let (pipelines, diagnostics) = shipped_pipelines();
        assert_eq!(diagnostics, []);
        assert!(pipelines.tables().contains_key("gold.fact_cargo_operation"));
        let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("pipelines");
        assert_eq!(std::fs::read_dir(directory).unwrap().count(), FILES.len());
    }
}
