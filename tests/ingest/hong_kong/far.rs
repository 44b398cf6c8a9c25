//! The same port with its lake on a real HDFS.

use libtest_mimic::Failed;
use portolan_catalog::lake::LakeRoot;

use super::readme::copy;
use super::{ingested_and_served, port_file};

#[path = "../../../catalog/tests/stores/servers.rs"]
#[expect(dead_code, reason = "one accessor a kind, and this suite needs one kind")]
mod servers;

/// One line of the configuration moves the lake; nothing is kept beside the configuration's own folder.
pub(super) fn on_hdfs() -> Result<(), Failed> {
    let directory = tempfile::tempdir()?;
    let example = directory.path().join("port");
    copy(port_file().parent().ok_or("no folder")?, &example)?;
    let folder = directory.path().file_name().unwrap_or_default().to_string_lossy().replace('.', "");
    let url = format!("{}/test/{folder}/lake", servers::hdfs().trim_end_matches('/'));
    let config = example.join("portolan.yaml");
    let whole = std::fs::read_to_string(&config)?;
    std::fs::write(&config, format!("{whole}lake: '{url}'\n"))?;
    let data = directory.path().join("data");
    ingested_and_served(&config, &data, &LakeRoot::parse(&url, directory.path())?)?;
    if data.join("lake").exists() {
        return Err("a lake was made in the data directory too".into());
    }
    Ok(())
}
