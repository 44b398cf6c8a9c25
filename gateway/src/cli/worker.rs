//! `portolan worker`: does parts of the statements of a gateway, over the same lake.
//!
//! It opens the lakes of the port's file and nothing else of it: no source, no warehouse, no secret. It listens on the
//! loopback address only, since whoever reaches it can read the lake through it, and the link has no TLS yet.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use portolan_catalog::lake::{Lake, LakeRoot, LakeSource, StoreLimits};
use portolan_catalog::source::SourceName;
use portolan_ingest::IngestError;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::output;
use super::process::interrupted;
use crate::project::{Overrides, Project};
use crate::scaleout::{WorkerConfig, serve};

/// Stack of the threads that work: plans are as deep as in the gateway.
const STACK_BYTES: usize = 64 << 20;

/// Arguments of `portolan worker`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  portolan worker --listen 127.0.0.1:7001 --config portolan.yaml\n\n\
                  and in portolan.yaml of the gateway\n  workers: [http://127.0.0.1:7001]")]
pub(super) struct WorkerArgs {
    /// Where to listen, on this machine's loopback address; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:7001")]
    listen: SocketAddr,
    /// The port's file, of which only the lakes are opened
    #[arg(long, default_value = "portolan.yaml")]
    config: PathBuf,
    /// Where the lake is kept, if the file does not say
    #[arg(long, env = "PORTOLAN_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// The root of the one lake, instead of a port's file: a directory or hdfs://host:port/folder
    #[arg(long, conflicts_with = "config")]
    lake: Option<String>,
    /// MiB that all its work together may hold
    #[arg(long, default_value_t = 2048, value_parser = clap::value_parser!(u32).range(16..=16_777_216))]
    memory_mib: u32,
    /// Write one JSON object to standard output when ready
    #[arg(long)]
    json: bool,
}

/// Works until Ctrl-C or SIGTERM. A mistake in the configuration is exit code 2.
pub(super) fn run(arguments: &WorkerArgs) -> anyhow::Result<ExitCode> {
    if !arguments.listen.ip().is_loopback() {
        output::say(&format!("error: a worker cannot listen on {}", arguments.listen));
        output::say("hint: the link to workers has no TLS yet; use --listen 127.0.0.1:7001");
        return Ok(ExitCode::from(2));
    }
    let lakes = match lakes(arguments) {
        Ok(lakes) => lakes,
        Err(error) => {
            output::say(&format!("error: {error}"));
            if let Some(hint) = &error.hint {
                output::say(&format!("hint: {hint}"));
            }
            return Ok(ExitCode::from(error.class.exit_code()));
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_stack_size(STACK_BYTES)
        .thread_name("portolan-worker")
        .enable_all()
        .build()
        .context("start the runtime")?;
    runtime.block_on(Box::pin(work(arguments, lakes)))
}

fn lakes(arguments: &WorkerArgs) -> Result<Vec<LakeSource>, IngestError> {
    let Some(root) = &arguments.lake else {
        let overrides = Overrides { feeds: &[], data_dir: arguments.data_dir.as_deref() };
        return Project::read(&arguments.config, overrides)?.lakes();
    };
    let root = LakeRoot::parse(root, Path::new(""))?;
    let name = SourceName::try_new("lake").map_err(IngestError::invariant)?;
    Ok(vec![LakeSource::new(name, Lake::open_for_reading(&root, StoreLimits::default())?)])
}

async fn work(arguments: &WorkerArgs, lakes: Vec<LakeSource>) -> anyhow::Result<ExitCode> {
    let listener = TcpListener::bind(arguments.listen)
        .await
        .with_context(|| format!("{} cannot be opened; choose another with --listen", arguments.listen))?;
    let address = listener.local_addr()?;
    if arguments.json {
        output::data(&serde_json::json!({ "listen": address.to_string() }).to_string());
    }
    output::say(&format!("worker is ready; the gateway's file names it as workers: [http://{address}]"));
    let stop = CancellationToken::new();
    let told = stop.clone();
    tokio::spawn(async move {
        if let Err(error) = interrupted().await {
            tracing::error!("cannot listen for signals: {error:#}");
        }
        told.cancel();
    });
    let memory_bytes = usize::try_from(u64::from(arguments.memory_mib) << 20)?;
    serve(listener, WorkerConfig { lakes, memory_bytes }, stop).await?;
    output::say("stopped");
    Ok(ExitCode::SUCCESS)
}
