//! Simple and extended protocol: order of messages, transaction status, cursors, COPY.

use super::raw::*;
use crate::pgtypes::oid;

#[tokio::test]
async fn results_are_sent_before_a_later_statement_fails() {
    let door = door().await;
    let mut client = Raw::login(door.address).await;
    assert_eq!(client.query("select 1; nosuch x; select 1").await, "TDCE Z");
    assert_eq!(client.code(), "42P01");
    assert_eq!(client.fault().position, Some(16));
    for empty in ["", ";", "-- ping", " ; ; "] {
        assert_eq!(client.query(empty).await, "I Z", "{empty:?}");
    }
    assert_eq!(client.query("select 1;select 1").await, "TDCTDC Z");
    assert_eq!(client.query("rows 2 then fail").await, "TDDE Z");
    assert_eq!(client.code(), "22012");
    assert_eq!(client.query("nul").await, "TE Z");
    assert_eq!(client.code(), "22021");
    assert_eq!(client.query("insert into t values (1)").await, "E Z");
    assert_eq!(client.fault().message, "cannot execute INSERT in a read-only transaction");
    assert_eq!(client.query("relay").await, "TDDDC Z");
    assert_eq!(client.tags(), ["SELECT 3"]);
}

#[tokio::test]
async fn an_extended_cycle_byte_by_byte_gives_the_same_messages() {
    let door = door().await;
    let cycle = [
        parse("", "echo", &[oid::INT4, oid::TEXT]),
        bind("", "", &[1, 0], &[Some(&[0, 0, 0, 7]), Some(b"x")], &[0, 1]),
        message(b'D', b"P\0"),
        execute("", 0),
        sync(),
    ]
    .concat();
    let mut client = Raw::login(door.address).await;
    for byte in &cycle {
        client.send(&[*byte]).await;
    }
    assert_eq!(client.answer().await, "12TDC Z");
    assert_eq!(client.first_fields(), ["7"]);
    // And many cycles in one write.
    client.send(&cycle.repeat(200)).await;
    for _ in 0..200 {
        assert_eq!(client.answer().await, "12TDC Z");
    }
}

#[tokio::test]
async fn an_error_skips_to_sync() {
    let door = door().await;
    let mut client = Raw::login(door.address).await;
    let answer = client
        .round(&[
            parse("", "nosuch", &[]),
            bind("", "", &[], &[], &[]),
            execute("", 0),
            message(b'Q', b"select 1\0"),
            sync(),
        ])
        .await;
    assert_eq!(answer, "E Z");
    assert_eq!(client.query("select 1").await, "TDC Z");
}

#[tokio::test]
async fn statements_and_portals_fail_with_postgres_codes() {
    let door = door().await;
    let mut client = Raw::login(door.address).await;
    let one = |parts: Vec<Vec<u8>>| [parts, vec![sync()]].concat();
    assert_eq!(client.round(&one(vec![parse("s", "echo", &[oid::INT4, oid::INT4])])).await, "1 Z");
    for (parts, code, text) in [
        (vec![parse("s", "select 1", &[])], "42P05", "prepared statement \"s\" already exists"),
        (
            vec![parse("", "select 1; select 1", &[])],
            "42601",
            "cannot insert multiple commands into a prepared statement",
        ),
        (vec![bind("", "nosuch", &[], &[], &[])], "26000", "prepared statement \"nosuch\" does not exist"),
        (vec![bind("", "", &[], &[], &[])], "26000", "unnamed prepared statement does not exist"),
        (
            vec![bind("", "s", &[], &[None], &[])],
            "08P01",
            "bind message supplies 1 parameters, but prepared statement \"s\" requires 2",
        ),
        (
            vec![bind("", "s", &[0, 0, 0], &[None, None], &[])],
            "08P01",
            "bind message has 3 parameter formats but 2 parameters",
        ),
        (vec![bind("", "s", &[7], &[None, None], &[])], "22023", "unsupported format code: 7"),
        (
            vec![bind("", "s", &[], &[None, None], &[0, 0, 0])],
            "08P01",
            "bind message has 3 result formats but query has 2 columns",
        ),
        (
            vec![bind("", "s", &[1], &[Some(b"abc"), None], &[])],
            "22P03",
            "incorrect binary data format in bind parameter 1",
        ),
        (
            vec![bind("", "s", &[], &[Some(b"abc"), None], &[])],
            "22P02",
            "invalid input syntax for type integer: \"abc\"",
        ),
        (vec![execute("nosuch", 0)], "34000", "portal \"nosuch\" does not exist"),
        (vec![message(b'D', b"Pnosuch\0")], "34000", "portal \"nosuch\" does not exist"),
        (
            vec![bind("p", "s", &[], &[None, None], &[]), bind("p", "s", &[], &[None, None], &[])],
            "42P03",
            "cursor \"p\" already exists",
        ),
    ] {
        client.round(&one(parts)).await;
        let fault = client.fault();
        assert_eq!((fault.sqlstate.as_ref(), fault.message.as_str()), (code, text));
    }
    assert_eq!(client.round(&one(vec![message(b'C', b"Ss\0"), message(b'C', b"Ss\0")])).await, "33 Z");
}

