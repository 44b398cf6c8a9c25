//! The house rules that can be read off the tree: who may depend on whom, how long a file may be, and that a
//! module says what it is.
//!
//! The rules are data, and the judges are pure functions, so that a second test can show that each judge fails for
//! an added edge or a file that grew. `unwrap`, `expect` and `panic!` are left to clippy, which knows code from text.

#![expect(clippy::expect_used, reason = "every function of this file is a test or its reader")]

#[path = "edges/deployment.rs"]
mod deployment;
#[path = "edges/licences.rs"]
mod licences;
#[path = "edges/traps.rs"]
mod traps;

use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// Each of our crates, and those it may depend on.
const DIRECTIONS: [(&str, &[&str]); 7] = [
    ("portolan", &["portolan-catalog", "portolan-semantic", "portolan-ingest", "portolan-simulator"]),
    ("portolan-catalog", &[]),
    ("portolan-semantic", &[]),
    ("portolan-ingest", &["portolan-catalog"]),
    ("portolan-simulator", &["portolan-catalog"]),
    (
        "portolan-tests",
        &["portolan", "portolan-catalog", "portolan-semantic", "portolan-ingest", "portolan-simulator"],
    ),
    ("x", &[]),
];

/// What speaks to a store: only the catalog does.
const DRIVERS: [&str; 8] = [
    "mysql_async",
    "mongodb",
    "rdkafka",
    "hdfs-native",
    "hdfs-native-object-store",
    "tokio-postgres",
    "sqlx",
    "pglite-oxide",
];

/// Lines a file may have. There is no list of exceptions: a file that needs more has two ideas in it.
const LINES: usize = 500;

/// A dependency as one crate's manifest states it.
#[derive(Debug, Clone)]
struct Edge {
    from: String,
    to: String,
    development: bool,
}

fn edge(from: &str, to: &str, development: bool) -> Edge {
    Edge { from: from.to_owned(), to: to.to_owned(), development }
}

/// What is wrong with these edges, one sentence each.
fn offences(edges: &[Edge]) -> Vec<String> {
    let mut found = Vec::new();
    for Edge { from, to, development } in edges {
        let Some((_, allowed)) = DIRECTIONS.iter().find(|(name, _)| name == from) else {
            found.push(format!("\"{from}\" has no row in DIRECTIONS"));
            continue;
        };
        let ours = DIRECTIONS.iter().any(|(name, _)| name == to);
        if ours && !allowed.contains(&to.as_str()) {
            found.push(format!("\"{from}\" must not depend on \"{to}\""));
        }
        if DRIVERS.contains(&to.as_str()) && !may_drive(from, *development) {
            found.push(format!("\"{from}\" must not depend on the driver \"{to}\""));
        }
    }
    found
}

/// The catalog reaches the stores; tests may, to compare; the gateway's tests are a client of its own wire.
fn may_drive(from: &str, development: bool) -> bool {
    match from {
        "portolan-catalog" | "portolan-tests" => true,
        "portolan" => development,
        _ => false,
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests crate is one folder below the root")
        .to_owned()
}

fn edges() -> Vec<Edge> {
    let metadata = MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo metadata");
    let mut edges = Vec::new();
    for package in &metadata.packages {
        for dependency in &package.dependencies {
            let development = dependency.kind == DependencyKind::Development;
            edges.push(edge(package.name.as_ref(), &dependency.name, development));
        }
    }
    edges
}

/// Every Rust file of our crates, with `/` in its name on every system, in order.
fn files() -> Vec<(String, String)> {
    let root = root();
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = ["catalog", "gateway", "ingest", "semantic", "simulator", "tests"]
        .iter()
        .map(|name| root.join(name))
        .collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("read a folder of the workspace") {
            let path = entry.expect("read an entry").path();
            if path.is_dir() {
                if path.file_name().is_some_and(|name| name != "target") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name =
                    path.strip_prefix(&root).expect("inside the root").to_string_lossy().replace('\\', "/");
                found.push((name, fs::read_to_string(&path).expect("read a source file")));
            }
        }
    }
    found.sort();
    found
}

/// Files over their length, one sentence each.
fn too_long(files: &[(String, String)]) -> Vec<String> {
    let mut found = Vec::new();
    for (name, text) in files {
        let lines = text.lines().count();
        if lines > LINES {
            found.push(format!("{name} has {lines} lines, {LINES} are allowed: split it"));
        }
    }
    found
}

/// Modules below `src` without a header. A module of tests is named by the module it tests.
fn without_header(files: &[(String, String)]) -> Vec<String> {
    let mut found = Vec::new();
    for (name, text) in files {
        let is_source = name.split('/').any(|part| part == "src");
        let is_tests = name.ends_with("tests.rs") || name.contains("/src/") && name.contains("/tests/");
        if is_source && !is_tests && !text.starts_with("//!") {
            found.push(format!("{name} does not begin with \"//!\""));
        }
    }
    found
}

#[test]
fn crates_depend_only_in_the_drawn_direction() {
    let edges = edges();
    assert!(
        edges.iter().any(|edge| edge.from == "portolan" && edge.to == "portolan-catalog"),
        "nothing was read"
    );
    assert_eq!(offences(&edges), Vec::<String>::new());
}

#[test]
fn an_added_edge_is_named() {
    let cases = [
        (
            edge("portolan-semantic", "portolan-catalog", false),
            "\"portolan-semantic\" must not depend on \"portolan-catalog\"",
        ),
        (
            edge("portolan-catalog", "portolan-tests", true),
            "\"portolan-catalog\" must not depend on \"portolan-tests\"",
        ),
        (
            edge("portolan-ingest", "mysql_async", false),
            "\"portolan-ingest\" must not depend on the driver \"mysql_async\"",
        ),
        (
            edge("portolan", "tokio-postgres", false),
            "\"portolan\" must not depend on the driver \"tokio-postgres\"",
        ),
        (edge("portolan-new", "serde", false), "\"portolan-new\" has no row in DIRECTIONS"),
    ];
    for (added, sentence) in cases {
        assert_eq!(offences(&[added]), [sentence]);
    }
    assert!(offences(&[edge("portolan", "tokio-postgres", true)]).is_empty());
}

#[test]
fn no_file_is_longer_than_allowed() {
    assert_eq!(too_long(&files()), Vec::<String>::new());
}

#[test]
fn every_module_says_what_it_is() {
    assert_eq!(without_header(&files()), Vec::<String>::new());
}

#[test]
fn a_long_file_and_a_bare_module_are_named() {
    let long = ("gateway/src/new.rs".to_owned(), "use a;\n".repeat(LINES + 1));
    assert_eq!(
        too_long(std::slice::from_ref(&long)),
        ["gateway/src/new.rs has 501 lines, 500 are allowed: split it"]
    );
    assert_eq!(without_header(&[long]), ["gateway/src/new.rs does not begin with \"//!\""]);
}
