//! Spellings of session commands, and what is refused.

use super::*;
use crate::pg::classify::command::{CopySource, FetchDirection, TransactionModes};

fn session(sql: &str) -> Result<Option<Class>, Fault> {
    super::session(sql, &lex::lex(sql)?)
}

fn command(sql: &str) -> SessionCommand {
    match session(sql) {
        Ok(Some(Class::Session(command))) => command,
        other => panic!("{sql}: {other:?}"),
    }
}

#[test]
fn texts_are_split_at_semicolons_outside_quotes() {
    let sql = "é; select ';' ;; -- x;\n/* ; */ $$;$$ ;";
    let parts: Vec<(&str, usize)> =
        split(sql).unwrap().into_iter().map(|text| (&sql[text.range], text.position_offset)).collect();
    assert_eq!(parts, [("é", 0), ("select ';'", 3), ("$$;$$", 31)]);
    assert!(split(" ; -- ping").unwrap().is_empty());
}

#[test]
fn set_has_many_spellings() {
    let set = |local, name: &str, values: &[&str]| SessionCommand::Set {
        local,
        name: name.to_owned(),
        values: Some(values.iter().map(|value| (*value).to_owned()).collect()),
    };
    for (sql, expected) in [
        ("SET extra_float_digits = 3", set(false, "extra_float_digits", &["3"])),
        ("set session DateStyle to 'ISO, MDY'", set(false, "datestyle", &["ISO, MDY"])),
        ("SET search_path TO \"A\", public", set(false, "search_path", &["A", "public"])),
        ("SET LOCAL statement_timeout = '5s'", set(true, "statement_timeout", &["5s"])),
        ("SET portolan.pushdown = off", set(false, "portolan.pushdown", &["off"])),
        ("SET TIME ZONE 'Africa/Dakar'", set(false, "timezone", &["Africa/Dakar"])),
        ("SET TIME ZONE -3", set(false, "timezone", &["-3"])),
        ("SET TIME ZONE INTERVAL '+05:30' HOUR TO MINUTE", set(false, "timezone", &["+05:30"])),
        ("SET NAMES 'UTF8'", set(false, "client_encoding", &["UTF8"])),
        ("SET ROLE demo", set(false, "role", &["demo"])),
        ("SET role = 'demo'", set(false, "role", &["demo"])),
        ("SET SESSION AUTHORIZATION demo", set(false, "session_authorization", &["demo"])),
    ] {
        assert_eq!(command(sql), expected, "{sql}");
    }
    assert!(matches!(command("SET TIME ZONE LOCAL"), SessionCommand::Set { values: None, .. }));
    assert!(matches!(command("SET x TO DEFAULT"), SessionCommand::Set { values: None, .. }));
    assert_eq!(command("SHOW TIME ZONE"), SessionCommand::Show { name: "timezone".into() });
    assert_eq!(
        command("show transaction isolation level"),
        SessionCommand::Show { name: "transaction_isolation".into() }
    );
    assert_eq!(command("RESET ALL"), SessionCommand::Reset { name: None });
}

#[test]
fn transactions_have_modes_and_chains() {
    let modes = TransactionModes {
        isolation: Some("repeatable read".into()),
        read_only: Some(true),
        deferrable: Some(false),
    };
    assert_eq!(
        command("START TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY NOT DEFERRABLE"),
        SessionCommand::Begin { start: true, modes }
    );
    assert_eq!(command("end work"), SessionCommand::Commit { chain: false });
    assert_eq!(command("COMMIT AND CHAIN"), SessionCommand::Commit { chain: true });
    assert_eq!(command("ABORT AND NO CHAIN"), SessionCommand::Rollback { chain: false });
    assert_eq!(command("ROLLBACK WORK TO SAVEPOINT \"S p\""), SessionCommand::RollbackTo("S p".into()));
    assert!(matches!(
        command("SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE"),
        SessionCommand::SetTransaction { session: true, .. }
    ));
}

#[test]
fn cursors_and_statements_keep_their_query_as_text() {
    let sql = "DECLARE _psql_cursor NO SCROLL CURSOR WITH HOLD FOR\nselect 1";
    let SessionCommand::Declare { name, scroll, hold, query, .. } = command(sql) else { panic!() };
    assert_eq!((name.as_str(), scroll, hold, &sql[query]), ("_psql_cursor", Some(false), true, "select 1"));
    let fetch =
        |only_move, direction, name: &str| SessionCommand::Fetch { only_move, direction, name: name.into() };
    assert_eq!(command("FETCH FORWARD 100 FROM c"), fetch(false, FetchDirection::Forward(100), "c"));
    assert_eq!(command("fetch c"), fetch(false, FetchDirection::Forward(1), "c"));
    assert_eq!(command("fetch -3 in c"), fetch(false, FetchDirection::Forward(-3), "c"));
    assert_eq!(command("move backward all c"), fetch(true, FetchDirection::BackwardAll, "c"));
    assert_eq!(command("fetch last c"), fetch(false, FetchDirection::Absolute(-1), "c"));
    assert_eq!(command("fetch next"), fetch(false, FetchDirection::Forward(1), "next"));
    let sql = "PREPARE p (int, numeric(10,2)) AS select $1";
    let SessionCommand::Prepare { types, query, .. } = command(sql) else { panic!() };
    assert_eq!((types, &sql[query]), (vec!["int".to_owned(), "numeric(10,2)".to_owned()], "select $1"));
    let sql = "EXECUTE p (f(1, 2), 'a,b')";
    let SessionCommand::Execute { arguments, .. } = command(sql) else { panic!() };
    assert_eq!(arguments.into_iter().map(|range| &sql[range]).collect::<Vec<_>>(), ["f(1, 2)", "'a,b'"]);
}

