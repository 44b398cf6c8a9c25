//! Workers over the lake of the stores, for the shape that asks them. Each has threads of its own, with stacks as deep as a
//! gateway's, and ends with its world.

use std::sync::Arc;

use anyhow::{Context, Result};
use portolan::scaleout::{WorkerConfig, WorkerUrl, Workers, serve};
use portolan_catalog::lake::LakeSource;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How many there are.
const WORKERS: usize = 3;

/// Starts workers over the lakes; none if there is no lake. They end when the guards are dropped.
pub(crate) fn start(lakes: &[LakeSource]) -> Result<(Option<Arc<Workers>>, Vec<DropGuard>)> {
    let (mut urls, mut guards) = (Vec::<WorkerUrl>::new(), Vec::new());
    if lakes.is_empty() {
        return Ok((None, guards));
    }
    for number in 0..WORKERS {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        urls.push(format!("http://{}", listener.local_addr()?).parse().map_err(anyhow::Error::msg)?);
        let stop = CancellationToken::new();
        guards.push(stop.clone().drop_guard());
        let config = WorkerConfig { lakes: lakes.to_vec(), memory_bytes: 256 << 20 };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_stack_size(64 << 20)
            .enable_all()
            .build()
            .context("start a worker")?;
        std::thread::Builder::new().name(format!("worker {number}")).spawn(move || {
            let worked =
                runtime.block_on(async { serve(TcpListener::from_std(listener)?, config, stop).await });
            if let Err(error) = worked {
                super::say(&format!("worker {number}: {error:#}\n"));
            }
            runtime.shutdown_background();
        })?;
    }
    Ok((Workers::new(urls).map(Arc::new), guards))
}
