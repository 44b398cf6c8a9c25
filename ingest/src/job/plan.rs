//! What a run must remake, decided from the lake's own log.
//!
//! A table's fingerprint is its definition and the fingerprints of its inputs, down to the positions of bronze. It
//! stands in the table's last commit, so nothing else remembers progress and a run killed anywhere needs no repair.

use std::collections::{HashMap, HashSet};

use portolan_catalog::copies::Origin;
use portolan_catalog::lake::TablePath;
use sha2::{Digest as _, Sha256};

use super::{Ingest, path};
use crate::crosswalk::hex;
use crate::error::IngestError;
use crate::pipeline::model::{TableName, Zone};

/// What remains to be done for one derived table.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) fingerprint: String,
    pub(super) stale: bool,
    /// When and in which run its rows were read at the sources, as far as bronze says.
    pub(super) origin: Option<Origin>,
}

/// What remains to be done for all of them.
#[derive(Debug, Default)]
pub(super) struct Plans {
    /// What is neither lost nor unknown.
    pub(super) tables: HashMap<TableName, Plan>,
    /// Never landed or damaged, and what is made of such tables.
    pub(super) lost: HashSet<TableName>,
}

impl Ingest {
    /// What each derived table should be, and whether it is. A table whose log cannot be read is a failure of its
    /// pipeline; what cannot be made without it is left as it is.
    pub(super) async fn plans(&self, failures: &mut Vec<(String, IngestError)>) -> Plans {
        let pipelines = &self.config.pipelines;
        let walks = pipelines.crosswalks.digest();
        let mut plans = Plans::default();
        for pipeline in pipelines.pipelines.iter().filter(|pipeline| pipeline.source.is_some()) {
            let name = TableName { zone: Zone::Bronze, name: pipeline.bronze.clone() };
            let last = self.last_commit(&TablePath::new("bronze", &pipeline.bronze)).await;
            let (position, origin) = match last {
                Ok(Some((_, record))) => (format!("{}@{:?}", record.seq, record.digest), record.origin),
                Ok(None) => {
                    plans.lost.insert(name);
                    continue;
                }
                Err(error) => {
                    // Landing met the same damage, if it was asked to land this one.
                    if failures.iter().all(|(failed, _)| *failed != pipeline.name) {
                        failures.push((pipeline.name.clone(), error));
                    }
                    plans.lost.insert(name);
                    continue;
                }
            };
            let whole = pipeline.source.as_ref().is_some_and(|source| source.all_snapshots);
            let fingerprint = format!("{position}{:?}{whole}", pipeline.decode);
            plans.tables.insert(name, Plan { fingerprint, stale: false, origin: origin.filter(|_| !whole) });
        }
        for spec in &pipelines.tables {
            if spec.inputs.iter().any(|input| plans.lost.contains(input)) {
                plans.lost.insert(spec.table.clone());
                continue;
            }
            let mut hash = Sha256::new();
            hash.update(&walks);
            hash.update(format!("{:?}{:?}{:?}{:?}", spec.make, spec.contract, spec.rules, spec.key));
            hash.update(format!("{:?}{:?}{:?}", spec.latest, spec.fan_out, spec.publish));
            for input in &spec.inputs {
                let plan = plans.tables.get(input);
                hash.update(plan.map(|plan| plan.fingerprint.as_str()).unwrap_or_default());
                hash.update([0]);
            }
            let fingerprint = hex(&hash.finalize());
            let last = if spec.stored { self.last_commit(&path(&spec.table)).await } else { Ok(None) };
            let stale = match last {
                Ok(last) => {
                    let made = last.and_then(|(_, record)| record.digest);
                    spec.stored && made.as_deref() != Some(fingerprint.as_str())
                }
                Err(error) => {
                    failures.push((spec.pipeline.clone(), error));
                    plans.lost.insert(spec.table.clone());
                    continue;
                }
            };
            let inputs = spec.inputs.iter().map(|input| plans.tables.get(input)?.origin.as_ref());
            let origin = Origin::of_all(inputs);
            plans.tables.insert(spec.table.clone(), Plan { fingerprint, stale, origin });
        }
        // A step is needed when something stale reads it.
        let mut needed: HashSet<TableName> = HashSet::new();
        for spec in pipelines.tables.iter().rev() {
            let Some(plan) = plans.tables.get_mut(&spec.table) else { continue };
            if plan.stale || needed.contains(&spec.table) {
                plan.stale = true;
                let steps =
                    pipelines.tables.iter().filter(|step| !step.stored && spec.inputs.contains(&step.table));
                needed.extend(steps.map(|step| step.table.clone()));
            }
        }
        plans
    }
}
