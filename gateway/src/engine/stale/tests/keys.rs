//! What shares a kept answer, and what never does.

use datafusion::common::ScalarValue;

use super::{DOWN, World, unreachable};
use crate::pgtypes::PgType;

const SQL: &str = "select n from ops.t where n > $1 order by 1";

#[tokio::test(flavor = "multi_thread")]
async fn two_statements_that_differ_in_one_thing_never_share_an_answer() {
    let world = World::open();
    let zero = || vec![ScalarValue::Int32(Some(0))];
    let base = world.session("demo", &[]);
    let (rows, stale) = world.ask_as(&base, SQL, &[], zero()).await.unwrap();
    assert!(rows == "1|2|3" && stale.is_none(), "{rows}");
    world.ops.turns(DOWN);

    for (user, name, value) in [
        ("other", "application_name", "x"),
        ("demo", "TimeZone", "Africa/Dakar"),
        ("demo", "DateStyle", "ISO, DMY"),
        ("demo", "search_path", "ops"),
        ("demo", "extra_float_digits", "0"),
        ("demo", "bytea_output", "escape"),
        ("demo", "portolan.pushdown", "off"),
    ] {
        let session = world.session(user, &[(name, value)]);
        unreachable(world.ask_as(&session, SQL, &[], zero()).await);
    }
    for sql in [
        "select n from ops.t where n >= $1 order by 1",
        "select n from ops.t where n > $1 order by 1 limit 2",
        "select n from ops.u where n > $1 order by 1",
        "select n from far.t where n > $1 order by 1 -- ops",
        "select n as m from ops.t where n > $1 order by 1",
    ] {
        match world.ask_as(&base, sql, &[], zero()).await {
            Ok((_, stale)) => assert!(sql.contains("far.t") && stale.is_none(), "{sql}"),
            refused => drop(unreachable(refused)),
        }
    }
    unreachable(world.ask_as(&base, SQL, &[], vec![ScalarValue::Int32(Some(1))]).await);
    let wider = [PgType::from_oid(20)];
    unreachable(world.ask_as(&base, SQL, &wider, vec![ScalarValue::Int64(Some(0))]).await);

    // What no answer depends on does not matter, nor does which session it is.
    for (name, value) in
        [("application_name", "x"), ("statement_timeout", "1min"), ("portolan.max_staleness", "2 h")]
    {
        let session = world.session("demo", &[(name, value)]);
        let (rows, stale) = world.ask_as(&session, SQL, &[], zero()).await.unwrap();
        assert!(rows == "1|2|3" && stale.is_some(), "{name}");
    }

    // By now nobody calls the server, until its breaker lets one through.
    world.at(std::time::Duration::from_secs(300));
    // Nor that there are other tables; but a table of other columns is another one.
    world.ops.tables.lock().unwrap().push(super::table("ops", "new", &["n"]));
    world.catalog.source("ops").unwrap().refresh().await.unwrap();
    assert!(world.ask_as(&base, SQL, &[], zero()).await.unwrap().1.is_some());
    world.ops.tables.lock().unwrap()[0] = super::table("ops", "t", &["n", "m"]);
    world.catalog.source("ops").unwrap().refresh().await.unwrap();
    unreachable(world.ask_as(&base, SQL, &[], zero()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_comes_to_mean_another_table_has_another_answer() {
    let world = World::open();
    let session = |path| world.session("demo", &[("search_path", path)]);
    let bare = "select n from t order by 1";
    world.ops.begins_with(5);
    assert_eq!(world.ask_as(&session("far"), bare, &[], vec![]).await.unwrap().0, "1|2|3");
    assert_eq!(world.ask_as(&session("ops"), bare, &[], vec![]).await.unwrap().0, "5|6|7");
    world.ops.turns(DOWN);
    world.far.turns(DOWN);
    assert_eq!(world.ask_as(&session("far"), bare, &[], vec![]).await.unwrap().0, "1|2|3");
    assert_eq!(world.ask_as(&session("ops"), bare, &[], vec![]).await.unwrap().0, "5|6|7");
    // The same path, and a table of the name where there was none before.
    let both = "select n from v order by 1";
    let path = session("far, ops");
    let give = async |server: &super::Server, name: &str| {
        server.tables.lock().unwrap().push(super::table(server.name.as_str(), "v", &["n"]));
        world.catalog.source(name).unwrap().refresh().await.unwrap();
    };
    world.ops.turns(super::Mood::Well);
    give(&world.ops, "ops").await;
    assert_eq!(world.ask_as(&path, both, &[], vec![]).await.unwrap().0, "5|6|7");
    world.ops.turns(DOWN);
    assert_eq!(world.ask_as(&path, both, &[], vec![]).await.unwrap().0, "5|6|7");
    give(&world.far, "far").await;
    unreachable(world.ask_as(&path, both, &[], vec![]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_asks_for_more_than_the_sources_is_not_kept_and_says_so() {
    let world = World::open();
    for (sql, why) in [
        ("select n, now() from ops.t", "time"),
        ("select n from ops.t where current_date > date '2020-01-01'", "time"),
        ("select n from ops.t where random() < 2", "chance"),
        ("select n, c from ops.t cross join (select count(*) c from system.settings) s", "more than tables"),
        ("select n from ops.t, generate_series(1, 2) g", "more than tables"),
    ] {
        world.ops.turns(super::Mood::Well);
        world.fresh(sql).await;
        let not_kept =
            world.fresh("select not_kept from system.answers order by ended_at desc limit 1").await;
        assert!(not_kept.contains(why), "{sql}: {not_kept}");
        world.ops.turns(DOWN);
        unreachable(world.ask(sql).await);
        // A breaker that is open now lets a call through.
        world.at(std::time::Duration::from_millis(
            world.millis.load(std::sync::atomic::Ordering::SeqCst) + 120_000,
        ));
    }
    assert_eq!(world.engine.kept.size().await.1, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn text_and_parts_of_times_are_kept_under_their_time_zone() {
    let world = World::open();
    let sql = "select (timestamptz '2026-01-01 00:00Z')::text, extract(hour from timestamptz '2026-01-01 00:00Z') \
               from ops.t limit 1";
    let zoned = world.session("demo", &[("TimeZone", "Asia/Hong_Kong")]);
    let (here, _) = world.ask_as(&zoned, sql, &[], vec![]).await.unwrap();
    let utc = world.fresh(sql).await;
    assert_ne!(here, utc);
    world.ops.turns(DOWN);
    assert_eq!(world.ask_as(&zoned, sql, &[], vec![]).await.unwrap().0, here);
    assert_eq!(world.stale(sql).await.0, utc);
}
