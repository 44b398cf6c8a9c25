//! A query of a WITH that gives other rows every time it runs, and is named more than once.
//!
//! PostgreSQL runs it once (SELECT, WITH Queries). Here each name becomes a plan of its own, which runs by itself, so two
//! names would have different rows: refused.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, Query, TableFactor, Visit, Visitor};

use super::{fold, folded};
use crate::error::QueryError;

/// Functions with another value every time.
const VOLATILE: [&str; 3] = ["random", "uuid", "gen_random_uuid"];

/// Refuses such a query of a WITH.
pub(super) fn check(query: &Query) -> Result<(), QueryError> {
    let Some(with) = &query.with else { return Ok(()) };
    let mut volatile = BTreeSet::new();
    for cte in &with.cte_tables {
        let seen = seen_in(cte.query.as_ref());
        if seen.volatile || seen.names.iter().any(|name| volatile.contains(name)) {
            volatile.insert(fold(&cte.alias.name));
        }
    }
    for name in &volatile {
        let others = with.cte_tables.iter().filter(|cte| fold(&cte.alias.name) != *name);
        let named = |seen: Seen| seen.names.iter().filter(|other| *other == name).count();
        let times: usize = others.map(|cte| named(seen_in(cte.query.as_ref()))).sum();
        if times + named(seen_in(query.body.as_ref())) > 1 {
            return Err(QueryError::unsupported(format!(
                "naming \"{name}\" more than once, which has other rows every time"
            ))
            .with_hint("keep its rows in a table, or name it once"));
        }
    }
    Ok(())
}

/// What is found in a part of a statement.
#[derive(Default)]
struct Seen {
    volatile: bool,
    /// Bare names of tables, each as often as it is there.
    names: Vec<String>,
}

fn seen_in<T: Visit>(tree: &T) -> Seen {
    let mut seen = Seen::default();
    let _never_breaks = tree.visit(&mut seen);
    seen
}

impl Visitor for Seen {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, args: None, .. } = factor
            && let [name] = folded(name).as_slice()
        {
            self.names.push(name.clone());
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr {
            let name = folded(&function.name);
            self.volatile |= name.last().is_some_and(|name| VOLATILE.contains(&name.as_str()));
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::parsed;
    use super::*;

    #[test]
    fn what_is_drawn_by_lot_is_named_once() {
        for (sql, refused) in [
            ("WITH q AS (SELECT random() r) SELECT * FROM q a JOIN q b ON a.r = b.r", true),
            ("WITH q AS (SELECT random() r), p AS (SELECT * FROM q) SELECT * FROM p, p o", true),
            ("WITH q AS (SELECT random() r) SELECT * FROM q WHERE r IN (SELECT r FROM q)", true),
            ("WITH q AS (SELECT random() r) SELECT r, r FROM q", false),
            ("WITH q AS (SELECT 1 r) SELECT random() FROM q a JOIN q b ON a.r = b.r", false),
        ] {
            assert_eq!(parsed::query(sql, |query| check(query)).is_err(), refused, "{sql}");
        }
    }
}
