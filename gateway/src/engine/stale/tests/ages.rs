//! When an old answer is given, and when it is not.

use std::time::{Duration, Instant};

use chrono::Utc;
use futures::StreamExt as _;
use portolan_catalog::source::SourceErrorKind;

use super::super::kept::Moment;
use super::{DOWN, Mood, World, unreachable};
use crate::engine::{QueryControl, StaleFrom};

const SQL: &str = "select n from ops.t order by 1";

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_stands_in_until_it_is_too_old_and_says_how_old_it_is() {
    let world = World::open();
    assert_eq!(world.fresh(SQL).await, "1|2|3");
    // As long as the source is well it is read, whatever is kept.
    world.ops.begins_with(5);
    assert_eq!(world.fresh(SQL).await, "5|6|7");
    world.ops.turns(DOWN);
    world.at(Duration::from_secs(3_599));
    let (rows, stale) = world.stale(SQL).await;
    assert_eq!((rows.as_str(), stale.from.clone()), ("5|6|7", StaleFrom::Answer));
    assert_eq!(stale.age.as_secs(), 3_599);
    assert_eq!(stale.message(), "source \"ops\" is down: this answer was read 60 min ago");
    assert!(stale.detail().starts_with("source \"ops\" does not answer; data of 20"), "{}", stale.detail());

    let told = "select stale_seconds, stale_sources, stale_from, stale_reason, as_of, rows from system.answers \
                where stale_seconds > 0";
    assert_eq!(world.fresh(told).await, "3599.0,ops,answer,source \"ops\" does not answer,ops=batch:5,3");
    let from = "select stale_from <= last_ok from system.sources where name = 'ops'";
    assert_eq!(world.fresh(from).await, "true");

    world.at(Duration::from_secs(3_601));
    let hint = unreachable(world.ask(SQL).await);
    assert!(
        hint.contains("the kept answer is 61 min old, which is more than portolan.max_staleness"),
        "{hint}"
    );

    world.ops.turns(Mood::Well);
    world.at(Duration::from_secs(4_000));
    assert_eq!(world.fresh(SQL).await, "5|6|7");
    assert_eq!(world.fresh("select stale_from from system.sources where name = 'ops'").await, "NULL");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_did_not_ask_for_it_or_would_not_hear_of_it_gets_the_error() {
    let world = World::open();
    world.fresh(SQL).await;
    world.ops.turns(DOWN);
    let never = world.session("demo", &[("portolan.max_staleness", "0")]);
    let hint = unreachable(world.ask_as(&never, SQL, &[], vec![]).await);
    assert!(hint.contains("an answer of 0 s ago is kept: SET portolan.max_staleness"), "{hint}");
    let deaf = world.session("demo", &[("client_min_messages", "error")]);
    unreachable(world.ask_as(&deaf, SQL, &[], vec![]).await);
    let session = world.session("demo", &[]);
    unreachable(world.ask_with(&session, SQL, &[], vec![], QueryControl::default()).await);
    assert_eq!(world.stale(SQL).await.0, "1|2|3");

    // An answer to one who never asked for old ones is not kept either.
    world.ops.turns(Mood::Well);
    let other = "select n + 1 from ops.t order by 1";
    world.ask_as(&never, other, &[], vec![]).await.unwrap();
    world.ops.turns(DOWN);
    unreachable(world.ask(other).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_is_as_ever() {
    let world = World::open();
    world.fresh(SQL).await;
    world.ops.turns(DOWN);
    assert!(world.fresh(&format!("explain {SQL}")).await.contains("FederatedScan"));
    unreachable(world.ask(&format!("explain analyze {SQL}")).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_source_that_cannot_be_reached_is_replaced_and_only_before_the_first_row() {
    let world = World::open();
    let streamed = "select n from ops.t";
    world.fresh(SQL).await;
    world.fresh(streamed).await;
    for (mood, state) in [
        (Mood::Fails(SourceErrorKind::Remote, Some("XX000")), "HV000"),
        (Mood::Fails(SourceErrorKind::Auth, None), "HV000"),
        (Mood::Fails(SourceErrorKind::Busy, None), "53000"),
        (Mood::Fails(SourceErrorKind::Limit, None), "54000"),
        (Mood::Fails(SourceErrorKind::Data, None), "22003"),
        // The server ended the statement: it is there.
        (Mood::Fails(SourceErrorKind::Timeout, Some("57014")), "HV00N"),
    ] {
        world.ops.turns(mood);
        let error = world.ask(SQL).await.unwrap_err();
        assert_eq!(error.code.sqlstate(), state, "{mood:?} {error:?}");
    }
    world.ops.turns(Mood::Fails(SourceErrorKind::Timeout, None));
    assert_eq!(world.stale(SQL).await.0, "1|2|3");

    world.ops.begins_with(5);
    world.ops.turns(Mood::DiesAfterRows);
    unreachable(world.ask(streamed).await);
    // Sorted, no row was out when it died.
    assert_eq!(world.stale(SQL).await.0, "1|2|3");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_answer_is_old_as_a_whole() {
    let world = World::open();
    let both = "select o.n, f.n from ops.t o join far.t f on o.n = f.n order by 1";
    assert_eq!(world.fresh(both).await, "1,1|2,2|3,3");
    world.ops.turns(DOWN);
    world.far.begins_with(2);
    assert_eq!(world.stale(both).await.0, "1,1|2,2|3,3");
    assert_eq!(world.fresh("select n from far.t order by 1").await, "2|3|4");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_rows_is_an_answer() {
    let world = World::open();
    let none = "select n from ops.t where n > 100";
    assert_eq!(world.fresh(none).await, "");
    world.ops.turns(DOWN);
    assert_eq!(world.stale(none).await.0, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn half_an_answer_and_one_that_is_too_large_are_not_kept() {
    let world = World::open();
    world.ops.large.store(true, std::sync::atomic::Ordering::SeqCst);
    let large = "select n from ops.t";
    world.fresh(large).await;
    assert_eq!(world.engine.kept.size().await.1, 0);
    let why = world.fresh("select not_kept from system.answers limit 1").await;
    assert_eq!(why, "it is too large");

    // Small enough, but nobody reads to its end.
    world.ops.large.store(false, std::sync::atomic::Ordering::SeqCst);
    world.ops.batches.store(50, std::sync::atomic::Ordering::SeqCst);
    let many = "select n from ops.u";
    let session = world.session("demo", &[]);
    let prepared = world.engine.prepare(&session, many, &[]).await.unwrap();
    let control = QueryControl { tells_staleness: true, ..QueryControl::default() };
    let mut answer = world.engine.execute(&session, &prepared, vec![], control).await.unwrap();
    assert!(answer.rows.next().await.unwrap().is_ok());
    drop(answer);
    let started = Instant::now();
    while !world.engine.running().list().is_empty() {
        assert!(started.elapsed() < Duration::from_secs(20), "it runs on");
        tokio::task::yield_now().await;
    }
    assert_eq!(world.engine.kept.size().await.1, 0);
    world.ops.turns(DOWN);
    unreachable(world.ask(many).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_is_bounded() {
    let world = World::open();
    let session = world.session("demo", &[]);
    for number in 0..1_200 {
        let sql = format!("select n from ops.t where n > {number} or n > 0 -- {}", "x".repeat(2_000));
        world.ask_as(&session, &sql, &[], vec![]).await.unwrap();
    }
    let (bytes, answers) = world.engine.kept.size().await;
    assert!(bytes <= 4 << 20 && answers > 10 && answers < 1_200, "{bytes} bytes of {answers} answers");
}

#[test]
fn an_age_is_what_the_clock_says_that_says_more() {
    let (steady, utc) = (Instant::now(), Utc::now());
    let minute = Duration::from_secs(60);
    let then = Moment { steady, utc };
    for (by_steady, by_calendar, expected) in [
        (minute, chrono::Duration::seconds(60), 60),
        // The machine slept.
        (minute, chrono::Duration::seconds(600), 600),
        // The calendar was set back.
        (minute, chrono::Duration::seconds(-600), 60),
    ] {
        let now = Moment { steady: steady + by_steady, utc: utc + by_calendar };
        assert_eq!(then.age(now).as_secs(), expected);
    }
    for (millis, text) in [
        (1, "1 s"),
        (90_000, "90 s"),
        (120_001, "3 min"),
        (3_600_000, "60 min"),
        (7_200_001, "3 h"),
        (200_000_000, "3 d"),
    ] {
        assert_eq!(super::super::shown(Duration::from_millis(millis)), text, "{millis} ms");
    }
}
