//! System tables as their readers see them.

use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use portolan_catalog::Catalog;
use portolan_catalog::config::{OpenContext, SourcesConfig};
use portolan_catalog::source::COMMENT_KEY;

use super::{SystemTable, SystemTables, kpis, pushdown, sources};
use crate::session::Identity;

fn viewer() -> Identity {
    Identity { user: "demo".into(), pid: 1, protocol: "internal" }
}

/// A column's values as text, NULL as an empty text.
fn column(batch: &RecordBatch, name: &str) -> Vec<String> {
    let formatter =
        ArrayFormatter::try_new(batch.column_by_name(name).unwrap(), &FormatOptions::new()).unwrap();
    (0..batch.num_rows()).map(|row| formatter.value(row).to_string()).collect()
}

/// A source of files that are there, and a server at a port where nobody listens.
fn catalog(folder: &Path) -> Arc<Catalog> {
    std::fs::write(folder.join("a.csv"), "n\n1\n").unwrap();
    let text = format!(
        "docs:\n  files:\n    root: {}\n    tables:\n      t:\n        path: '*.csv'\n        format: {{csv: {{}}}}\n        \
         columns: [{{ name: n, from: n, type: bigint }}]\nops:\n  postgres: {{ host: 127.0.0.1, port: 1, database: x, user: u }}\n",
        folder.display()
    );
    let config: SourcesConfig = portolan_catalog::yaml::parse(Path::new("portolan.yaml"), &text).unwrap();
    Catalog::open(&config, &OpenContext::default()).unwrap()
}

#[tokio::test]
async fn a_source_that_is_down_says_why_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = catalog(folder.path());
    let table = sources(Arc::clone(&catalog));
    let rows = table.rows(&viewer()).await.unwrap();
    assert_eq!(column(&rows, "name"), ["docs", "ops"]);
    assert_eq!(column(&rows, "kind"), ["files", "postgres"]);
    assert_eq!(column(&rows, "state"), ["unknown", "unknown"]);
    assert_eq!(column(&rows, "hint"), ["", ""]);

    catalog.check_all().await;
    let rows = table.rows(&viewer()).await.unwrap();
    assert_eq!(rows.schema(), table.schema());
    assert_eq!(column(&rows, "state"), ["up", "down"]);
    let (errors, hints) = (column(&rows, "last_error"), column(&rows, "hint"));
    assert!(errors[0].is_empty() && errors[1].contains("unreachable"), "{errors:?}");
    assert!(hints[0].is_empty() && hints[1].contains("ops"), "{hints:?}");
    let last_ok = column(&rows, "last_ok");
    assert!(!last_ok[0].is_empty() && last_ok[1].is_empty(), "{last_ok:?}");
    // What a kind of store does not have is not zero.
    for (name, told) in [
        ("slots", ["", "4"]),
        ("slots_used", ["", "0"]),
        ("queued", ["", "0"]),
        ("rows", ["0", "0"]),
        ("bytes", ["0", "0"]),
        ("kills_verified", ["", "0"]),
        ("kills_failed", ["", "0"]),
    ] {
        assert_eq!(column(&rows, name), told, "{name}");
    }
}

#[tokio::test]
async fn kpis_are_listed_with_their_definitions() {
    let text = include_str!("../../../kpis/port_calls.yaml");
    let loaded = portolan_semantic::load(&[("port_calls.yaml".into(), text.to_owned())]);
    let semantics = portolan_semantic::Semantics::new(loaded.model, Arc::new(NoTables));
    let table = kpis(&semantics);
    let rows = table.rows(&viewer()).await.unwrap();
    assert_eq!(rows.schema(), table.schema());
    assert!(rows.num_rows() > 5);
    let roles = column(&rows, "role");
    assert!(roles.contains(&"measure".to_owned()) && roles.contains(&"dimension".to_owned()), "{roles:?}");
    assert!(column(&rows, "owner").iter().all(|owner| !owner.is_empty()));
}

#[derive(Debug)]
struct NoTables;

#[async_trait::async_trait]
impl portolan_semantic::TableResolver for NoTables {
    async fn table(&self, _schema: &str, _name: &str) -> Option<Arc<dyn datafusion::catalog::TableProvider>> {
        None
    }
}

#[test]
fn every_table_and_column_is_described() {
    let folder = tempfile::tempdir().unwrap();
    let further: Vec<Arc<dyn SystemTable>> = vec![sources(catalog(folder.path()))];
    let defined = SystemTables::new(further, Arc::default(), Arc::default()).definitions();
    let names: Vec<&str> = defined.iter().map(|table| table.name.as_str()).collect();
    assert_eq!(names, ["sources", "fragments", "queries", "answers", "settings"]);
    for table in defined {
        assert_eq!(table.schema, "system");
        assert!(table.comment.is_some(), "{}", table.name);
        for field in table.arrow.fields() {
            assert!(field.metadata().contains_key(COMMENT_KEY), "{}.{}", table.name, field.name());
        }
    }
}

#[tokio::test]
async fn a_server_that_was_never_reached_has_proved_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let table = pushdown(catalog(folder.path()));
    let rows = table.rows(&viewer()).await.unwrap();
    assert_eq!(rows.schema(), table.schema());
    let [evidence, active, verdict, proven] =
        ["evidence", "active", "verdict", "proven_at"].map(|name| column(&rows, name));
    assert!(rows.num_rows() > 10 && column(&rows, "source").iter().all(|source| source == "ops"));
    for row in 0..rows.num_rows() {
        let probed = evidence[row] == "probe";
        assert_eq!(active[row] == "true", !probed, "row {row}");
        assert!(!probed || verdict[row] == "keep" && proven[row].is_empty(), "row {row}");
    }
}
