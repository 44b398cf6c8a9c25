//! Hostile texts as constants and as names: none breaks out of a statement, none is changed on its way.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::logical_expr::{Expr, col, lit};
use mysql_async::prelude::Queryable as _;
use portolan_catalog::federation::{Fragment, PushedFilter};
use portolan_catalog::source::Source as _;

use super::fixture::{Database, read, shown, table};

const ALPHABET: [char; 14] = ['a', 'B', '\'', '\\', '"', ';', '`', '\0', '\n', '%', '?', '-', ':', '*'];

/// Texts of a fixed sequence (SplitMix64).
fn texts(count: usize, seed: u64, alphabet: &[char]) -> Vec<String> {
    let mut state = seed;
    let mut roll = |sides: usize| {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        usize::try_from((z ^ (z >> 27)) % u64::try_from(sides).unwrap()).unwrap()
    };
    let made: BTreeSet<String> = (0..count)
        .map(|_| {
            let length = 1 + roll(7);
            (0..length).map(|_| alphabet[roll(alphabet.len())]).collect()
        })
        .collect();
    made.into_iter().collect()
}

/// Thousands of random texts through `=`, `<>`, IN and LIKE: 0 changed rows, 0 errors.
#[tokio::test]
async fn trap_f1() {
    let mut database = Database::new().await;
    database.run("CREATE TABLE hostile (s VARCHAR(20) COLLATE utf8mb4_general_ci, INDEX (s))").await;
    let all = texts(3_000, 42, &ALPHABET);
    assert!(all.len() > 2_000, "{}", all.len());
    for chunk in all.chunks(500) {
        let places = vec!["(?)"; chunk.len()].join(", ");
        database
            .admin
            .exec_drop(format!("INSERT INTO hostile VALUES {places}"), chunk.to_vec())
            .await
            .unwrap();
    }
    let source = database.source();
    let definition = table(&source, "hostile").await;
    let ask = |expr: Expr| {
        let filters = vec![PushedFilter { expr, exact: false }];
        let fragment = Fragment { filters, ..Fragment::whole(Arc::clone(&definition)) };
        let source = Arc::clone(&source);
        async move { shown(&read(&source, &fragment).await.unwrap()) }
    };
    for (index, text) in all.iter().enumerate() {
        let rows = ask(col("s").eq(lit(text.as_str()))).await;
        assert!(rows.contains(text), "{text:?}: {rows:?}");
        if index % 4 > 0 {
            continue;
        }
        let exact = ask(Expr::IsTrue(Box::new(col("s").eq(lit(text.as_str()))))).await;
        assert_eq!(exact, std::slice::from_ref(text));
    }
    for chunk in all.chunks(100) {
        let list: Vec<Expr> = chunk.iter().map(|text| lit(text.as_str())).collect();
        let others = ask(col("s").in_list(list.clone(), true)).await;
        assert_eq!(others.len(), all.len() - chunk.len());
        let found: BTreeSet<String> = ask(col("s").in_list(list, false)).await.into_iter().collect();
        assert!(chunk.iter().all(|text| found.contains(text)));
    }
    for text in all.iter().filter(|text| !text.contains('\\')).take(300) {
        let rows = ask(col("s").like(lit(text.as_str()))).await;
        assert!(rows.contains(text), "{text:?}: {rows:?}");
    }
    let left = usize::try_from(database.number("SELECT count(*) FROM hostile").await).unwrap();
    assert_eq!(left, all.len());
    database.finish().await;
}

/// The same as names of database, table and column.
#[tokio::test]
async fn trap_f1_names() {
    let name = format!("pt '\"`;--{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
    let mut database = Database::named(name).await;
    let alphabet: Vec<char> =
        ALPHABET.into_iter().filter(|character| *character != '\0').chain(['.', ' ', '/']).collect();
    let quoted = |name: &str| format!("`{}`", name.replace('`', "``"));
    let mut names: BTreeSet<String> =
        texts(60, 7, &alphabet).into_iter().map(|name| format!("{name}x")).collect();
    names.extend(["select", "Order", "a.b", "group by", "é", "it's", "wei`rd", "\"q\""].map(String::from));
    // The server's own rule: names do not differ by case where the file system does not tell them apart.
    for name in &names {
        let column = quoted(&format!("{name}y"));
        let create = format!("CREATE TABLE {} ({column} INT, `select` INT)", quoted(name));
        database.admin.query_drop(create).await.unwrap();
        database
            .admin
            .query_drop(format!("INSERT INTO {} VALUES (1, 2), (3, 4)", quoted(name)))
            .await
            .unwrap();
    }
    let source = database.source();
    let told: BTreeSet<String> =
        source.tables().await.unwrap().iter().map(|table| table.name.clone()).collect();
    assert_eq!(told, names);
    for definition in source.tables().await.unwrap() {
        let column =
            Expr::Column(datafusion::common::Column::new_unqualified(format!("{}y", definition.name)));
        let filters = vec![PushedFilter { expr: column.gt(lit(1_i32)), exact: true }];
        let rows = shown(&read(&source, &Fragment { filters, ..Fragment::whole(definition) }).await.unwrap());
        assert_eq!(rows, ["3|4"]);
    }
    database.finish().await;
}

/// Lists that only narrow are left out where they do not fit; what must hold is refused with a reason.
#[tokio::test]
async fn what_does_not_fit_into_a_statement_is_left_out_or_refused() {
    let mut database = Database::new().await;
    database.run("CREATE TABLE t (k INT);\nINSERT INTO t VALUES (1), (2), (3)").await;
    let source = database.source();
    let definition = table(&source, "t").await;
    let filter = |first: i32, exact| PushedFilter {
        expr: col("k").in_list((first..first + 40_000).map(lit).collect(), false),
        exact,
    };
    let ask = |filters: Vec<PushedFilter>| {
        let fragment = Fragment { filters, ..Fragment::whole(Arc::clone(&definition)) };
        let source = Arc::clone(&source);
        async move { read(&source, &fragment).await.map(|batches| shown(&batches)) }
    };
    assert_eq!(ask(vec![filter(2, true)]).await.unwrap(), ["2", "3"]);
    assert_eq!(ask(vec![filter(2, true), filter(3, false)]).await.unwrap(), ["2", "3"]);
    let error = ask(vec![filter(2, true), filter(3, true)]).await.unwrap_err();
    assert!(error.message.contains("binds more than 65535 values"), "{error}");
    database.finish().await;
}
