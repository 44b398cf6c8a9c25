//! What a run must remake, decided from the lake's own log.
//!
//! A table's fingerprint is its definition and the fingerprints of its inputs, down to the positions of bronze. It
//! stands in the table's last commit, so nothing else remembers progress and a run killed anywhere needs no repair.

use std::collections::{HashMap, HashSet};

use portolan_catalog::lake::TablePath;
use sha2::{Digest as _, Sha256};

use super::{Ingest, path};
use crate::crosswalk::hex;
use crate::error::Result;
use crate::pipeline::model::{TableName, Zone};

/// What remains to be done for one derived table.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) fingerprint: String,
    pub(super) stale: bool,
}

impl Ingest {
    /// What each derived table should be, and whether it is.
    pub(super) async fn plans(&self) -> Result<HashMap<TableName, Plan>> {
        let pipelines = &self.config.pipelines;
        let walks = pipelines.crosswalks.digest();
        let mut plans: HashMap<TableName, Plan> = HashMap::new();
        for pipeline in pipelines.pipelines.iter().filter(|pipeline| pipeline.source.is_some()) {
            let last = self.last_commit(&TablePath::new("bronze", &pipeline.bronze)).await?;
            let position =
                last.map(|(_, record)| format!("{}@{:?}", record.seq, record.digest)).unwrap_or_default();
            let whole = pipeline.source.as_ref().is_some_and(|source| source.all_snapshots);
            let fingerprint = format!("{position}{:?}{whole}", pipeline.decode);
            let name = TableName { zone: Zone::Bronze, name: pipeline.bronze.clone() };
            plans.insert(name, Plan { fingerprint, stale: false });
        }
        for spec in &pipelines.tables {
            let mut hash = Sha256::new();
            hash.update(&walks);
            hash.update(format!("{:?}{:?}{:?}{:?}", spec.make, spec.contract, spec.rules, spec.key));
            hash.update(format!("{:?}{:?}{:?}", spec.latest, spec.fan_out, spec.publish));
            for input in &spec.inputs {
                hash.update(plans.get(input).map(|plan| plan.fingerprint.as_str()).unwrap_or_default());
                hash.update([0]);
            }
            let fingerprint = hex(&hash.finalize());
            let stale = spec.stored && {
                let last = self.last_commit(&path(&spec.table)).await?;
                last.and_then(|(_, record)| record.digest).as_deref() != Some(fingerprint.as_str())
            };
            plans.insert(spec.table.clone(), Plan { fingerprint, stale });
        }
        // A step is needed when something stale reads it.
        let mut needed: HashSet<TableName> = HashSet::new();
        for spec in pipelines.tables.iter().rev() {
            let stale = plans.get(&spec.table).is_some_and(|plan| plan.stale) || needed.contains(&spec.table);
            if stale {
                if let Some(plan) = plans.get_mut(&spec.table) {
                    plan.stale = true;
                }
                let steps =
                    pipelines.tables.iter().filter(|step| !step.stored && spec.inputs.contains(&step.table));
                needed.extend(steps.map(|step| step.table.clone()));
            }
        }
        Ok(plans)
    }
}
