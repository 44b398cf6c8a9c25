//! What is known of a source's tables and of what it may be trusted with, kept on disk: planning, `\d` and a BI tool's
//! start need no live store.
//!
//! One file a source, `<folder>/<source>.json`, replaced as a whole: temporary file, fsync, rename. A damaged or
//! foreign file is a warning and nothing else, as if it had never been written. It must never hold a row, a secret
//! or an address: only names, types, keys, comments and estimates, what the server says of its version and settings,
//! what it answered to constants, and shapes of conditions without their values. The folder belongs to one process.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use arrow::datatypes::Schema;
use arrow::ipc::convert::try_schema_from_flatbuffer_bytes;
use arrow::ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteOptions};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tracing::warn;

use crate::federation::KeptProofs;
use crate::registry::Audited;
use crate::source::{ForeignKey, SourceKind, SourceName, TableDef, TableKind};

/// Files of another layout are not read.
const LAYOUT: u32 = 2;

/// The version that runs.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The folder of one process' snapshots.
#[derive(Debug, Clone)]
pub struct SchemaSnapshots {
    folder: PathBuf,
}

/// A source's tables as they were last seen.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// When the source told them, UTC.
    pub at: DateTime<Utc>,
    /// The tables, in the order the source told them.
    pub tables: Vec<Arc<TableDef>>,
    /// What it may be trusted with.
    pub trust: Trust,
}

/// What a source may be trusted with, as far as it was found out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust {
    /// What its server proved; `None` if nobody asked.
    pub proofs: Option<KeptProofs>,
    /// What audits found to change an answer. That of another version of Portolan is not read: its rules are others.
    pub audits: Vec<Audited>,
}

/// The file: the tables as text, so that the digest is over exactly what is read back.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    layout: u32,
    sha256: String,
    content: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    source: String,
    /// A name may come to mean another kind of store.
    kind: String,
    at: DateTime<Utc>,
    tables: Vec<Table>,
    /// The version of Portolan that wrote it.
    portolan: String,
    proofs: Option<KeptProofs>,
    audits: Vec<Audited>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    schema: String,
    name: String,
    /// Columns with their metadata, as an Arrow IPC schema message in Base64: nothing is lost in translation.
    arrow: String,
    comment: Option<String>,
    primary_key: Vec<String>,
    foreign_keys: Vec<Reference>,
    row_estimate: Option<u64>,
    view: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reference {
    columns: Vec<String>,
    to_schema: String,
    to_table: String,
    to_columns: Vec<String>,
}

impl SchemaSnapshots {
    /// Snapshots in a folder, which is made when the first one is written.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    fn path(&self, source: &SourceName) -> PathBuf {
        self.folder.join(format!("{source}.json"))
    }

    /// When a source's snapshot was last replaced, by this process or another; `None` if there is none.
    #[must_use]
    pub fn replaced_at(&self, source: &SourceName) -> Option<SystemTime> {
        fs::metadata(self.path(source)).and_then(|file| file.modified()).ok()
    }

    /// The last snapshot of a source, if there is one and it is whole.
    #[must_use]
    pub fn read(&self, source: &SourceName, kind: SourceKind) -> Option<Snapshot> {
        let path = self.path(source);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                warn!(path = %path.display(), error = %error, "schema snapshot cannot be read");
                return None;
            }
        };
        match open(&bytes, source, kind) {
            Ok(snapshot) => Some(snapshot),
            Err(why) => {
                warn!(path = %path.display(), why, "schema snapshot is not used");
                None
            }
        }
    }

    /// Replaces a source's snapshot. Blocks on the disk.
    ///
    /// # Errors
    /// Whatever kept the file from being written; the old one stays.
    pub fn write(&self, source: &SourceName, kind: SourceKind, snapshot: &Snapshot) -> io::Result<()> {
        let Snapshot { at, tables, trust } = snapshot;
        let Trust { proofs, audits } = trust.clone();
        let content = Content {
            source: source.to_string(),
            kind: kind.to_string(),
            at: *at,
            tables: tables.iter().map(|table| Table::of(table)).collect(),
            portolan: VERSION.to_owned(),
            proofs,
            audits,
        };
        let content = serde_json::to_string(&content)?;
        let sealed = Sealed { layout: LAYOUT, sha256: digest(&content), content };
        fs::create_dir_all(&self.folder)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(&serde_json::to_vec(&sealed)?)?;
        file.as_file().sync_all()?;
        file.persist(self.path(source)).map_err(|error| error.error)?;
        File::open(&self.folder)?.sync_all()
    }
}

fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn open(bytes: &[u8], source: &SourceName, kind: SourceKind) -> Result<Snapshot, &'static str> {
    let sealed: Sealed = serde_json::from_slice(bytes).map_err(|_| "it is damaged")?;
    if sealed.layout != LAYOUT {
        return Err("another version wrote it");
    }
    if sealed.sha256 != digest(&sealed.content) {
        return Err("its checksum is wrong");
    }
    let content: Content = serde_json::from_str(&sealed.content).map_err(|_| "it is damaged")?;
    if content.source != source.as_str() || content.kind != kind.to_string() {
        return Err("it is of another source");
    }
    let tables: Option<Vec<Arc<TableDef>>> = content.tables.into_iter().map(Table::back).collect();
    let tables = tables.ok_or("a table's columns are damaged")?;
    let audits = if content.portolan == VERSION { content.audits } else { vec![] };
    Ok(Snapshot { at: content.at, tables, trust: Trust { proofs: content.proofs, audits } })
}

