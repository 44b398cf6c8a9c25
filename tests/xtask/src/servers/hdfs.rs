//! HDFS from Maven's jars: one NameNode and two DataNodes. Two, because with a single replica each closed file waits
//! half a second for the DataNode's report. Permissions are off: tests come as whoever they are.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use super::process::{self, Daemon};
use super::{Kind, Place, Server, install, places, probe};

const VERSION: &str = "3.5.0";

/// The third one is not among the dependencies of the second, which needs it to run.
const ARTIFACTS: [&str; 3] = [
    "org.apache.hadoop:hadoop-common:3.5.0",
    "org.apache.hadoop:hadoop-hdfs:3.5.0",
    "org.apache.hadoop:hadoop-hdfs-client:3.5.0",
];

const DATA_NODES: u16 = 2;

/// A DataNode that is silent for three seconds gets no new blocks, and is given up after sixteen. `0` committed
/// blocks: a closed file is readable as a whole at once.
const SETTINGS: [(&str, &str); 19] = [
    ("dfs.replication", "2"),
    ("dfs.permissions.enabled", "false"),
    ("dfs.namenode.acls.enabled", "true"),
    ("dfs.namenode.file.close.num-committed-allowed", "0"),
    ("dfs.datanode.synconclose", "true"),
    ("dfs.namenode.safemode.extension", "0"),
    ("dfs.namenode.resource.du.reserved", "0"),
    ("dfs.namenode.fs-limits.min-block-size", "4096"),
    ("dfs.namenode.datanode.registration.ip-hostname-check", "false"),
    ("dfs.heartbeat.interval", "1"),
    ("dfs.namenode.heartbeat.recheck-interval", "3000"),
    ("dfs.namenode.stale.datanode.interval", "3000"),
    ("dfs.namenode.avoid.write.stale.datanode", "true"),
    ("dfs.namenode.avoid.read.stale.datanode", "true"),
    ("dfs.namenode.checkpoint.period", "86400"),
    ("dfs.namenode.handler.count", "4"),
    ("dfs.datanode.handler.count", "2"),
    ("dfs.datanode.scan.period.hours", "-1"),
    ("dfs.datanode.hostname", "127.0.0.1"),
];

const LOGGING: &str = "log4j.rootLogger=INFO,Out
log4j.appender.Out=org.apache.log4j.ConsoleAppender
log4j.appender.Out.layout=org.apache.log4j.PatternLayout
log4j.appender.Out.layout.ConversionPattern=%d{ISO8601} %p %c{1}: %m%n
";

#[derive(Debug)]
pub(super) struct Hdfs;

impl Server for Hdfs {
    fn version(&self) -> &'static str {
        VERSION
    }

    fn install(&self, root: &Path) -> Result<PathBuf> {
        let what = format!("HDFS {VERSION} (Maven jars, 68 MB)");
        let key = format!("{}-{VERSION}", Kind::Hdfs.name());
        install::installed(root, &key, &what, |folder, log| install::jars(&ARTIFACTS, folder, log))
    }

    fn create(&self, software: &Path, place: &Place) -> Result<()> {
        let mut format = daemon(software, place, "namenode", process::bare)?;
        format.arg("org.apache.hadoop.hdfs.server.namenode.NameNode");
        format.args(["-format", "-nonInteractive", "-force"]);
        process::run(&mut format, "formatting the NameNode", &place.log("format"))
    }

    fn daemons(&self, software: &Path, place: &Place) -> Result<Vec<Daemon>> {
        let mut daemons = Vec::new();
        for (name, mark) in names().into_iter().zip(self.marks(place)) {
            let mut command = daemon(software, place, &name, process::detached)?;
            command.arg(mark).arg(match name.as_str() {
                "namenode" => "org.apache.hadoop.hdfs.server.namenode.NameNode",
                _ => "org.apache.hadoop.hdfs.server.datanode.DataNode",
            });
            daemons.push(Daemon { command, log: place.log(&name) });
        }
        Ok(daemons)
    }

    fn marks(&self, place: &Place) -> Vec<String> {
        let mark = |name: String| format!("-Dportolan.server={}", place.folder.join(name).display());
        names().into_iter().map(mark).collect()
    }

    /// The NameNode has left its safe mode and sees all DataNodes; each of these has found it, too. The NameNode alone
    /// would still count one that died a moment ago.
    fn answers(&self, place: &Place) -> Result<()> {
        let state = probe::jmx(place.port + 1, "Hadoop:service=NameNode,name=FSNamesystemState")?;
        if !state.contains("\"FSState\":\"Operational\"") {
            bail!("is in safe mode");
        }
        if !state.contains(&format!("\"NumLiveDataNodes\":{DATA_NODES},")) {
            bail!("does not see all DataNodes");
        }
        for number in 0..DATA_NODES {
            let port = data_node(place, number) + 2;
            let state = probe::jmx(port, "Hadoop:service=DataNode,name=DataNodeInfo")?;
            if state.matches("ActorState\\\":\\\"").count()
                != state.matches("ActorState\\\":\\\"RUNNING").count()
                || !state.contains("ActorState")
            {
                bail!("waits for DataNode {}", number + 1);
            }
        }
        Ok(())
    }

    fn url(&self, place: &Place) -> Result<String> {
        Ok(format!("hdfs://127.0.0.1:{}", place.port))
    }
}

