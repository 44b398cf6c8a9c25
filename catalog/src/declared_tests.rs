use std::collections::HashMap;

use async_trait::async_trait;

use super::*;
use crate::Catalog;
use crate::asof::SourceVersion;
use crate::federation::FragmentExecutor;
use crate::federation::testing::{Manner, MemorySource};
use crate::snapshot::SchemaSnapshots;
use crate::source::{ForeignKey, Health, Source, SourceKind, TableKind};

/// Numbers may be decimals, and nothing else anything.
const RETYPING: Retyping = Retyping {
    field: |field, declared| match declared {
        DeclaredType::Numeric(precision, scale) if *field.data_type() == DataType::Int64 => {
            let metadata = HashMap::from([(DECLARED_KEY.to_owned(), declared.to_string())]);
            let decimal = DeclaredType::decimal(precision, scale);
            Some(Field::new(field.name(), decimal, field.is_nullable()).with_metadata(metadata))
        }
        _ => None,
    },
    accepts: "numbers may be numeric(p,s)",
};

fn table(name: &str, columns: &[&str], to: Option<&str>) -> Arc<TableDef> {
    let fields: Vec<Field> = columns.iter().map(|name| Field::new(*name, DataType::Int64, true)).collect();
    let key = |to: &str| ForeignKey {
        columns: vec![columns[0].to_owned()],
        to_schema: "ops".into(),
        to_table: to.to_owned(),
        to_columns: vec!["id".into()],
    };
    Arc::new(TableDef {
        schema: "ops".into(),
        name: name.into(),
        arrow: Arc::new(Schema::new(fields)),
        comment: None,
        primary_key: vec![],
        foreign_keys: to.map(key).into_iter().collect(),
        row_estimate: None,
        kind: TableKind::Table,
    })
}

fn port() -> Vec<Arc<TableDef>> {
    vec![
        table("berth", &["id", "depth"], None),
        table("cargo", &["id", "weight"], Some("tmp_load")),
        table("tmp_load", &["id"], Some("berth")),
        table("a.b", &["c"], None),
        table("a", &["b.c", "d.e"], None),
    ]
}

fn declarations(tables: &str, columns: &str) -> Declarations {
    let source = SourceName::try_new("ops").unwrap();
    let (tables, columns) = (serde_json::from_str(tables).unwrap(), serde_json::from_str(columns).unwrap());
    Declarations::new(source, tables, columns, RETYPING)
}

fn names(tables: &[Arc<TableDef>]) -> Vec<&str> {
    tables.iter().map(|table| table.name.as_str()).collect()
}

#[test]
fn types_are_read_as_they_are_written() {
    for (text, expected) in [
        ("numeric(38,20)", Some("numeric(38,20)")),
        (" DECIMAL ( 76 , 0 ) ", Some("numeric(76,0)")),
        ("numeric(5)", Some("numeric(5,0)")),
        ("Boolean", Some("bool")),
        ("text", Some("text")),
        ("jsonb", Some("jsonb")),
        ("numeric", None),
        ("numeric(77,2)", None),
        ("numeric(76,38)", None),
        ("numeric(0,0)", None),
        ("numeric(2,3)", None),
        ("numeric(4,-1)", None),
        ("numeric(4,2", None),
        ("int4", None),
    ] {
        let read = DeclaredType::try_from(text.to_owned());
        assert_eq!(read.as_ref().ok().map(ToString::to_string).as_deref(), expected, "{text}");
        if let Err(error) = read {
            assert!(
                error.contains("known are numeric(p,s) of up to 76 digits, bool, text and jsonb"),
                "{error}"
            );
        }
    }
    let numeric = DeclaredType::Numeric(38, 20);
    assert_eq!(numeric.line("cargo", "weight"), "columns: {cargo.weight: \"numeric(38,20)\"}");
    assert_eq!(numeric.line("car go", "w"), "columns: {\"car go.w\": \"numeric(38,20)\"}");
}

