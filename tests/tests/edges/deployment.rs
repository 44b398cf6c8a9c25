//! What the compose file promises: every server pinned, watched, limited, on loopback, and without a default password.
//!
//! It reads the file and starts nothing.

use std::collections::BTreeMap;
use std::fs;

use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Deserialize)]
struct Compose {
    services: BTreeMap<String, Value>,
    volumes: BTreeMap<String, Value>,
}

/// What is wrong with a service, one sentence each.
fn offences(name: &str, service: &Value, volumes: &BTreeMap<String, Value>) -> Vec<String> {
    let mut found = Vec::new();
    let mut want = |holds: bool, what: &str| {
        if !holds {
            found.push(format!("service \"{name}\" {what}"));
        }
    };
    want(service["image"].as_str().is_some_and(pinned), "has no pinned version");
    want(service["healthcheck"]["test"].is_array(), "has no health check");
    let limits = &service["deploy"]["resources"]["limits"];
    want(limits["cpus"].is_string() && limits["memory"].is_string(), "has no limits");
    let published = service["ports"].as_array().cloned().unwrap_or_default();
    want(
        published.iter().all(|port| port.as_str().is_some_and(|port| port.starts_with("127.0.0.1:"))),
        "publishes a port beyond loopback",
    );
    for (variable, value) in environment(service).iter().filter(|(variable, _)| secret(variable)) {
        let given = value.starts_with("${") && value.contains(":?");
        want(given, &format!("has a default for {variable}"));
    }
    for mount in service["volumes"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let source = mount.split(':').next().unwrap_or_default();
        want(source.starts_with("./") || volumes.contains_key(source), "mounts an undeclared volume");
    }
    found
}

/// Variables and their values, in either spelling: a map, or a list of `NAME=value`. A name alone takes the value of
/// the shell, which may have none.
fn environment(service: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match &service["environment"] {
        Value::Object(map) => map.iter().map(|(name, value)| (name.clone(), text(value))).collect(),
        Value::Array(list) => list
            .iter()
            .map(text)
            .map(|entry| match entry.split_once('=') {
                Some((name, value)) => (name.to_owned(), value.to_owned()),
                None => (entry, String::new()),
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// Whether a variable holds a secret by its name. One that names a file with the secret does not.
fn secret(variable: &str) -> bool {
    let variable = variable.to_ascii_uppercase();
    !variable.ends_with("_FILE")
        && ["PASSWORD", "PASSWD", "SECRET", "TOKEN"].iter().any(|word| variable.contains(word))
}

/// Whether an image has an exact version: a digest, or a tag with a number of at least two parts.
fn pinned(image: &str) -> bool {
    if image.contains("@sha256:") {
        return true;
    }
    let tag = image.rsplit_once(':').map_or("", |(_, tag)| tag);
    let version: String = tag.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    version.split('.').filter(|part| !part.is_empty()).count() >= 2
}

fn compose() -> Compose {
    let text = fs::read_to_string(super::root().join("docker-compose.yml")).expect("read the compose file");
    serde_saphyr::from_str(&text).expect("parse the compose file")
}

#[test]
fn every_service_is_pinned_watched_limited_and_on_loopback() {
    let Compose { services, volumes } = compose();
    for name in ["postgres", "mariadb", "mongodb", "kafka", "namenode", "datanode", "portolan", "grafana"] {
        assert!(services.contains_key(name), "{name} is missing");
    }
    let found: Vec<String> =
        services.iter().flat_map(|(name, service)| offences(name, service, &volumes)).collect();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn a_careless_service_is_found_out() {
    let careless = serde_json::json!({
        "image": "postgres:latest", "ports": ["5432:5432"], "environment": {"POSTGRES_PASSWORD": "secret"},
        "volumes": ["data:/var/lib"],
    });
    assert_eq!(offences("postgres", &careless, &BTreeMap::new()).len(), 6);
}

#[test]
fn a_password_in_a_list_is_found_out_too() {
    let of = |entries: &[&str]| {
        let service = serde_json::json!({ "environment": entries });
        let found = offences("db", &service, &BTreeMap::new());
        found.into_iter().filter(|offence| offence.contains("default for")).count()
    };
    assert_eq!(of(&["POSTGRES_PASSWORD=secret", "TZ=UTC"]), 1);
    assert_eq!(of(&["MINIO_SECRET_KEY=${KEY:-minio}", "API_TOKEN"]), 2);
    assert_eq!(of(&["POSTGRES_PASSWORD=${POSTGRES_PASSWORD:?set it}", "POSTGRES_PASSWORD_FILE=/run/db"]), 0);
}

/// Digests would be better; they are not known to us, so the tags are as exact as tags can be.
#[test]
fn the_image_is_built_from_exact_versions() {
    let text = fs::read_to_string(super::root().join("deploy/Dockerfile")).expect("read the Dockerfile");
    let bases: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("FROM ")).collect();
    assert_eq!(bases.len(), 2, "{bases:?}");
    for base in bases {
        assert!(pinned(base.split(' ').next().unwrap_or_default()), "{base}");
    }
    assert!(!pinned("rust:1-bookworm") && !pinned("debian:bookworm-slim") && pinned("debian:12.12-slim"));
}

#[test]
fn what_the_compose_file_mounts_is_there() {
    for file in [
        "grafana/provisioning/datasources/portolan.yaml",
        "grafana/dashboards/port.json",
        "deploy/Dockerfile",
    ] {
        assert!(super::root().join(file).is_file(), "{file}");
    }
}
