//! What has the same words at the server and means something else: it stays here, or goes down in other words.

use portolan_catalog::mysql::ZeroDates;

use super::fixture::Database;

/// `%` and `_` match characters, newlines too, and case counts, whatever the column's collation takes as equal.
#[tokio::test]
async fn trap_w8() {
    let mut database = Database::new().await;
    database
        .run(
            "CREATE TABLE names (id INT PRIMARY KEY, s VARCHAR(20) COLLATE utf8mb4_general_ci);
             INSERT INTO names VALUES (1, 'Dakar'), (2, 'DAKAR'), (3, 'dákar'), (4, NULL), (5, 'x\\ny'), (6, 'x\\n'),
               (7, 'x'), (8, 'a '), (9, '🚢'), (10, '');
",
        )
        .await;
    let session = database.session(ZeroDates::Error);
    for (condition, ids) in [
        ("s LIKE 'D%'", &["1", "2"][..]),
        ("s LIKE '_a%'", &["1"]),
        ("s LIKE 'd_kar'", &["3"]),
        ("s LIKE 'x%y'", &["5"]),
        ("s LIKE 'x_'", &["6"]),
        ("s LIKE 'a_'", &["8"]),
        ("s LIKE '_'", &["7", "9"]),
        ("s NOT LIKE 'd%' AND id < 5", &["1", "2"]),
    ] {
        let sql = format!("SELECT id FROM names WHERE {condition}");
        assert_eq!(session.same(&sql).await, ids, "{condition}");
        let leaf = session.leaf(&sql).await;
        assert!(leaf.contains("COLLATE utf8mb4_bin ") && leaf.contains("LIKE ?"), "{condition}\n{leaf}");
    }
    database.finish().await;
}

/// Division, rounding, joined and compared texts, lengths, parts and casts are ours; none of it is sent.
#[tokio::test]
async fn trap_w16() {
    let mut database = Database::new().await;
    database
        .run(
            "CREATE TABLE calc (k INT PRIMARY KEY, n INT, g DOUBLE, d DECIMAL(5,2), a VARCHAR(9), b VARCHAR(9), y YEAR);
             INSERT INTO calc VALUES (1, 7, 2.5, 7.50, 'Dákar', NULL, 1970), (2, 5, 0.5, 5.00, 'a', 'b', 2000),
               (3, 1, 1.5, 0.99, '', 'É', 1999);
",
        )
        .await;
    let session = database.session(ZeroDates::Error);
    for (condition, keys) in [
        ("n / 2 = 3", &["1"][..]),
        ("round(g) = 3", &["1"]),
        ("concat(a, b) = 'Dákar'", &["1"]),
        ("greatest(a, b) = 'Dákar'", &["1"]),
        ("character_length(a) = 5", &["1"]),
        ("substr(a, -1, 3) = 'D'", &["1"]),
        ("a || b = 'ab'", &["2"]),
    ] {
        let sql = format!("SELECT k FROM calc WHERE {condition}");
        assert_eq!(session.same(&sql).await, keys, "{condition}");
        let leaf = session.leaf(&sql).await;
        assert!(!leaf.contains(" WHERE "), "{condition}\n{leaf}");
    }
    // The whole part of a decimal is not the decimal.
    session.same("SELECT k FROM calc WHERE CAST(d AS int) = n").await;
    session.same("SELECT avg(n), avg(d) FROM calc").await;
    let leaf = session.leaf("SELECT avg(n), avg(d) FROM calc").await;
    assert!(!leaf.contains("AVG("), "{leaf}");
    // A number below a hundred is no year of this century or the last.
    assert!(session.same("SELECT k FROM calc WHERE y = 70").await.is_empty());
    assert_eq!(session.same("SELECT k FROM calc WHERE y > 99 AND y < 1999").await, ["1"]);
    database.finish().await;
}
