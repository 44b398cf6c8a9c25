use super::*;

#[derive(Debug)]
struct Names;

impl RelationNames for Names {
    fn has_relation(&self, schema: &str, name: &str) -> bool {
        (schema, name) == ("kpi", "port_calls") || (schema, name) == ("tos", "vessel")
    }

    fn has_schema(&self, schema: &str) -> bool {
        matches!(schema, "kpi" | "tos")
    }

    fn is_engine_function(&self, name: &str) -> bool {
        name == "approx_distinct"
    }
}

fn class(sql: &str) -> &'static str {
    class_in(sql, &["public"])
}

fn class_in(sql: &str, path: &[&str]) -> &'static str {
    let path: Vec<String> = path.iter().map(|schema| (*schema).to_owned()).collect();
    match classify(sql, &path, &Names, &Limits::default()) {
        Ok(Class::Empty) => "empty",
        Ok(Class::Session(_)) => "session",
        Ok(Class::Constant) => "constant",
        Ok(Class::Catalog) => "catalog",
        Ok(Class::Data) => "data",
        Ok(Class::Mixed) => "mixed",
        Ok(Class::Unparseable) => "unparseable",
        Ok(Class::Refused(_)) => "refused",
        Err(_) => "error",
    }
}

#[test]
fn statements_go_to_who_knows_their_relations() {
    let cases = [
        ("select 1", "constant"),
        ("SELECT 1 AS a, 'x', null, true", "constant"),
        ("select 1 + 1", "catalog"),
        ("select 'pg_class'::regclass", "catalog"),
        ("select version()", "catalog"),
        ("select format_type(23, -1)", "catalog"),
        ("select array(select 1)", "catalog"),
        ("select * from generate_series(1, 5000000)", "constant"),
        ("select * from pg_catalog.generate_series(1, 5)", "catalog"),
        ("select approx_distinct(1)", "constant"),
        ("select relname from pg_class", "catalog"),
        ("select * from information_schema.tables t where t.table_name = 'x'", "catalog"),
        ("select * from pg_class c join pg_namespace n on n.oid = c.relnamespace", "catalog"),
        ("select (information_schema._pg_expandarray(array[1])).n", "catalog"),
        ("table pg_class", "catalog"),
        ("explain select * from pg_class", "catalog"),
        ("select * from kpi.port_calls", "data"),
        ("select * from portolan.kpi.port_calls", "data"),
        ("select * from (select * from kpi.port_calls) x", "data"),
        ("select * from kpi.nothing", "data"),
        ("explain analyze select * from kpi.port_calls", "data"),
        ("select * from nowhere", "data"),
        ("select extract(year from eta), current_setting('x') from kpi.port_calls", "data"),
        ("with pg_x as (select 1 as a) select * from pg_x", "catalog"),
        ("with c as (select * from kpi.port_calls) select * from c", "data"),
        ("select 1 where exists (select 1 from kpi.port_calls)", "data"),
        ("select * from kpi.port_calls, pg_database", "refused"),
        ("select * from pg_class where 1 in (select 1 from tos.vessel)", "refused"),
        ("select * from pg_class where oid = 'kpi.port_calls'::regclass", "catalog"),
        ("frobnicate", "unparseable"),
    ];
    for (sql, expected) in cases {
        assert_eq!(class(sql), expected, "{sql}");
    }
}

#[test]
fn bare_names_resolve_along_the_search_path() {
    assert_eq!(class_in("select * from port_calls", &["public"]), "data");
    assert_eq!(class_in("select * from port_calls, pg_class", &["kpi"]), "refused");
    assert_eq!(class_in("select * from tables", &["information_schema"]), "catalog");
}

#[test]
fn a_catalog_statement_may_mention_columns_like_relations() {
    let sql = "SELECT c.relname, extract(epoch FROM now()) FROM pg_catalog.pg_class c \
               LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
               WHERE c.relname OPERATOR(pg_catalog.~) '^(port_calls)$' COLLATE pg_catalog.default";
    assert_eq!(class(sql), "catalog");
}

#[test]
fn hostile_texts_are_refused_by_their_size_and_depth() {
    let code = |sql: &str| classify(sql, &[], &Names, &Limits::default()).unwrap_err().sqlstate;
    assert_eq!(code(&format!("select {}1", "1+".repeat(100_000))), "54001");
    assert_eq!(code(&format!("select 1 where {}", "a or ".repeat(50_000))), "54001");
    assert_eq!(code(&format!("select {}1{}", "(".repeat(10_000), ")".repeat(10_000))), "54001");
    assert_eq!(code(&format!("select {}1", "- ".repeat(10_000))), "54001");
    assert_eq!(code(&format!("select {}1", "not ".repeat(10_000))), "54001");
    assert_eq!(code(&format!("select {} 1 end", "case when true then ".repeat(5_000))), "54001");
    assert_eq!(code(&format!("select 1{}", "::int".repeat(5_000))), "54001");
    assert_eq!(code(&format!("select '{}'", "x".repeat(11 << 20))), "54000");
    assert_eq!(code(&format!("select 1 in ({}1)", "1,".repeat(300_000))), "54000");
    // A long list is fine.
    assert_eq!(class(&format!("select * from kpi.port_calls where a in ({}1)", "1,".repeat(20_000))), "data");
}
