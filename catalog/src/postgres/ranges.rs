//! A large table read in ranges of its pages, each on a connection of its own, all at one snapshot.
//!
//! Only a whole plain table is: where a condition or a limit is sent, an index may be the better way. The first range
//! starts at the first page and the last one has no end, so that whatever the file's length is thought to be, every row
//! is in exactly one range.

use tokio_postgres::Client;

use super::{quote_identifier, quote_literal};
use crate::federation::Fragment;

/// Estimated rows from which ranges pay.
const ROWS: u64 = 500_000;
/// Bytes of the file from which they pay.
const BYTES: i64 = 64 * 1024 * 1024;
/// Ranges at most.
const RANGES: usize = 4;

/// How many ranges a fragment may be read in, by what is known before its server is asked; 1 for one piece.
pub(super) fn wanted(fragment: &Fragment, free_slots: usize) -> usize {
    let Fragment { table, filters, joins, aggregate, sort, limit, runs, .. } = fragment;
    let unconditional = filters.is_empty() && runs.is_empty();
    let whole =
        unconditional && joins.is_empty() && aggregate.is_none() && sort.is_empty() && limit.is_none();
    if !whole || table.row_estimate.is_none_or(|rows| rows < ROWS) {
        return 1;
    }
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    RANGES.min(processors).min(free_slots).max(1)
}

/// The conditions of so many ranges of a table as the server has it now; none if it is not a plain table of that size.
pub(super) async fn conditions(
    client: &Client,
    namespace: &str,
    table: &str,
    ranges: usize,
) -> Result<Vec<String>, tokio_postgres::Error> {
    let name = format!("{}.{}", quote_identifier(namespace), quote_identifier(table));
    let Some(name) = quote_literal(&name) else { return Ok(vec![]) };
    let sql = format!(
        "SELECT pg_catalog.pg_relation_size(c.oid), current_setting('block_size')::int8 FROM pg_catalog.pg_class c \
         WHERE c.oid = {name}::pg_catalog.regclass AND c.relkind = 'r' \
         AND current_setting('server_version_num')::int4 >= 140000"
    );
    let Some(row) = client.query_opt(&sql, &[]).await? else { return Ok(vec![]) };
    let (bytes, block): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    Ok(if bytes < BYTES { vec![] } else { split(bytes / block.max(1), ranges) })
}

/// Ranges over so many pages, of which the first and the last are open.
fn split(pages: i64, ranges: usize) -> Vec<String> {
    let Ok(count) = i64::try_from(ranges) else { return vec![] };
    let start = |range: i64| format!("'({},0)'::pg_catalog.tid", pages / count * range);
    (0..count)
        .map(|range| match (range, range + 1 == count) {
            (_, true) if count == 1 => "true".to_owned(),
            (0, _) => format!("ctid < {}", start(1)),
            (_, true) => format!("ctid >= {}", start(range)),
            _ => format!("ctid >= {} AND ctid < {}", start(range), start(range + 1)),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_last_range_are_open_and_none_overlap() {
        assert_eq!(
            split(10, 3),
            [
                "ctid < '(3,0)'::pg_catalog.tid",
                "ctid >= '(3,0)'::pg_catalog.tid AND ctid < '(6,0)'::pg_catalog.tid",
                "ctid >= '(6,0)'::pg_catalog.tid",
            ]
        );
        assert_eq!(split(0, 2), ["ctid < '(0,0)'::pg_catalog.tid", "ctid >= '(0,0)'::pg_catalog.tid"]);
        assert_eq!(split(10, 1), ["true"]);
    }
}
