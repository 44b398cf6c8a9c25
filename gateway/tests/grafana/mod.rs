//! The shipped dashboard's statements as Grafana sends them: its macros expanded, its variable filled.
//!
//! Only the macros the dashboard uses are known; any other stays in the text, and the gateway refuses it.

use serde_json::Value;

const DASHBOARD: &str = include_str!("../../../grafana/dashboards/port.json");

/// Title and statement of every panel, for the time range `[from, to]` and these terminals.
pub(crate) fn statements(from: &str, to: &str, terminals: &[String]) -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let listed: Vec<String> =
        terminals.iter().map(|name| format!("'{}'", name.replace('\'', "''"))).collect();
    let mut found = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let sql = target["rawSql"]
                .as_str()
                .unwrap()
                .replace("$__timeFilter(time)", &format!("time BETWEEN '{from}' AND '{to}'"))
                .replace(
                    "$__timeGroupAlias(time, '1w')",
                    "floor(extract(epoch from time)/604800)*604800 AS \"time\"",
                )
                .replace("${terminal:sqlstring}", &listed.join(","));
            found.push((panel["title"].as_str().unwrap().to_owned(), sql));
        }
    }
    found
}

/// The statement that fills the dashboard's variable.
pub(crate) fn variable() -> String {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    dashboard["templating"]["list"][0]["query"].as_str().unwrap().to_owned()
}
