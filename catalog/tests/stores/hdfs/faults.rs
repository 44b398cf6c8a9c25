//! A node that is gone or silent costs a bounded time, and no commit is lost or made twice.

use std::time::{Duration, Instant};

use portolan_catalog::lake::{CommitOutcome, LakeSource, StoreLimits};
use portolan_catalog::source::{HealthState, Source, SourceErrorKind, SourceName};
use tokio::net::TcpListener;

use super::fixture::{behind, commit, create, folder, ids, lake, rows, ships, within};
use super::proxy::Proxy;

const SHORT: StoreLimits =
    StoreLimits { call: Duration::from_millis(700), write: Duration::from_millis(1_500) };

/// The NameNode renames the entry of the log, and nobody hears that it did: the rows are there exactly once.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_is_found_in_the_log() {
    let folder = folder().await;
    create(&lake(&folder)).await;
    let proxy = Proxy::start(&crate::servers::hdfs()).await;
    let far = lake(&behind(&folder, &proxy.address));
    far.append(&ships(), vec![rows(0..2, "Dakar")], &commit("a", 1)).await.unwrap();
    proxy.cut_next(&["rename2", "_delta_log/00000000000000000002.json"]);
    let outcome = far.append(&ships(), vec![rows(2..4, "Dakar")], &commit("a", 2)).await.unwrap();
    assert!(!proxy.is_armed(), "nothing was cut");
    assert_eq!(outcome, CommitOutcome::Committed(2));
    let again = far.append(&ships(), vec![rows(2..4, "Dakar")], &commit("a", 2)).await.unwrap();
    assert_eq!(again, CommitOutcome::AlreadyCommitted(2));
    let near = lake(&folder);
    assert_eq!(ids(&near, None).await.unwrap(), [0, 1, 2, 3]);
    assert_eq!(near.history(&ships()).await.unwrap().len(), 2);
}

/// The answer to making a data file's name final is lost: nothing was committed, and the next try commits once.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_whose_answer_is_lost_commits_nothing_and_may_be_written_again() {
    let folder = folder().await;
    create(&lake(&folder)).await;
    let proxy = Proxy::start(&crate::servers::hdfs()).await;
    let far = lake(&behind(&folder, &proxy.address));
    proxy.cut_next(&["rename2", ".parquet"]);
    let outcome = far.append(&ships(), vec![rows(0..2, "Dakar")], &commit("a", 1)).await;
    assert!(!proxy.is_armed(), "nothing was cut");
    let error = outcome.unwrap_err();
    assert!(
        matches!(error.kind, SourceErrorKind::Conflict | SourceErrorKind::StateUnknown),
        "{:?} {error}",
        error.kind
    );
    assert_eq!(lake(&folder).version(&ships()).await.unwrap(), Some(0));
    let outcome = far.append(&ships(), vec![rows(0..2, "Dakar")], &commit("a", 1)).await.unwrap();
    assert_eq!(outcome, CommitOutcome::Committed(1));
    assert_eq!(ids(&lake(&folder), None).await.unwrap(), [0, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namenode_that_is_gone_or_silent_is_an_error_in_time() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent_address = silent.local_addr().unwrap().to_string();
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone_address = gone.local_addr().unwrap().to_string();
    drop(gone);
    for address in [silent_address, gone_address] {
        let started = Instant::now();
        let lake = within(&format!("hdfs://{address}/lake"), SHORT);
        let error = lake.version(&ships()).await.unwrap_err();
        assert_eq!(error.kind, SourceErrorKind::Unreachable, "{error}");
        assert!(error.hint.is_some());
        let source = LakeSource::new(SourceName::try_new("lake").unwrap(), lake);
        assert_eq!(source.check().await.state, HealthState::Down);
        assert_eq!(source.tables().await.unwrap_err().kind, SourceErrorKind::Unreachable);
        assert!(started.elapsed() < Duration::from_secs(6), "{address}: {:?}", started.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn datanodes_that_fall_silent_are_an_error_in_time() {
    let folder = folder().await;
    create(&lake(&folder)).await;
    let proxy = Proxy::start(&crate::servers::hdfs()).await;
    let far = within(&behind(&folder, &proxy.address), SHORT);
    far.append(&ships(), vec![rows(0..5, "Dakar")], &commit("a", 1)).await.unwrap();
    assert_eq!(ids(&far, None).await.unwrap(), [0, 1, 2, 3, 4], "the proxy is at fault");
    proxy.freeze_data();
    let started = Instant::now();
    let error = ids(&far, None).await.unwrap_err();
    assert_eq!(error.kind, SourceErrorKind::Unreachable, "{error}");
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    let started = Instant::now();
    let error = far.append(&ships(), vec![rows(5..6, "Dakar")], &commit("a", 2)).await.unwrap_err();
    assert!(
        matches!(error.kind, SourceErrorKind::StateUnknown | SourceErrorKind::Unreachable),
        "{:?} {error}",
        error.kind
    );
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    assert_eq!(ids(&lake(&folder), None).await.unwrap(), [0, 1, 2, 3, 4]);
}
