//! Every dependency's licence against the list in `deny.toml`, so that the rule holds where `cargo deny` is not there.
//!
//! Only what cargo says in its metadata is read; texts of licences are `cargo deny`'s work. An expression that this
//! small reader does not understand counts as refused.

use std::fs;

use cargo_metadata::MetadataCommand;

/// Packages that name a file instead of a licence, and the licence in it, as somebody read it.
const UNSTATED: [(&str, &str); 1] = [("saffron", "BSD-3-Clause")];

/// What `deny.toml` lets in: for everybody, and for one package.
#[derive(Debug, Default, PartialEq)]
struct Allowed {
    all: Vec<String>,
    exceptions: Vec<(String, String)>,
}

/// Reads the two lists of the section `[licenses]`, as that file is laid out: one entry a line.
fn allowed(deny: &str) -> Allowed {
    let mut found = Allowed::default();
    let mut list = "";
    for line in deny.lines().map(str::trim) {
        match line {
            "allow = [" => list = "allow",
            "exceptions = [" => list = "exceptions",
            "]" => list = "",
            _ => {
                let names: Vec<String> = line.split('"').skip(1).step_by(2).map(str::to_owned).collect();
                match (list, names.as_slice()) {
                    ("allow", [licence]) => found.all.push(licence.clone()),
                    ("exceptions", [package, licence]) => {
                        found.exceptions.push((package.clone(), licence.clone()));
                    }
                    _ => {}
                }
            }
        }
    }
    found
}

impl Allowed {
    fn licence(&self, package: &str, licence: &str) -> bool {
        self.all.iter().any(|all| all == licence)
            || self.exceptions.iter().any(|(name, excepted)| name == package && excepted == licence)
    }

    /// Whether an SPDX expression can be met; `/` is the old spelling of OR.
    fn meets(&self, package: &str, expression: &str) -> bool {
        let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
        let words: Vec<&str> = spaced.split_whitespace().collect();
        let mut at = 0;
        let met = self.any(package, &words, &mut at);
        met && at == words.len()
    }

    fn any(&self, package: &str, words: &[&str], at: &mut usize) -> bool {
        let mut met = self.every(package, words, at);
        while words.get(*at) == Some(&"OR") {
            *at += 1;
            met |= self.every(package, words, at);
        }
        met
    }

    fn every(&self, package: &str, words: &[&str], at: &mut usize) -> bool {
        let mut met = self.one(package, words, at);
        while words.get(*at) == Some(&"AND") {
            *at += 1;
            met &= self.one(package, words, at);
        }
        met
    }

    fn one(&self, package: &str, words: &[&str], at: &mut usize) -> bool {
        let Some(word) = words.get(*at) else { return false };
        *at += 1;
        if *word == "(" {
            let met = self.any(package, words, at);
            let closed = words.get(*at) == Some(&")");
            *at += 1;
            return met && closed;
        }
        if words.get(*at) == Some(&"WITH") {
            let exception = words.get(*at + 1).copied().unwrap_or_default();
            *at += 2;
            return self.licence(package, &format!("{word} WITH {exception}"));
        }
        self.licence(package, word)
    }
}

fn ours() -> Allowed {
    allowed(&fs::read_to_string(super::root().join("deny.toml")).expect("read deny.toml"))
}

#[test]
fn every_dependency_has_an_allowed_licence() {
    let allowed = ours();
    assert!(allowed.all.len() > 5 && !allowed.exceptions.is_empty(), "nothing was read: {allowed:?}");
    let metadata = MetadataCommand::new()
        .manifest_path(super::root().join("Cargo.toml"))
        .other_options(["--locked", "--filter-platform", "x86_64-unknown-linux-gnu"].map(str::to_owned))
        .exec()
        .expect("cargo metadata");
    assert!(metadata.packages.len() > 300, "only {} packages were read", metadata.packages.len());
    let mut refused = Vec::new();
    for package in &metadata.packages {
        let name: &str = package.name.as_ref();
        let stated = package.license.as_deref();
        let licence =
            stated.or_else(|| UNSTATED.iter().find(|(unstated, _)| *unstated == name).map(|(_, read)| *read));
        match licence {
            Some(licence) if allowed.meets(name, licence) => {}
            Some(licence) => refused.push(format!("{name} {}: {licence}", package.version)),
            None => refused.push(format!("{name} {} names no licence", package.version)),
        }
    }
    assert!(refused.is_empty(), "deny.toml does not allow:\n{}", refused.join("\n"));
}

#[test]
fn expressions_are_read_as_spdx_means_them() {
    let allowed = Allowed {
        all: ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned).to_vec(),
        exceptions: vec![("data".to_owned(), "MPL-2.0".to_owned())],
    };
    for (expression, meets) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0/MIT", true),
        ("MIT AND GPL-3.0", false),
        ("MIT AND (GPL-3.0 OR ISC)", true),
        ("(MIT OR GPL-3.0) AND GPL-3.0", false),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("Apache-2.0", false),
        ("MPL-2.0", false),
        ("(MIT", false),
        ("MIT ISC", false),
        ("", false),
    ] {
        assert_eq!(allowed.meets("code", expression), meets, "{expression}");
    }
    assert!(allowed.meets("data", "MPL-2.0"));
}
