//! The star's DDL on a live server: it runs, and its rules hold.

use portolan_catalog::star::{self, NOT_APPLICABLE, UNKNOWN};

use crate::{Body, Shared};

pub(crate) const TESTS: &[(&str, Body)] = &[
    ("the_star_is_created_with_its_reserved_members", created),
    ("the_star_refuses_what_would_count_twice", rules),
    ("keys_are_the_same_in_sql", keys),
];

fn created(shared: &Shared) {
    shared.runtime.block_on(async {
        let lease = shared.server.lease().await.unwrap();
        let script = star::ddl("star").join(";\n");
        lease.batch_execute(&format!("BEGIN; {script}; COMMIT")).await.unwrap();
        for table in star::tables() {
            let name = star::qualified("star", table.name);
            let rows: i64 =
                lease.query_one(&format!("SELECT count(*) FROM {name}"), &[]).await.unwrap().get(0);
            assert_eq!(rows, if table.name.starts_with("dim_") { 3 } else { 0 }, "{name}");
            let commented: i64 = lease
                .query_one(
                    "SELECT count(*) FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 \
                     AND col_description(attrelid, attnum) IS NOT NULL",
                    &[&name],
                )
                .await
                .unwrap()
                .get(0);
            assert_eq!(commented, i64::try_from(table.columns.len()).unwrap());
        }
        lease.release();
    });
}

fn rules(shared: &Shared) {
    shared.runtime.block_on(async {
        let lease = shared.server.lease().await.unwrap();
        let insert = |key: i64, more: &str, values: &str| {
            format!(
                "INSERT INTO star.fact_cargo_operation (op_key, port_call_id, visit_id, date_arr_key, date_berth_key, \
                 date_end_key, date_dep_key, vessel_key, terminal_key, cargo_key, tonnes, teu, call_month, batch_id, \
                 src_hash, loaded_at, is_call_row, is_visit_row{more}) VALUES ({key}, 'c1', 'v1', -1, -1, -1, -1, \
                 {UNKNOWN}, {UNKNOWN}, {NOT_APPLICABLE}, 0, 0, '2026-01-01', 1, 1, now(), {values})"
            )
        };
        lease.batch_execute(&insert(1, ", waiting_h, berth_h", "true, true, 7.5, 14")).await.unwrap();
        lease.batch_execute(&insert(2, "", "false, false")).await.unwrap();
        for (statement, code) in [
            (insert(3, "", "true, false"), "23505"),
            (insert(3, "", "false, true"), "23505"),
            (insert(3, ", waiting_h", "false, false, 1"), "23514"),
            (insert(3, ", idle_h", "false, false, 1"), "23514"),
            (insert(2, "", "false, false"), "23505"),
            (insert(3, "", "false, false").replace("(3, 'c1', 'v1', -1", "(3, 'c1', 'v1', 20260101"), "23503"),
            (insert(3, "", "false, false").replace("(3, 'c1', 'v1', -1", "(3, 'c1', 'v1', NULL"), "23502"),
        ] {
            let error = lease.batch_execute(&statement).await.unwrap_err();
            assert_eq!(error.code().unwrap().code(), code, "{statement}");
        }
        let version = |key: i64, from: &str, to: &str| {
            format!(
                "INSERT INTO star.dim_vessel (vessel_key, vessel_nk, imo_status, is_inferred, valid_from, valid_to, \
                 is_current) VALUES ({key}, 'imo:9074729', 'valid', false, '{from}', '{to}', false)"
            )
        };
        lease.batch_execute(&version(10, "1900-01-01Z", "2026-01-01Z")).await.unwrap();
        lease.batch_execute(&version(11, "2026-01-01Z", "2200-01-01Z")).await.unwrap();
        let error = lease.batch_execute(&version(12, "2025-06-01Z", "2025-07-01Z")).await.unwrap_err();
        assert_eq!(error.code().unwrap().code(), "23P01");
        lease.release();
    });
}

fn keys(shared: &Shared) {
    shared.runtime.block_on(async {
        let lease = shared.server.lease().await.unwrap();
        let sql = "SELECT ('x' || encode(substr(sha256(convert_to($1 || E'\\x1F' || $2 || E'\\x1F' || $3, 'UTF8')), 1, 8), \
                   'hex'))::bit(64)::int8 & 9223372036854775807";
        let start = "1900-01-01T00:00:00Z".parse().unwrap();
        for natural_key in ["imo:9074729", "", "Thiès 港"] {
            let there: i64 = lease
                .query_one(sql, &[&"vessel", &natural_key, &"1900-01-01T00:00:00.000000Z"])
                .await
                .unwrap()
                .get(0);
            assert_eq!(there, star::surrogate_key("vessel", natural_key, start), "{natural_key:?}");
        }
        lease.release();
    });
}