#[test]
fn copy_is_read_in_both_spellings() {
    let sql = "COPY (select ')' as a) TO STDOUT WITH (FORMAT csv, HEADER, FORCE_QUOTE (a, b))";
    let SessionCommand::CopyTo { source: CopySource::Query(query), options } = command(sql) else { panic!() };
    assert_eq!(&sql[query], "select ')' as a");
    let option = |name: &str, value: Option<&str>| (name.to_owned(), value.map(str::to_owned));
    assert_eq!(
        options,
        [option("format", Some("csv")), option("header", None), option("force_quote", Some("a, b"))]
    );
    let sql = "COPY s.t (a, \"B\") TO STDOUT CSV DELIMITER AS '|' NULL 'x'";
    let SessionCommand::CopyTo { source: CopySource::Relation { name, columns }, options } = command(sql)
    else {
        panic!()
    };
    assert_eq!((&sql[name], columns), ("s.t", vec!["a".to_owned(), "B".to_owned()]));
    assert_eq!(options, [option("csv", None), option("delimiter", Some("|")), option("null", Some("x"))]);
}

#[test]
fn writes_are_refused_by_name_and_queries_are_left_alone() {
    for (sql, code, text) in [
        ("INSERT INTO t VALUES (1)", "25006", "cannot execute INSERT in a read-only transaction"),
        ("create temp table x (a int)", "25006", "cannot execute CREATE TABLE in a read-only transaction"),
        (
            "drop materialized view x",
            "25006",
            "cannot execute DROP MATERIALIZED VIEW in a read-only transaction",
        ),
        ("LISTEN x", "25006", "cannot execute LISTEN in a read-only transaction"),
        ("COPY t FROM STDIN", "25006", "cannot execute COPY FROM in a read-only transaction"),
        ("COPY t TO '/x'", "42501", "permission denied to COPY to a file"),
        ("COPY t TO PROGRAM 'x'", "42501", "permission denied to COPY to or from an external program"),
        ("LOCK t IN EXCLUSIVE MODE", "25006", "cannot execute LOCK TABLE in a read-only transaction"),
        ("PREPARE TRANSACTION 'x'", "55000", "prepared transactions are disabled"),
        (
            "with x as (select 1) insert into t select * from x",
            "25006",
            "cannot execute INSERT in a read-only transaction",
        ),
        (
            "with x as (delete from t returning *) select * from x",
            "25006",
            "cannot execute DELETE in a read-only transaction",
        ),
        (
            "select * from t for update",
            "25006",
            "cannot execute SELECT FOR UPDATE in a read-only transaction",
        ),
        (
            "select * from t for no key update skip locked",
            "25006",
            "cannot execute SELECT FOR NO KEY UPDATE in a read-only transaction",
        ),
        ("DO $$ begin end $$", "0A000", "DO is not supported"),
    ] {
        let Ok(Some(Class::Refused(error))) = session(sql) else { panic!("{sql}") };
        assert_eq!((error.sqlstate.as_str(), error.message.as_str()), (code, text));
    }
    for sql in [
        "select 1",
        "with x as (select 1) select * from x",
        "(select 1)",
        "explain select 1",
        "nosuch",
        "table t",
    ] {
        assert_eq!(session(sql).unwrap(), None, "{sql}");
    }
    assert_eq!(session("-- nothing").unwrap(), Some(Class::Empty));
    assert_eq!(command("lock table only s.t in access share mode"), SessionCommand::LockAccessShare);
}

#[test]
fn malformed_commands_are_syntax_errors_with_their_place() {
    for (sql, place) in
        [("set x 1", 7), ("begin isolation", 16), ("fetch from", 11), ("discard x", 9), ("commit 1", 8)]
    {
        let fault = session(sql).unwrap_err();
        assert_eq!((fault.sqlstate.as_ref(), fault.position), ("42601", Some(place)), "{sql}: {fault}");
    }
}

#[test]
fn explaining_kpis_is_refused_by_name_in_every_spelling() {
    for sql in [
        "EXPLAIN KPI SELECT MEASURE(calls) FROM kpi.port_calls",
        "explain (kpi) select 1",
        "explain (format text, kpi on) select 1",
        "explain analyze kpi select 1",
    ] {
        let Ok(Some(Class::Refused(error))) = session(sql) else { panic!("{sql}") };
        assert_eq!(
            (error.sqlstate.as_str(), error.message.as_str()),
            ("0A000", "EXPLAIN KPI is not supported yet")
        );
    }
    for sql in ["explain select 1", "explain (verbose) select kpi from t", "explain (select 1)", "select kpi"]
    {
        assert_eq!(session(sql).unwrap(), None, "{sql}");
    }
}