#[tokio::test]
async fn max_rows_suspends_and_hostile_counts_mean_all() {
    let door = door().await;
    let mut client = Raw::login(door.address).await;
    let open = [parse("", "rows 5", &[]), bind("", "", &[], &[], &[])].concat();
    let answer = client
        .round(&[open.clone(), execute("", 2), execute("", 2), execute("", 2), execute("", 2), sync()])
        .await;
    assert_eq!(answer, "12DDsDDsDCC Z");
    assert_eq!(client.tags(), ["SELECT 1", "SELECT 0"]);
    for count in [0, -1, i32::MIN, i32::MAX] {
        assert_eq!(client.round(&[open.clone(), execute("", count), sync()]).await, "12DDDDDC Z", "{count}");
    }
    // A portal ends with its transaction.
    assert_eq!(client.round(&[open, execute("", 2), sync()]).await, "12DDs Z");
    assert_eq!(client.round(&[execute("", 2), sync()]).await, "E Z");
    assert_eq!(client.code(), "34000");
    assert_eq!(
        client.round(&[parse("", "", &[]), bind("", "", &[], &[], &[]), execute("", 0), sync()]).await,
        "12I Z"
    );
    assert_eq!(
        client
            .round(&[
                parse("", "relay", &[]),
                bind("", "", &[], &[], &[]),
                execute("", 2),
                execute("", 0),
                sync()
            ])
            .await,
        "12DDsDC Z"
    );
    door.no_streams().await;
}

#[tokio::test]
async fn caps_are_refused_and_leave_the_connection() {
    let door = door().await;
    let mut client = Raw::login(door.address).await;
    let parses: Vec<Vec<u8>> = (0..1001).map(|index| parse(&format!("s{index}"), "select 1", &[])).collect();
    let answer = client.round(&[parses.concat(), sync()]).await;
    assert_eq!(answer, format!("{}E Z", "1".repeat(1000)));
    assert_eq!(client.code(), "53400");
    assert_eq!(client.query("discard all").await, "C Z");
    let binds: Vec<Vec<u8>> = (0..65).map(|index| bind(&format!("p{index}"), "", &[], &[], &[])).collect();
    let answer = client.round(&[parse("", "select 1", &[]), binds.concat(), sync()]).await;
    assert_eq!(answer, format!("1{}E Z", "2".repeat(64)));
}

#[tokio::test]
async fn transaction_status_and_warnings_are_those_of_postgres() {
    let door = door().await;
    let mut client = Raw::login(door.address).await;
    for (sql, tags, status, code) in [
        ("commit", "C Z", 'I', "25P01"),
        ("begin", "C Z", 'T', ""),
        ("begin", "C Z", 'T', "25001"),
        ("savepoint a", "C Z", 'T', ""),
        ("nosuch", "E Z", 'E', ""),
        ("select 1", "E Z", 'E', ""),
        ("rollback to a", "C Z", 'T', ""),
        ("release a", "C Z", 'T', ""),
        ("release a", "E Z", 'E', ""),
        ("commit", "C Z", 'I', ""),
        ("savepoint a", "E Z", 'I', ""),
        ("set local timezone to 'Asia/Tokyo'", "C Z", 'I', "25P01"),
        ("rollback", "C Z", 'I', "25P01"),
        ("begin; select 1", "CTDC Z", 'T', ""),
        ("rollback", "C Z", 'I', ""),
    ] {
        assert_eq!(client.query(sql).await, tags, "{sql}");
        assert_eq!(client.status(), status, "{sql}");
        let notice = client.notice().map(|notice| notice.sqlstate.into_owned()).unwrap_or_default();
        assert_eq!(notice, code, "{sql}");
    }
    client.query("begin; nosuch").await;
    client.query("select 1").await;
    assert_eq!(client.code(), "25P02");
    client.query("commit").await;
    assert_eq!(client.tags(), ["ROLLBACK"]);
}

