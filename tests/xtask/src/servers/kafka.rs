//! One Kafka broker that is its own controller (KRaft), from Maven's jars. Records are kept whatever their time
//! stamps say: simulated ones are old, and by default the broker would drop them at once.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::process::{self, Daemon};
use super::{Kind, Place, Server, install, places, probe};

const VERSION: &str = "4.4.0";

/// The broker logs nothing without the second one.
const ARTIFACTS: [&str; 2] =
    ["org.apache.kafka:kafka_2.13:4.4.0", "org.apache.logging.log4j:log4j-slf4j-impl:2.25.5"];

/// Sixteen zero bytes, as Kafka writes an identity. One broker alone needs no other.
const CLUSTER: &str = "AAAAAAAAAAAAAAAAAAAAAQ";

/// One node, few partitions inside, quick to start and to see a change.
const SETTINGS: &str = "process.roles=broker,controller
node.id=1
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
auto.create.topics.enable=false
num.partitions=1
default.replication.factor=1
min.insync.replicas=1
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
log.retention.ms=-1
log.retention.check.interval.ms=1000
log.initial.task.delay.ms=500
log.segment.delete.delay.ms=500
num.network.threads=2
num.io.threads=2
background.threads=2
num.recovery.threads.per.data.dir=1
log.cleaner.dedupe.buffer.size=16777216
broker.session.timeout.ms=1500
broker.heartbeat.interval.ms=300
";

const LOGGING: &str = "Configuration:
  Appenders:
    Console: {name: Out, PatternLayout: {pattern: \"%d %p %c{1}: %m%n\"}}
  Loggers:
    Root: {level: INFO, AppenderRef: {ref: Out}}
";

#[derive(Debug)]
pub(super) struct Kafka;

impl Server for Kafka {
    fn version(&self) -> &'static str {
        VERSION
    }

    fn install(&self, root: &Path) -> Result<PathBuf> {
        let what = format!("Kafka {VERSION} (Maven jars, 43 MB)");
        let key = format!("{}-{VERSION}", Kind::Kafka.name());
        install::installed(root, &key, &what, |folder, log| install::jars(&ARTIFACTS, folder, log))
    }

    fn create(&self, software: &Path, place: &Place) -> Result<()> {
        let settings = configure(place)?;
        let mut format = java(software, place, process::bare);
        format.args(["kafka.tools.StorageTool", "format", "--cluster-id", CLUSTER, "--config"]);
        process::run(format.arg(settings), "formatting Kafka's storage", &place.log("format"))
    }

    fn daemons(&self, software: &Path, place: &Place) -> Result<Vec<Daemon>> {
        let settings = configure(place)?;
        let mut command = java(software, place, process::detached);
        command.arg(mark(place)).arg("kafka.Kafka").arg(settings);
        Ok(vec![Daemon { command, log: place.log("kafka") }])
    }

    fn marks(&self, place: &Place) -> Vec<String> {
        vec![mark(place)]
    }

    fn answers(&self, place: &Place) -> Result<()> {
        probe::kafka(place.port)
    }

    fn url(&self, place: &Place) -> Result<String> {
        Ok(format!("127.0.0.1:{}", place.port))
    }
}

fn mark(place: &Place) -> String {
    format!("-Dportolan.server={}", place.folder.display())
}

/// Writes the broker's files, and returns the settings'.
fn configure(place: &Place) -> Result<PathBuf> {
    let (port, controller) = (place.port, place.port + 1);
    let settings = format!(
        "{SETTINGS}listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         log.dirs={}\n",
        place.data().display()
    );
    let file = place.folder.join("server.properties");
    places::write_whole(&file, &settings, 0o644)?;
    places::write_whole(&place.folder.join("log4j2.yaml"), LOGGING, 0o644)?;
    Ok(file)
}

fn java(
    software: &Path,
    place: &Place,
    make: fn(&Path, &Path, Option<u32>) -> std::process::Command,
) -> std::process::Command {
    let mut command = super::java(place, make, 128);
    command
        .arg(format!("-Dlog4j2.configurationFile={}", place.folder.join("log4j2.yaml").display()))
        .arg("-cp")
        .arg(format!("{}/*", software.display()));
    command
}