#[test]
fn globs_choose_the_tables_and_keys_to_the_others_go() {
    for (patterns, shown, told) in [
        ("{}", vec!["berth", "cargo", "tmp_load", "a.b", "a"], vec![]),
        (r#"{"exclude": ["tmp_*"]}"#, vec!["berth", "cargo", "a.b", "a"], vec![]),
        (
            r#"{"exclude": ["old_*", "gone"]}"#,
            vec!["berth", "cargo", "tmp_load", "a.b", "a"],
            vec!["\"gone\" of tables.exclude names no table"],
        ),
        (
            r#"{"include": ["?argo", "BERTH"]}"#,
            vec!["cargo"],
            vec!["\"BERTH\" of tables.include names no table"],
        ),
        (r#"{"include": ["*"], "exclude": ["a*", "?erth"]}"#, vec!["cargo", "tmp_load"], vec![]),
    ] {
        let declared = declarations(patterns, "{}");
        let tables = declared.apply(port());
        assert_eq!(names(&tables), shown, "{patterns}");
        assert_eq!(declared.told(), told, "{patterns}");
        for table in &tables {
            let known = |key: &ForeignKey| tables.iter().any(|table| table.name == key.to_table);
            assert!(table.foreign_keys.iter().all(known), "{patterns}: {table:?}");
        }
        assert!(declared.refused("tmp_load").is_none(), "what is excluded is as if it were not there");
    }
}

#[test]
fn a_declared_column_has_its_type_and_the_list_it_came_from_keeps_its_own() {
    let told = port();
    let declared = declarations("{}", r#"{"cargo.weight": "numeric(38,6)", "a.d.e": "numeric(50,6)"}"#);
    let tables = declared.apply(told.clone());
    let column = |tables: &[Arc<TableDef>], table: usize, column: usize| {
        let field = tables[table].arrow.field(column);
        (field.data_type().clone(), DeclaredType::of(field))
    };
    let narrow = (DataType::Decimal128(38, 6), Some(DeclaredType::Numeric(38, 6)));
    assert_eq!(column(&tables, 1, 1), narrow);
    assert_eq!(column(&tables, 4, 1).0, DataType::Decimal256(50, 6), "a name may have a dot");
    assert_eq!(column(&tables, 1, 0), (DataType::Int64, None));
    assert_eq!(told, port());
    assert!(declared.told().is_empty(), "{:?}", declared.told());
}

#[test]
fn what_cannot_be_kept_is_an_error_of_its_table_and_what_names_nothing_is_told() {
    let lines = r#"{"berth.depth": "bool", "cargo.mass": "text", "tmp_load.id": "numeric(4,2)",
                    "nowhere.c": "bool", "a.b.c": "numeric(4,2)"}"#;
    let declared = declarations(r#"{"exclude": ["tmp_*"]}"#, lines);
    assert_eq!(names(&declared.apply(port())), ["cargo"]);
    let error = declared.refused("berth").unwrap();
    assert_eq!((error.kind, error.source_name.unwrap().as_str()), (SourceErrorKind::Unsupported, "ops"));
    assert_eq!(error.message, "column \"ops.berth.depth\" is Int64, which is not read as bool");
    let hint =
        "correct the line \"berth.depth: bool\" in columns of source \"ops\"; numbers may be numeric(p,s)";
    assert_eq!(error.hint.as_deref(), Some(hint));
    for table in ["a", "a.b"] {
        assert!(declared.refused(table).unwrap().message.contains("columns of several tables"), "{table}");
    }
    let told = declared.told().join("\n");
    for path in ["cargo.mass", "tmp_load.id", "nowhere.c"] {
        let expected = format!("\"{path}\" of columns names no column of a table that is shown");
        assert!(told.contains(&expected), "{told}");
    }
    // A server that has changed is looked at anew.
    let later = vec![table("cargo", &["mass"], None), table("tmp_load", &["id"], None)];
    assert!(declared.apply(later).is_empty());
    assert!(declared.refused("berth").is_none() && declared.refused("cargo").is_some());
}

/// A database server as a script: what it tells of its tables, or nothing while it is down.
#[derive(Debug)]
struct Server {
    name: SourceName,
    told: Option<Vec<Arc<TableDef>>>,
    declared: Declarations,
}

#[async_trait]
impl Source for Server {
    fn name(&self) -> &SourceName {
        &self.name
    }

    fn kind(&self) -> SourceKind {
        SourceKind::Postgres
    }

    async fn check(&self) -> Health {
        MemorySource::new(Manner::Good).check().await
    }

    async fn tables(&self) -> Result<Vec<Arc<TableDef>>, SourceError> {
        let down = || SourceError::new(SourceErrorKind::Unreachable, "source \"ops\" is unreachable");
        self.told.clone().ok_or_else(down)
    }

    fn shown(&self, told: Vec<Arc<TableDef>>) -> Vec<Arc<TableDef>> {
        self.declared.apply(told)
    }

    fn misdeclared(&self) -> Vec<String> {
        self.declared.told()
    }

    async fn obstacle(&self, _schema: &str, table: &str) -> Option<SourceError> {
        self.declared.refused(table)
    }

    async fn version(&self) -> Result<SourceVersion, SourceError> {
        Ok(SourceVersion::Batch(1))
    }

    fn executor(&self) -> Arc<dyn FragmentExecutor> {
        MemorySource::new(Manner::Good).executor()
    }
}

#[tokio::test]
async fn a_list_from_the_disk_serves_a_configuration_that_has_changed() {
    let folder = tempfile::tempdir().unwrap();
    let open = |up: bool, tables: &str, columns: &str| {
        let server = Server {
            name: SourceName::try_new("ops").unwrap(),
            told: up.then(port),
            declared: declarations(tables, columns),
        };
        Catalog::builder()
            .snapshots(SchemaSnapshots::new(folder.path()))
            .add(Arc::new(server))
            .build()
            .unwrap()
    };
    let weight = async |catalog: &Arc<Catalog>| {
        let (_, table) = catalog.find_table("ops", "cargo").await.unwrap().unwrap();
        table.arrow.field_with_name("weight").unwrap().data_type().clone()
    };
    let (hidden, declared) = (r#"{"exclude": ["tmp_*"]}"#, r#"{"cargo.weight": "numeric(38,6)"}"#);
    let catalog = open(true, hidden, declared);
    assert_eq!(catalog.tables().await.len(), 4);
    assert_eq!(weight(&catalog).await, DataType::Decimal128(38, 6));
    assert!(catalog.find_table("ops", "tmp_load").await.unwrap().is_none());

    // The server is down from now on, and the configuration is another one at each start.
    let catalog = open(false, "{}", "{}");
    assert_eq!(weight(&catalog).await, DataType::Int64);
    assert!(catalog.find_table("ops", "tmp_load").await.unwrap().is_some());
    assert_eq!(weight(&open(false, "{}", declared)).await, DataType::Decimal128(38, 6));
    let narrow = open(false, "{}", r#"{"cargo.weight": "numeric(4,2)"}"#);
    assert_eq!(weight(&narrow).await, DataType::Decimal128(4, 2));

    // What cannot be kept is told, and is no drift.
    let catalog = open(true, "{}", r#"{"cargo.weight": "bool", "cargo.mass": "bool"}"#);
    catalog.tables().await;
    let error = catalog.find_table("ops", "cargo").await.unwrap_err();
    assert!(error.message.contains("\"ops.cargo.weight\" is Int64"), "{}", error.message);
    let status = catalog.statuses().remove(0);
    assert_eq!((status.misdeclared.len(), status.drift, status.tables), (2, None, Some(4)));
}
