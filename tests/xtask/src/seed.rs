//! `cargo x seed`: the simulated port in the servers that `cargo x up` started, and a port's file that reads them.
//!
//! The file is `deploy/portolan.yaml` with the servers' addresses and passwords in place of its own. What is not found
//! there to be replaced is an error: a file that still named another server would fill that one.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::servers::{self, Choice};

/// The broker that the shipped file names.
const BROKER: &str = "127.0.0.1:9092";

/// What is simulated.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Plan {
    /// Months to simulate, up to --until
    #[arg(long, default_value_t = 12)]
    months: u32,
    /// End of the simulation, UTC; the present hour by default
    #[arg(long)]
    until: Option<String>,
    /// Seed of the simulation
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Starts the servers, writes the port's file and fills the stores it names.
///
/// # Errors
/// A server that is not up, or a store that holds something else.
pub(crate) fn seed(root: &Path, plan: &Plan, run: &dyn Fn(&[&str]) -> Result<()>) -> Result<()> {
    servers::up(&Choice::default(), None)?;
    let urls = servers::urls(&Choice::default())?;
    let url = |kind: &str| {
        let found = urls.iter().find(|(name, _)| *name == kind);
        found.map(|(_, url)| url.as_str()).with_context(|| format!("find the URL of {kind}"))
    };
    let folder = servers::home(&Choice::default())?;
    let shipped = root.join("deploy/portolan.yaml");
    let text = fs::read_to_string(&shipped).with_context(|| format!("read {}", shipped.display()))?;
    let (postgres, mysql) = (Url::read(url("postgres")?)?, Url::read(url("mysql")?)?);
    for (name, password) in [("postgres", postgres.password), ("mysql", mysql.password), ("demo", "demo")] {
        servers::write_secret(&folder.join(format!("{name}.password")), password)?;
    }
    let mongodb = Mongodb::read(url("mongodb")?)?;
    if let Some((_, password)) = mongodb.account {
        servers::write_secret(&folder.join("mongodb.password"), password)?;
    }
    let mut file = text;
    for (from, to) in [
        ("pipelines: ../ingest".to_owned(), format!("pipelines: {}/ingest", root.display())),
        ("kpis: ../kpis".to_owned(), format!("kpis: {}/kpis", root.display())),
        (
            "host: 127.0.0.1, port: 5432".to_owned(),
            format!("host: {}, port: {}", postgres.host, postgres.port),
        ),
        ("user: portolan, password: {env: POSTGRES_PASSWORD}".to_owned(), account(&postgres, "postgres")),
        ("host: 127.0.0.1, port: 3306".to_owned(), format!("host: {}, port: {}", mysql.host, mysql.port)),
        ("user: portolan, password: {env: MARIADB_PASSWORD}".to_owned(), account(&mysql, "mysql")),
        ("127.0.0.1:27017".to_owned(), mongodb.hosts.to_owned()),
        ("      user: portolan\n      password: {env: MONGODB_PASSWORD}\n".to_owned(), mongodb.lines()),
        (BROKER.to_owned(), url("kafka")?.to_owned()),
        ("hdfs://127.0.0.1:8020".to_owned(), url("hdfs")?.to_owned()),
        ("{env: PORTOLAN_PASSWORD}".to_owned(), "{file: demo.password}".to_owned()),
        ("name: dakar\n".to_owned(), format!("name: dakar\ndata_dir: {}/dakar\n", folder.display())),
    ] {
        // Positions and movements are two sources of one cluster.
        let times = if from == BROKER { 2 } else { 1 };
        if file.matches(&from).count() != times {
            bail!("{} does not have \"{}\" {times} times", shipped.display(), from.trim());
        }
        file = file.replace(&from, &to);
    }
    servers::make_database("warehouse", url("postgres")?)?;
    let made = folder.join("portolan.yaml");
    fs::write(&made, file).with_context(|| format!("write {}", made.display()))?;
    let made = made.to_string_lossy();
    let (months, seed) = (plan.months.to_string(), plan.seed.to_string());
    let mut line = vec!["run", "--locked", "--package", "portolan", "--bin", "portolan", "--", "simulate"];
    line.extend(["--to", &made, "--months", &months, "--seed", &seed]);
    if let Some(until) = &plan.until {
        line.extend(["--until", until]);
    }
    run(&line)?;
    let next = format!(
        "\nfilled; its weather API is served by the first of these, beside which the others run:\n  \
         portolan {} --weather 127.0.0.1:8081\n  portolan ingest run --config {made}\n  portolan serve --config {made}",
        line.get(7..).unwrap_or_default().join(" ")
    );
    writeln!(std::io::stderr(), "{next}").context("write to stderr")
}

fn account(url: &Url<'_>, name: &str) -> String {
    format!("user: {}, password: {{file: {name}.password}}", url.user)
}

/// A database's URL in parts.
struct Url<'a> {
    user: &'a str,
    password: &'a str,
    host: &'a str,
    port: &'a str,
}

impl<'a> Url<'a> {
    fn read(url: &'a str) -> Result<Self> {
        let parts = || {
            let (_, rest) = url.split_once("://")?;
            let (account, place) = rest.split_once('@')?;
            let (user, password) = account.split_once(':')?;
            let (host, port) = place.split('/').next()?.split_once(':')?;
            Some(Self { user, password, host, port })
        };
        parts().context("read the URL of a database: it is not kind://user:password@host:port")
    }
}

/// The URL of a MongoDB in parts.
struct Mongodb<'a> {
    account: Option<(&'a str, &'a str)>,
    hosts: &'a str,
    set: Option<&'a str>,
}

impl<'a> Mongodb<'a> {
    fn read(url: &'a str) -> Result<Self> {
        let parts = || {
            let (place, options) = url.strip_prefix("mongodb://")?.split_once("/?")?;
            let (account, hosts) = match place.rsplit_once('@') {
                Some((account, hosts)) => (Some(account.split_once(':')?), hosts),
                None => (None, place),
            };
            let set = options.split('&').find_map(|option| option.strip_prefix("replicaSet="));
            Some(Self { account, hosts, set })
        };
        parts().context("read the URL of mongodb: it is not mongodb://[user:password@]host:port/?options")
    }

    /// Account and replica set as lines of the port's file.
    fn lines(&self) -> String {
        let mut lines = String::new();
        if let Some((user, _)) = self.account {
            lines.push_str(&format!("      user: {user}\n      password: {{file: mongodb.password}}\n"));
        }
        if let Some(set) = self.set {
            lines.push_str(&format!("      replica_set: {set}\n"));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mongodb_may_have_an_account_or_a_replica_set() {
        let told = Mongodb::read("mongodb://127.0.0.1:1/?replicaSet=rs&directConnection=true").unwrap();
        assert_eq!((told.hosts, told.lines().as_str()), ("127.0.0.1:1", "      replica_set: rs\n"));
        let told = Mongodb::read("mongodb://portolan:secret@127.0.0.1:27017/?authSource=admin").unwrap();
        assert_eq!(told.hosts, "127.0.0.1:27017");
        assert_eq!(told.lines(), "      user: portolan\n      password: {file: mongodb.password}\n");
        assert!(Mongodb::read("mongodb://127.0.0.1:1").is_err());
    }

    #[test]
    fn a_url_without_an_account_is_refused() {
        let url = Url::read("postgres://portolan:secret@127.0.0.1:23300/postgres").unwrap();
        assert_eq!(
            (url.user, url.password, url.host, url.port),
            ("portolan", "secret", "127.0.0.1", "23300")
        );
        assert!(Url::read("postgres://127.0.0.1:23300/postgres").is_err());
    }
}
