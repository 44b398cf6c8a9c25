//! Which table next: the search for an order that fetches few rows.
//!
//! From every table on, the next one is always the one that costs least; the best of these orders is taken. The rows
//! fetched of a table are those whose keys are among the keys so far, if a list of them is worth sending.

use super::{Cluster, Relation};
use crate::federation::gate::MAX_LIST;

/// Columns that are equal in every row, by number.
#[derive(Debug, Clone)]
pub(super) struct Class {
    pub(super) columns: Vec<usize>,
    /// How many values there are, over all tables.
    domain: f64,
}

/// Beyond this many tables the order of the statement stays.
const MOST: usize = 16;

impl Cluster {
    /// The classes of equal columns; `None` if one table has two columns of one class, which nobody would miss here.
    pub(super) fn classes(&self) -> Option<Vec<Class>> {
        let mut classes: Vec<Vec<usize>> = Vec::new();
        for (one, two) in &self.equal {
            let mut merged = vec![*one, *two];
            classes.retain(|class| {
                let same = class.contains(one) || class.contains(two);
                if same {
                    merged.extend(class.iter().copied());
                }
                !same
            });
            merged.sort_unstable();
            merged.dedup();
            classes.push(merged);
        }
        let alone = |columns: &Vec<usize>| {
            let mut owners: Vec<_> = columns.iter().map(|column| self.owner(*column)).collect();
            owners.sort_unstable();
            owners.windows(2).all(|pair| matches!(pair, [one, two] if one != two))
        };
        if !classes.iter().all(alone) {
            return None;
        }
        Some(classes.into_iter().map(|columns| Class { domain: self.domain(&columns), columns }).collect())
    }

    /// How many values equal columns can have: as many as the one that is known to have most, or as there are rows
    /// in the smallest of their tables, which then is the one they refer to.
    fn domain(&self, columns: &[usize]) -> f64 {
        let of = |column: &usize| {
            let one = self.relations.get(self.owner(*column)?)?;
            one.measure.columns.get(column - one.first).and_then(Option::as_ref).map(|found| (one, found))
        };
        let known: Vec<f64> = columns.iter().filter_map(|column| of(column)?.1.distinct).collect();
        let rows = columns.iter().filter_map(|column| Some(of(column)?.1.table_rows));
        let domain = match known.into_iter().reduce(f64::max) {
            Some(most) => most,
            None => rows.reduce(f64::min).unwrap_or(1_000.0),
        };
        domain.max(1.0)
    }

    /// An order of the relations in which each is joined to those before it by equal columns, if there is one.
    pub(super) fn best_order(&self, classes: &[Class]) -> Option<Vec<usize>> {
        if self.relations.len() > MOST {
            return None;
        }
        let orders = (0..self.relations.len()).filter_map(|start| self.order_from(start, classes));
        orders.min_by(|(one, _), (two, _)| one.total_cmp(two)).map(|(_, order)| order)
    }

    fn order_from(&self, start: usize, classes: &[Class]) -> Option<(f64, Vec<usize>)> {
        let mut rows = self.relations.get(start)?.measure.rows;
        let mut cost = rows;
        let mut order = vec![start];
        while order.len() < self.relations.len() {
            let next = (0..self.relations.len())
                .filter(|index| !order.contains(index))
                .filter_map(|index| {
                    let (fetched, joined) = self.step(rows, &order, index, classes)?;
                    Some((fetched + joined, joined, index))
                })
                .min_by(|one, two| one.0.total_cmp(&two.0))?;
            cost += next.0;
            rows = next.1;
            order.push(next.2);
        }
        Some((cost, order))
    }

    /// Rows fetched of one more relation, and rows after joining it; `None` if no column connects it.
    fn step(&self, rows: f64, order: &[usize], next: usize, classes: &[Class]) -> Option<(f64, f64)> {
        let relation = self.relations.get(next)?;
        let inside = |column: &usize, one: &Relation| one.has(*column);
        let shared: Vec<&Class> = classes
            .iter()
            .filter(|class| {
                class.columns.iter().any(|column| inside(column, relation))
                    && class.columns.iter().any(|column| {
                        order.iter().any(|at| self.relations.get(*at).is_some_and(|one| inside(column, one)))
                    })
            })
            .collect();
        let largest = shared.iter().map(|class| class.domain).reduce(f64::max)?;
        let own = relation.measure.rows;
        // Several keys together have no more values than their table has rows.
        let table_rows = relation.measure.table_rows().max(largest);
        let domain = shared.iter().map(|class| class.domain).product::<f64>().min(table_rows);
        let joined = (rows * own / domain).max(1.0);
        // The smaller side builds, and is then fetched without asking for keys.
        let fetched = if rows > own {
            own
        } else {
            shared.iter().fold(own, |fetched, class| {
                let keys = rows.min(class.domain);
                let told = keys <= MAX_LIST as f64 && (keys <= 1_000.0 || keys * 2.0 <= table_rows);
                if told { fetched * (keys / class.domain).min(1.0) } else { fetched }
            })
        };
        Some((fetched.max(joined.min(own)), joined))
    }
}
