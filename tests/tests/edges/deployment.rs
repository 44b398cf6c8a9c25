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
    let tag = service["image"].as_str().and_then(|image| image.rsplit_once(':')).map(|(_, tag)| tag);
    want(tag.is_some_and(|tag| tag.contains('.') && !tag.contains("latest")), "has no pinned version");
    want(service["healthcheck"]["test"].is_array(), "has no health check");
    let limits = &service["deploy"]["resources"]["limits"];
    want(limits["cpus"].is_string() && limits["memory"].is_string(), "has no limits");
    let published = service["ports"].as_array().cloned().unwrap_or_default();
    want(
        published.iter().all(|port| port.as_str().is_some_and(|port| port.starts_with("127.0.0.1:"))),
        "publishes a port beyond loopback",
    );
    let environment = service["environment"].as_object().cloned().unwrap_or_default();
    for (variable, value) in environment.iter().filter(|(variable, _)| variable.ends_with("PASSWORD")) {
        let given = value.as_str().is_some_and(|value| value.starts_with("${") && value.contains(":?"));
        want(given, &format!("has a default for {variable}"));
    }
    for mount in service["volumes"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let source = mount.split(':').next().unwrap_or_default();
        want(source.starts_with("./") || volumes.contains_key(source), "mounts an undeclared volume");
    }
    found
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
fn what_the_compose_file_mounts_is_there() {
    for file in [
        "grafana/provisioning/datasources/portolan.yaml",
        "grafana/dashboards/port.json",
        "deploy/Dockerfile",
    ] {
        assert!(super::root().join(file).is_file(), "{file}");
    }
}
