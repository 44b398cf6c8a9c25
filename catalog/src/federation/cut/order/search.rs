//! In which order tables are fetched, and which joins read them in that order.
//!
//! A table is fetched for the keys that those before it left, whichever joins are between: what a join does not tell,
//! [`super::super::tell`] does. So the two questions are apart. First an order that fetches few rows, then of all trees
//! of joins that read their tables in that order (build sides first) the one that keeps and makes the fewest rows.

use super::super::sides::BUILT;
use super::{Cluster, Relation};
use crate::federation::measure::is_told;
use crate::federation::statistics::Domain;

/// Columns that are equal in every row, by number.
#[derive(Debug, Clone)]
pub(super) struct Class {
    pub(super) columns: Vec<usize>,
    /// How many values there are, over all tables.
    domain: f64,
}

/// Beyond this many tables the order of the statement stays.
const MOST: usize = 16;
/// Up to this many, every order is looked at; beyond, the table that is cheapest now is next.
const EVERY: usize = 8;
/// A row that a join makes weighs so much beside a row that is fetched.
const MADE: f64 = 0.1;

/// Joins over the relations of a cluster, by number.
#[derive(Debug, Clone)]
pub(super) enum Tree {
    One(usize),
    Join(Box<Tree>, Box<Tree>),
}

/// What is known after some tables were fetched.
#[derive(Debug, Clone)]
struct Fetched {
    /// Rows that are fetched.
    rows: f64,
    /// The same and what building on all tables but the last one costs at least.
    cost: f64,
    /// In the order in which they are fetched.
    tables: Vec<Thinned>,
    /// Per class, how many keys are left, once a table with one of its columns is there.
    keys: Vec<Option<f64>>,
}

/// A table, and what of it is fetched.
#[derive(Debug, Clone)]
struct Thinned {
    relation: usize,
    rows: f64,
    /// Per class, how many keys it has, if it has the column.
    keys: Vec<Option<f64>>,
}

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

    /// How many values equal columns can have.
    fn domain(&self, columns: &[usize]) -> f64 {
        let of = |column: &usize| {
            let one = self.relations.get(self.owner(*column)?)?;
            one.measure.columns.get(column - one.first)?.as_ref()
        };
        Domain::of_equal(columns.iter().filter_map(of)).unwrap_or(1_000.0).max(1.0)
    }

    /// The joins to make, if there are any that need no cross product.
    pub(super) fn best_tree(&self, classes: &[Class]) -> Option<Tree> {
        if self.relations.len() > MOST {
            return None;
        }
        // A table that shares no key with those before it may still come early, to be asked for nothing later; but not
        // every such order has joins.
        let orders = [false, true].map(|connected| Order { cluster: self, classes, connected }.found());
        orders
            .into_iter()
            .flatten()
            .filter_map(|order| {
                let planned = self.tree(&order.tables)?;
                Some((order.rows + planned.cost, planned.tree))
            })
            .min_by(|one, two| one.0.total_cmp(&two.0))
            .map(|(_, tree)| tree)
    }

    /// The cheapest joins that read tables in an order.
    fn tree(&self, tables: &[Thinned]) -> Option<Planned> {
        let count = tables.len();
        // By where a run of tables begins and how many there are.
        let mut best: Vec<Vec<Option<Planned>>> = vec![vec![None; count + 1]; count];
        for length in 1..=count {
            for begin in 0..=count - length {
                let found = match tables.get(begin) {
                    Some(table) if length == 1 => Some(Planned {
                        cost: 0.0,
                        rows: table.rows,
                        keys: table.keys.clone(),
                        tree: Tree::One(table.relation),
                    }),
                    _ => (1..length)
                        .filter_map(|split| {
                            let of = |begin: usize, length: usize| best.get(begin)?.get(length)?.as_ref();
                            of(begin, split)?.joined(of(begin + split, length - split)?)
                        })
                        .min_by(|one, two| one.cost.total_cmp(&two.cost)),
                };
                if let Some(place) = best.get_mut(begin).and_then(|row| row.get_mut(length)) {
                    *place = found;
                }
            }
        }
        best.first()?.get(count)?.clone()
    }
}

/// Joins of some of the tables.
#[derive(Debug, Clone)]
struct Planned {
    cost: f64,
    rows: f64,
    keys: Vec<Option<f64>>,
    tree: Tree,
}