#[tokio::test]
async fn set_is_reported_and_undone_by_rollback() {
    let door = door().await;
    let mut client = Raw::login(door.address).await;
    assert_eq!(client.query("set timezone to 'Asia/Tokyo'").await, "CS Z");
    assert_eq!(client.query("begin; set timezone to 'Europe/Paris'").await, "CCS Z");
    assert_eq!(client.query("rollback").await, "CS Z");
    client.query("show timezone").await;
    assert_eq!(client.first_fields(), ["Asia/Tokyo"]);
    assert_eq!(client.query("begin; set local timezone to UTC").await, "CCS Z");
    assert_eq!(client.query("commit").await, "CS Z");
    client.query("show timezone").await;
    assert_eq!(client.first_fields(), ["Asia/Tokyo"]);
    // An error undoes every SET of the same message.
    assert_eq!(client.query("set timezone to UTC; nosuch").await, "CE Z");
    client.query("show timezone").await;
    assert_eq!(client.first_fields(), ["Asia/Tokyo"]);
    assert_eq!(client.query("set nosuch to 1").await, "E Z");
    assert_eq!(client.code(), "42704");
    let batch = [
        parse("", "show timezone", &[]),
        bind("", "", &[], &[], &[]),
        message(b'D', b"P\0"),
        execute("", 0),
        sync(),
    ];
    assert_eq!(client.round(&batch).await, "12TDC Z");
    assert_eq!(client.tags(), ["SHOW"]);
}

#[tokio::test]
async fn cursors_live_in_their_transaction_and_keep_their_place() {
    let door = door().await;
    let mut client = Raw::login(door.address).await;
    assert_eq!(client.query("declare c cursor for rows 5").await, "E Z");
    assert_eq!(client.code(), "25P01");
    client.query("begin; declare c cursor for rows 5").await;
    client.query("fetch 2 c").await;
    assert_eq!(
        (client.first_fields(), client.tags()),
        (vec!["0".to_owned(), "1".to_owned()], vec!["FETCH 2".to_owned()])
    );
    assert_eq!(client.query("move 1 c").await, "C Z");
    assert_eq!(client.tags(), ["MOVE 1"]);
    assert_eq!(client.query("fetch all c").await, "TDDC Z");
    assert_eq!(client.query("fetch 1 c").await, "TC Z");
    assert_eq!(client.query("fetch prior c").await, "E Z");
    assert_eq!(client.code(), "55000");
    client.query("rollback").await;
    client.query("fetch 1 c").await;
    assert_eq!(client.fault().message, "cursor \"c\" does not exist");
    // Described by name as a portal, as psycopg does.
    client.query("begin; declare c cursor for rows 5").await;
    assert_eq!(client.round(&[message(b'D', b"Pc\0"), sync()]).await, "T Z");
    client.query("commit").await;
    door.no_streams().await;
}

#[tokio::test]
async fn held_and_scrolling_cursors_keep_their_rows() {
    let door = door().await;
    let mut client = Raw::login(door.address).await;
    client.query("begin; declare h cursor with hold for rows 3; fetch 1 h; commit").await;
    client.query("fetch all h").await;
    assert_eq!(client.first_fields(), ["1", "2"]);
    assert_eq!(client.query("close h").await, "C Z");
    client.query("begin; declare s scroll cursor for rows 3; fetch all s").await;
    assert_eq!(client.first_fields(), ["0", "1", "2"]);
    client.query("fetch prior s").await;
    assert_eq!(client.first_fields(), ["2"]);
    client.query("rollback").await;
    assert_eq!(client.query("declare h cursor with hold for rows 9000000").await, "E Z");
    assert_eq!(client.code(), "53400");
    door.no_streams().await;
}