impl Table {
    fn of(table: &TableDef) -> Self {
        let TableDef { schema, name, arrow, comment, primary_key, foreign_keys, row_estimate, kind } = table;
        let mut dictionaries = DictionaryTracker::new(false);
        let encoded = IpcDataGenerator::default().schema_to_bytes_with_dictionary_tracker(
            arrow,
            &mut dictionaries,
            &IpcWriteOptions::default(),
        );
        Self {
            schema: schema.clone(),
            name: name.clone(),
            arrow: BASE64.encode(encoded.ipc_message),
            comment: comment.clone(),
            primary_key: primary_key.clone(),
            foreign_keys: foreign_keys.iter().map(Reference::of).collect(),
            row_estimate: *row_estimate,
            view: *kind == TableKind::View,
        }
    }

    fn back(self) -> Option<Arc<TableDef>> {
        let Self { schema, name, arrow, comment, primary_key, foreign_keys, row_estimate, view } = self;
        let arrow: Schema = try_schema_from_flatbuffer_bytes(&BASE64.decode(arrow).ok()?).ok()?;
        let foreign_keys = foreign_keys.into_iter().map(Reference::back).collect();
        let kind = if view { TableKind::View } else { TableKind::Table };
        let arrow = Arc::new(arrow);
        Some(Arc::new(TableDef {
            schema,
            name,
            arrow,
            comment,
            primary_key,
            foreign_keys,
            row_estimate,
            kind,
        }))
    }
}

impl Reference {
    fn of(key: &ForeignKey) -> Self {
        let ForeignKey { columns, to_schema, to_table, to_columns } = key.clone();
        Self { columns, to_schema, to_table, to_columns }
    }

    fn back(self) -> ForeignKey {
        let Self { columns, to_schema, to_table, to_columns } = self;
        ForeignKey { columns, to_schema, to_table, to_columns }
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, TimeUnit};

    use super::*;
    use crate::source::COMMENT_KEY;

    fn table() -> Arc<TableDef> {
        let commented = [(COMMENT_KEY.to_owned(), "mètres".to_owned())].into();
        let fields = vec![
            Field::new("loa", DataType::Decimal128(38, 10), true).with_metadata(commented),
            Field::new("eta", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false),
            Field::new_list("tags", Field::new_list_field(DataType::Utf8View, true), true),
        ];
        Arc::new(TableDef {
            schema: "ops".into(),
            name: "Odd \"name\"".into(),
            arrow: Arc::new(Schema::new(fields)),
            comment: Some("calls".into()),
            primary_key: vec!["eta".into()],
            foreign_keys: vec![ForeignKey {
                columns: vec!["loa".into()],
                to_schema: "ops".into(),
                to_table: "berth".into(),
                to_columns: vec!["id".into()],
            }],
            row_estimate: Some(u64::MAX),
            kind: TableKind::View,
        })
    }

    #[test]
    fn what_was_written_comes_back_and_anything_else_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let snapshots = SchemaSnapshots::new(folder.path().join("sources"));
        let ops = SourceName::try_new("ops").unwrap();
        assert!(snapshots.read(&ops, SourceKind::Mysql).is_none());
        let at = DateTime::from_timestamp(1_700_000_000, 123_000).unwrap();
        let proofs = KeptProofs {
            fingerprint: "10.11".into(),
            probes: "ab".into(),
            at,
            answers: [("Order".to_owned(), None), ("Sum".to_owned(), Some("1 instead of 2".to_owned()))]
                .into(),
        };
        let audit =
            Audited { construct: "text = ?".into(), sample: "2 rows, not the same ones".into(), since: at };
        let trust = Trust { proofs: Some(proofs), audits: vec![audit] };
        let written = Snapshot { at, tables: vec![table()], trust: trust.clone() };
        snapshots.write(&ops, SourceKind::Mysql, &written).unwrap();
        let back = snapshots.read(&ops, SourceKind::Mysql).unwrap();
        assert_eq!((back.at, back.tables, back.trust), (at, vec![table()], trust));
        assert!(snapshots.read(&ops, SourceKind::Postgres).is_none(), "another kind");

        let path = folder.path().join("sources/ops.json");
        let whole = fs::read(&path).unwrap();
        let text = String::from_utf8(whole.clone()).unwrap();
        let cut = whole[..whole.len() / 2].to_vec();
        for damaged in [vec![], cut, text.replace("calls", "cells").into_bytes(), b"{\"layout\":1}".to_vec()]
        {
            fs::write(&path, damaged).unwrap();
            assert!(snapshots.read(&ops, SourceKind::Mysql).is_none());
        }
        let empty = Snapshot { tables: vec![], ..written };
        snapshots.write(&ops, SourceKind::Mysql, &empty).unwrap();
        assert!(snapshots.read(&ops, SourceKind::Mysql).unwrap().tables.is_empty());
        assert_eq!(fs::read_dir(folder.path().join("sources")).unwrap().count(), 1, "no file is left behind");

        // What another version's rules were found to do says nothing of ours, nor is an older layout read.
        let ours: Sealed = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let mended = format!("\"portolan\":\"{VERSION}\"");
        assert!(ours.content.contains(&mended));
        let content = ours.content.replace(&mended, "\"portolan\":\"0.0.0\"");
        let reseal = |layout| {
            let content = content.clone();
            let sealed = Sealed { layout, sha256: digest(&content), content };
            fs::write(&path, serde_json::to_vec(&sealed).unwrap()).unwrap();
            snapshots.read(&ops, SourceKind::Mysql)
        };
        let trust = reseal(LAYOUT).unwrap().trust;
        assert!(trust.audits.is_empty() && trust.proofs.is_some());
        assert!(reseal(LAYOUT - 1).is_none());
    }
}