impl Planned {
    /// This one built, the other probed; `None` if no column connects them.
    fn joined(&self, probe: &Self) -> Option<Self> {
        let shared =
            self.keys.iter().zip(&probe.keys).filter_map(|(one, two)| Some((one.as_ref()?, two.as_ref()?)));
        let values = shared.map(|(one, two)| one.max(*two)).reduce(|one, two| one * two)?;
        // Several keys together have no more values than there are rows with them.
        let values = values.min(self.rows.max(probe.rows)).max(1.0);
        let rows = (self.rows * probe.rows / values).max(1.0);
        let keys = self
            .keys
            .iter()
            .zip(&probe.keys)
            .map(|(one, two)| match (one, two) {
                (Some(one), Some(two)) => Some(one.min(*two).min(rows)),
                (one, two) => one.or(*two).map(|keys| keys.min(rows)),
            })
            .collect();
        Some(Self {
            cost: self.cost + probe.cost + BUILT * self.rows + MADE * rows,
            rows,
            keys,
            tree: Tree::Join(Box::new(self.tree.clone()), Box::new(probe.tree.clone())),
        })
    }
}

/// The search for an order.
struct Order<'a> {
    cluster: &'a Cluster,
    classes: &'a [Class],
    /// Whether each table must share a key with one before it.
    connected: bool,
}

impl Order<'_> {
    fn found(&self) -> Option<Fetched> {
        let count = self.cluster.relations.len();
        let none = Fetched { rows: 0.0, cost: 0.0, tables: vec![], keys: vec![None; self.classes.len()] };
        if count <= EVERY { self.every(none, count) } else { self.cheapest_next(&none, count) }
    }

    /// For every set of tables the cheapest way to have fetched them.
    fn every(&self, none: Fetched, count: usize) -> Option<Fetched> {
        let mut best: Vec<Option<Fetched>> = vec![None; 1 << count];
        *best.first_mut()? = Some(none);
        for set in 0..best.len() {
            let Some(so_far) = best.get(set).cloned().flatten() else { continue };
            for next in (0..count).filter(|next| set & (1 << next) == 0) {
                let Some(with) = self.with(&so_far, next) else { continue };
                let place = best.get_mut(set | (1 << next))?;
                if place.as_ref().is_none_or(|known| with.cost < known.cost) {
                    *place = Some(with);
                }
            }
        }
        best.pop().flatten()
    }

    /// From every table on, the one that is cheapest now is next.
    fn cheapest_next(&self, none: &Fetched, count: usize) -> Option<Fetched> {
        let from = |start: usize| {
            let mut so_far = self.with(none, start)?;
            while so_far.tables.len() < count {
                let rest =
                    (0..count).filter(|next| so_far.tables.iter().all(|table| table.relation != *next));
                let next = rest.filter_map(|next| self.with(&so_far, next));
                so_far = next.min_by(|one, two| one.cost.total_cmp(&two.cost))?;
            }
            Some(so_far)
        };
        (0..count).filter_map(from).min_by(|one, two| one.cost.total_cmp(&two.cost))
    }

    /// One more table, fetched for the keys that are left.
    fn with(&self, so_far: &Fetched, next: usize) -> Option<Fetched> {
        let relation = self.cluster.relations.get(next)?;
        let own: Vec<Option<usize>> = self.classes.iter().map(|class| class.column_of(relation)).collect();
        let shares = || own.iter().zip(&so_far.keys).any(|(column, keys)| column.is_some() && keys.is_some());
        if self.connected && !so_far.tables.is_empty() && !shares() {
            return None;
        }
        let (mut fetched, mut rows) = (relation.measure.fetched, relation.measure.rows);
        let table_rows = relation.measure.table_rows();
        for ((column, known), class) in own.iter().zip(&so_far.keys).zip(self.classes) {
            let (Some(column), Some(keys)) = (column, known) else { continue };
            if is_told(*keys, table_rows.max(class.domain)) {
                let heard = relation.heard.get(*column).copied().unwrap_or_default();
                let left = (keys / class.domain).min(1.0);
                fetched *= 1.0 - heard * (1.0 - left);
                rows *= if heard > 0.0 { left } else { 1.0 };
            }
        }
        let (fetched, rows) = (fetched.max(1.0), rows.max(1.0));
        let mut after = so_far.clone();
        let mut keys = vec![None; self.classes.len()];
        let places = own.iter().zip(self.classes).zip(keys.iter_mut().zip(&mut after.keys));
        for ((column, class), (place, known)) in places {
            let Some(column) = column else { continue };
            let values = relation.measure.values(*column).map_or(class.domain, |(values, _)| values);
            let here = values.min(rows).min(known.unwrap_or(class.domain)).max(1.0);
            *place = Some(here);
            *known = Some(here);
        }
        // Builds come first: whatever is read after a table is joined to it as built.
        after.cost += fetched + so_far.tables.last().map_or(0.0, |before| BUILT * before.rows);
        after.rows += fetched;
        after.tables.push(Thinned { relation: next, rows, keys });
        Some(after)
    }
}

impl Class {
    /// The number that a relation gives the column of this class, if it has one.
    fn column_of(&self, relation: &Relation) -> Option<usize> {
        self.columns.iter().find_map(|column| relation.at(*column))
    }
}