#[tokio::test]
async fn a_cursor_is_declared_with_parameters_and_fetched_in_both_protocols() {
    let door = door().await;
    let mut client = Raw::login(door.address).await;
    let declare = [
        parse("", "declare c cursor with hold for echo", &[oid::INT4]),
        message(b'D', b"S\0"),
        bind("", "", &[], &[Some(b"7")], &[]),
        execute("", 0),
        sync(),
    ];
    assert_eq!(client.round(&declare).await, "1tn2C Z");
    assert_eq!(client.tags(), ["DECLARE CURSOR"]);
    assert_eq!(client.query("fetch all c").await, "TDC Z");
    assert_eq!(client.first_fields(), ["7"]);
    assert_eq!(client.query("begin; declare d cursor for rows 3").await, "CC Z");
    assert_eq!(client.round(&[execute("d", 2), sync()]).await, "DDs Z");
    assert_eq!(client.round(&[execute("d", 0), sync()]).await, "DC Z");
    assert_eq!(client.query("fetch 1 d").await, "TC Z");
    assert_eq!(client.query("declare s scroll cursor for rows 3").await, "C Z");
    assert_eq!(client.round(&[execute("s", 0), sync()]).await, "DDDC Z");
    client.query("fetch prior s").await;
    assert_eq!(client.first_fields(), ["2"]);
}

#[tokio::test]
async fn a_cursor_outlives_the_savepoint_it_was_made_behind() {
    let door = door().await;
    let mut client = Raw::login(door.address).await;
    client
        .query("begin; savepoint a; declare c cursor for rows 5; release a; savepoint b; rollback to b")
        .await;
    assert_eq!(client.query("fetch 1 c").await, "TDC Z");
    client.query("rollback").await;
    client.query("begin; savepoint a; declare h cursor with hold for rows 3; commit").await;
    client.query("begin; savepoint b; rollback to b").await;
    assert_eq!(client.query("fetch 1 h").await, "TDC Z");
    client.query("rollback; close h").await;
    client
        .query("begin; savepoint a; savepoint b; declare c cursor for rows 5; release b; rollback to a")
        .await;
    assert_eq!(client.query("fetch 1 c").await, "E Z");
    assert_eq!(client.code(), "34000");
}

#[tokio::test]
async fn sql_prepare_and_protocol_statements_are_one_namespace() {
    let door = door().await;
    let mut client = Raw::login(door.address).await;
    assert_eq!(client.query("prepare p (int4) as echo").await, "C Z");
    client.query("execute p (42)").await;
    assert_eq!(client.first_fields(), ["42"]);
    client.query("execute p (x)").await;
    assert_eq!(client.code(), "22P02");
    assert_eq!(
        client.round(&[bind("", "p", &[], &[Some(b"7")], &[]), execute("", 0), sync()]).await,
        "2DC Z"
    );
    assert_eq!(client.query("deallocate p").await, "C Z");
    client.query("execute p (1)").await;
    assert_eq!(client.code(), "26000");
    client.query("prepare p (nosuch) as echo").await;
    assert_eq!(client.code(), "42704");
}

#[tokio::test]
async fn copy_writes_three_formats() {
    let door = door().await;
    let mut client = Raw::login(door.address).await;
    assert_eq!(client.query("copy (rows 2) to stdout").await, "HddcC Z");
    assert_eq!(client.tags(), ["COPY 2"]);
    assert_eq!(client.bodies[1].1, b"0\n");
    assert_eq!(client.query("copy (relay) to stdout csv").await, "HdddcC Z");
    assert_eq!(client.query("copy (rows 1) to stdout binary").await, "HdddcC Z");
    assert_eq!(client.bodies[1].1, b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
    assert_eq!(client.bodies[2].1, [0, 1, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(client.bodies[3].1, [0xff, 0xff]);
    let batch = [
        parse("", "copy (rows 2) to stdout", &[]),
        bind("", "", &[], &[], &[]),
        message(b'D', b"P\0"),
        execute("", 0),
        sync(),
    ];
    assert_eq!(client.round(&batch).await, "12nHddcC Z");
    assert_eq!(client.query("copy (rows 1) to stdout xml").await, "E Z");
    // Copy messages outside COPY are ignored.
    assert_eq!(client.round(&[message(b'd', b"x"), message(b'c', &[]), sync()]).await, " Z");
}
