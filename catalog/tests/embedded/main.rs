//! Tests against a live embedded PostgreSQL. The binary starts itself as the server's child process, so nothing but
//! this file is needed; tests run one after the other, sharing one server where they can.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test binary with its own harness, which lints do not recognise as one"
)]

mod federation;
mod star;
mod supervision;

use std::path::Path;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};
use portolan_catalog::embedded::{EmbeddedConfig, EmbeddedPostgres, SUBCOMMAND, ServeArgs, serve_embedded};
use tokio::runtime::Runtime;

/// What the tests share: a runtime, and one server with an empty database.
struct Shared {
    runtime: Runtime,
    server: EmbeddedPostgres,
    _data: tempfile::TempDir,
}

fn config(name: &str, data: &Path) -> EmbeddedConfig {
    EmbeddedConfig {
        name: name.into(),
        data_dir: data.join(name),
        executable: std::env::current_exe().unwrap(),
        database: "port".into(),
    }
}

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == SUBCOMMAND) {
        let served = ServeArgs::parse(arguments).and_then(|args| serve_embedded(&args));
        if let Err(error) = served {
            eprintln!("{error}");
        }
        return;
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    if arguments.list {
        libtest_mimic::run(&arguments, trials(None)).exit();
    }
    let runtime = Runtime::new().unwrap();
    let data = tempfile::tempdir().unwrap();
    let server = runtime.block_on(EmbeddedPostgres::start(config("shared", data.path()))).unwrap();
    let shared = Arc::new(Shared { runtime, server, _data: data });
    let conclusion = libtest_mimic::run(&arguments, trials(Some(&shared)));
    shared.runtime.block_on(shared.server.shutdown());
    conclusion.exit();
}

type Body = fn(&Shared);

fn trials(shared: Option<&Arc<Shared>>) -> Vec<Trial> {
    let all: Vec<(&str, Body)> =
        [supervision::TESTS, federation::TESTS, star::TESTS].into_iter().flatten().copied().collect();
    all.into_iter()
        .map(|(name, body)| {
            let shared = shared.map(Arc::clone);
            Trial::test(name, move || {
                if let Some(shared) = shared {
                    body(&shared);
                }
                Ok(())
            })
        })
        .collect()
}
