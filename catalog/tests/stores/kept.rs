//! One process after another over the same folder of schema snapshots, and the snapshot as somebody with an editor has it.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use datafusion::prelude::SessionContext;
use portolan_catalog::Catalog;
use portolan_catalog::federation::{Capability, FederationOptions};
use portolan_catalog::snapshot::SchemaSnapshots;
use portolan_catalog::source::{Source, SourceError};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::session::{session, shown, source_error};

/// What a gateway knows of one source, which it opens with what the one before it kept.
pub(crate) struct Process {
    pub(crate) catalog: Arc<Catalog>,
    context: SessionContext,
}

impl Process {
    pub(crate) fn open(folder: &Path, source: Arc<dyn Source>) -> Self {
        let schema = source.name().to_string();
        let catalog = Catalog::builder().snapshots(SchemaSnapshots::new(folder)).add(source).build().unwrap();
        let context = session(&catalog, &schema, &Arc::new(FederationOptions::default()));
        Self { catalog, context }
    }

    /// Contacts the server and reads its tables.
    pub(crate) async fn look(&self) {
        self.catalog.sources().first().unwrap().refresh().await.unwrap();
    }

    pub(crate) fn capabilities(&self) -> Vec<Capability> {
        self.catalog.sources().first().unwrap().executor().capabilities()
    }

    /// When its server proved what is known of it; `None` if nobody asked one.
    pub(crate) fn proved_at(&self) -> Option<DateTime<Utc>> {
        let times: BTreeSet<_> = self.capabilities().iter().filter_map(|row| row.proven_at).collect();
        assert!(times.len() < 2, "{times:?}");
        times.first().copied()
    }

    /// The leaf's line of EXPLAIN, which contacts nobody.
    pub(crate) async fn leaf(&self, sql: &str) -> String {
        let plan = self.rows(&format!("EXPLAIN {sql}")).await.unwrap().join("\n");
        plan.lines().find(|line| line.contains("FederatedScan")).unwrap_or_default().trim().to_owned()
    }

    /// Rows as text in the order of that, or the error of the source.
    pub(crate) async fn rows(&self, sql: &str) -> Result<Vec<String>, SourceError> {
        let frame = self.context.sql(sql).await.map_err(|error| source_error(&error))?;
        let batches = frame.collect().await.map_err(|error| source_error(&error))?;
        Ok(shown(&batches))
    }
}

/// What is kept of a source.
pub(crate) fn content(folder: &Path, source: &str) -> Value {
    let sealed = std::fs::read(folder.join(format!("{source}.json"))).unwrap();
    let sealed: Value = serde_json::from_slice(&sealed).unwrap();
    serde_json::from_str(sealed["content"].as_str().unwrap()).unwrap()
}

/// Changes what is kept, as a process that wrote something else would have.
pub(crate) fn change(folder: &Path, source: &str, change: impl FnOnce(&mut Value)) {
    let path = folder.join(format!("{source}.json"));
    let mut sealed: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let mut content = content(folder, source);
    change(&mut content);
    let content = content.to_string();
    let digest: String =
        Sha256::digest(content.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    sealed["sha256"] = digest.into();
    sealed["content"] = content.into();
    std::fs::write(&path, sealed.to_string()).unwrap();
}
