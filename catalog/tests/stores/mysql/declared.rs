//! Columns that are read as a declared type, and tables that are not shown, on a real server.

use datafusion::arrow::datatypes::DataType;
use portolan_catalog::config::MysqlConfig;
use portolan_catalog::mysql::ZeroDates;
use portolan_catalog::source::{DECLARED_KEY, SourceErrorKind};
use serde_json::{Value, json};

use super::fixture::{Database, Session, open, source_error};

const LOAD: &str = "CREATE TABLE t (id int PRIMARY KEY, flag tinyint(1) NOT NULL, opt tinyint, w decimal(30,12), bad tinyint(1));
CREATE TABLE tmp_t (id int);
INSERT INTO t VALUES (1, 1, NULL, 1.5, 2), (2, 0, 1, 0.25, 0), (3, 1, 0, NULL, 1), (4, 0, NULL, -7, -1), (5, 1, 1, 1.5, NULL);
";

fn declaring(database: &Database, tables: Value, columns: Value) -> Session {
    let (tables, columns) =
        (serde_json::from_value(tables).unwrap(), serde_json::from_value(columns).unwrap());
    Session::new(vec![open("ops", &MysqlConfig { tables, columns, ..database.config() })])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_declared_bool_is_true_or_false_and_push_down_changes_nothing() {
    let mut database = Database::new().await;
    database.run(LOAD).await;
    let columns = json!({"t.flag": "bool", "t.opt": "boolean", "t.w": "decimal(20,2)", "t.bad": "bool"});
    let session = declaring(&database, json!({"exclude": ["tmp_*"]}), columns);
    let (_, table) = session.catalog.find_table("ops", "t").await.unwrap().unwrap();
    let found: Vec<&DataType> = table.arrow.fields().iter().map(|field| field.data_type()).collect();
    let (flag, weight) = (&DataType::Boolean, &DataType::Decimal128(20, 2));
    assert_eq!(found, [&DataType::Int32, flag, flag, weight, flag]);
    assert!(
        !table.arrow.field(1).is_nullable() && table.arrow.field(1).metadata().contains_key(DECLARED_KEY)
    );
    let all = ["1|true|∅|1.50", "2|false|true|0.25", "3|true|false|∅", "4|false|∅|-7.00", "5|true|true|1.50"];
    assert_eq!(session.same("SELECT id, flag, opt, w FROM t ORDER BY id").await, all);
    let weight = "CAST('1.5' AS DECIMAL(20,2))";
    for (sql, rows, sent) in [
        ("SELECT id FROM t WHERE flag", "1 3 5", "(`flag` <> 0)"),
        ("SELECT id FROM t WHERE NOT flag", "2 4", "(`flag` <> 1)"),
        ("SELECT id FROM t WHERE flag = false", "2 4", ""),
        ("SELECT id FROM t WHERE opt", "2 5", "(`opt` <> 0)"),
        ("SELECT id FROM t WHERE opt IS TRUE", "2 5", ""),
        ("SELECT id FROM t WHERE opt IS NOT TRUE", "1 3 4", ""),
        ("SELECT id FROM t WHERE opt IS NOT FALSE", "1 2 4 5", ""),
        ("SELECT id FROM t WHERE opt IS NULL", "1 4", ""),
        ("SELECT id FROM t WHERE opt IS DISTINCT FROM flag", "1 2 3 4", ""),
        ("SELECT id FROM t WHERE flag OR id = 4", "1 3 4 5", ""),
        ("SELECT id FROM t WHERE NOT (flag AND id > 1)", "1 2 4", ""),
        ("SELECT flag, count(*) FROM t GROUP BY flag", "false|2 true|3", ""),
        ("SELECT count(opt), count(DISTINCT opt), max(flag), sum(w) FROM t", "3|2|true|-3.75", ""),
        ("SELECT count(*) FROM t WHERE flag", "3", ""),
        ("SELECT count(*) FILTER (WHERE flag) FROM t", "3", ""),
        ("SELECT id FROM t ORDER BY flag DESC, id LIMIT 2", "1 3", ""),
        ("SELECT id FROM t WHERE flag ORDER BY id DESC LIMIT 1", "5", ""),
        ("SELECT id, w FROM t ORDER BY w DESC NULLS LAST, id LIMIT 2", "1|1.50 5|1.50", "ORDER BY"),
        ("SELECT a.id, b.id FROM t a JOIN t b ON a.flag = b.opt AND a.id > b.id", "3|2 4|3 5|2", ""),
    ] {
        let mut found = session.same(sql).await;
        if !sql.contains("ORDER BY") {
            found.sort();
        }
        assert_eq!(found.join(" "), rows, "{sql}");
        let leaves = session.leaves(sql).await.join("\n");
        assert!(leaves.contains(sent), "{sql}\n{leaves}");
    }
    assert_eq!(session.same(&format!("SELECT id FROM t WHERE w = {weight}")).await, ["1", "5"]);
    let leaf = session.leaf("SELECT id FROM t WHERE flag AND opt IS NULL").await;
    assert!(leaf.contains("superset: ") && leaf.contains("declared type is checked here"), "{leaf}");

    // A value that is neither is an error of whoever asks for it, wherever the condition is evaluated.
    for sql in [
        "SELECT bad FROM t",
        "SELECT id FROM t WHERE bad",
        "SELECT id FROM t WHERE NOT bad",
        "SELECT id FROM t WHERE bad IS NOT TRUE",
        "SELECT count(bad) FROM t",
        "SELECT bad, count(*) FROM t GROUP BY bad",
    ] {
        for pushdown in [true, false] {
            let error = session.rows(sql, pushdown).await.unwrap_err();
            let told = "a value of column \"ops.t.bad\" is neither 0 nor 1, and the column is declared bool";
            assert!(error.contains(told), "{sql}: {error}");
        }
    }
    database.run("INSERT INTO t VALUES (6, 0, 0, 0.001, 0)").await;
    for pushdown in [true, false] {
        for sql in ["SELECT w FROM t", "SELECT sum(w) FROM t", "SELECT w, count(*) FROM t GROUP BY w"] {
            let error = session.rows(sql, pushdown).await.unwrap_err();
            assert!(error.contains("a value of column \"ops.t.w\" does not fit its type"), "{sql}: {error}");
        }
    }
    let error = session.context.sql("SELECT w FROM t").await.unwrap().collect().await.unwrap_err();
    let hint = source_error(&error).hint.unwrap();
    assert!(
        hint.contains("correct columns: {t.w: \"numeric(20,2)\"}") && hint.contains("decimal(30,12)"),
        "{hint}"
    );

    assert!(session.rows("SELECT * FROM tmp_t", true).await.unwrap_err().contains("not found"));
    let plain = database.session(ZeroDates::Error);
    assert_eq!(plain.same("SELECT flag FROM t WHERE bad = 2").await, ["1"], "a number unless declared");
    assert!(plain.same("SELECT * FROM tmp_t").await.is_empty());
    database.finish().await;
}

#[tokio::test]
async fn a_line_that_cannot_be_kept_is_told() {
    let mut database = Database::new().await;
    database.run(LOAD).await;
    let columns = json!({"t.id": "bool", "t.w": "text", "t.banner": "bool", "nowhere.c": "bool"});
    let session = declaring(&database, json!({"include": ["t", "u"]}), columns);
    assert!(session.catalog.tables().await.is_empty());
    let error = session.catalog.find_table("ops", "t").await.unwrap_err();
    assert_eq!(error.kind, SourceErrorKind::Unsupported);
    assert!(error.message.starts_with("column \"ops.t.id\" is int"), "{}", error.message);
    assert!(error.hint.unwrap().contains("a tinyint may be bool, a decimal numeric(p,s)"));
    assert!(session.catalog.find_table("ops", "tmp_t").await.unwrap().is_none());
    let told = session.catalog.statuses().remove(0).misdeclared.join("\n");
    for part in [
        "\"u\" of tables.include",
        "\"nowhere.c\" of columns",
        "\"t.banner\" of columns",
        "\"ops.t.w\" is decimal(30,12)",
    ] {
        assert!(told.contains(part), "{told}");
    }
    // A number that becomes a text is another column.
    let session = declaring(&database, json!({}), json!({"t.flag": "bool"}));
    session.same("SELECT flag FROM t").await;
    database.run("ALTER TABLE t MODIFY flag varchar(9)").await;
    let error = session.rows("SELECT flag FROM t", true).await.unwrap_err();
    assert!(error.contains("has changed"), "{error}");
    let error = session.rows("SELECT flag FROM t", true).await.unwrap_err();
    assert!(error.contains("column \"ops.t.flag\" is varchar(9), which is not read as bool"), "{error}");
    database.finish().await;
}