fn names() -> Vec<String> {
    let data_nodes = (1..=DATA_NODES).map(|number| format!("datanode{number}"));
    std::iter::once("namenode".to_owned()).chain(data_nodes).collect()
}

/// The first of a DataNode's three ports: data, then calls, then HTTP. The NameNode has the two before.
fn data_node(place: &Place, number: u16) -> u16 {
    place.port + 2 + 3 * number
}

/// Writes a daemon's configuration, and returns a Java with its class path.
fn daemon(
    software: &Path,
    place: &Place,
    name: &str,
    make: fn(&Path, &Path, Option<u32>) -> Command,
) -> Result<Command> {
    let folder = place.folder.join("conf").join(name);
    // Pages that the jars lack; the web server wants their folders at least.
    for page in ["hdfs", "datanode", "static"] {
        places::folder(&folder.join("webapps").join(page), None)?;
    }
    let base = [
        ("fs.defaultFS", format!("hdfs://127.0.0.1:{}", place.port)),
        ("ipc.client.connect.max.retries", "10".to_owned()),
        ("hadoop.tmp.dir", place.folder.join("tmp").display().to_string()),
    ];
    places::write_whole(&folder.join("core-site.xml"), &properties(&base), 0o644)?;
    let mut site: Vec<(&str, String)> =
        SETTINGS.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
    let address = |port: u16| format!("127.0.0.1:{port}");
    site.push(("dfs.namenode.rpc-address", address(place.port)));
    site.push(("dfs.namenode.http-address", address(place.port + 1)));
    site.push(("dfs.namenode.name.dir", format!("file://{}", place.data().join("namenode").display())));
    if let Some(number) = names().iter().skip(1).position(|other| other == name) {
        let port = data_node(place, u16::try_from(number)?);
        site.push(("dfs.datanode.address", address(port)));
        site.push(("dfs.datanode.ipc.address", address(port + 1)));
        site.push(("dfs.datanode.http.address", address(port + 2)));
        site.push(("dfs.datanode.data.dir", format!("file://{}", place.data().join(name).display())));
    }
    places::write_whole(&folder.join("hdfs-site.xml"), &properties(&site), 0o644)?;
    places::write_whole(&folder.join("log4j.properties"), LOGGING, 0o644)?;
    let mut command = super::java(place, make, if name == "namenode" { 192 } else { 128 });
    command
        .arg(format!("-Dhadoop.log.dir={}", place.folder.join("log").display()))
        .arg("--add-opens=java.base/java.lang=ALL-UNNAMED")
        .arg("-cp")
        .arg(format!("{}:{}/*", folder.display(), software.display()));
    Ok(command)
}

fn properties(pairs: &[(&str, String)]) -> String {
    let mut text = String::from("<configuration>\n");
    for (key, value) in pairs {
        let _infallible = writeln!(text, "<property><name>{key}</name><value>{value}</value></property>");
    }
    text.push_str("</configuration>\n");
    text
}
