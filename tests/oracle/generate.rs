//! Random queries over the logical tables: joins, semi-joins, groups, set operations, subqueries, orders and limits.
//!
//! A query is made so that its answer is determined: a limit stands over an order, and where the order has ties only
//! its keys are compared; what may fail stands alone.

use crate::expressions::{Scope, aggregate, call, condition, constant, fallible, value};
use crate::random::Random;
use crate::syntax::{Family, Join, Node, Order, Query, Relation, Rows};
use crate::table::{Column, LINKS, SEEDS};

/// Makes the queries of one stream of chance.
#[derive(Debug)]
pub(crate) struct Generator {
    random: Random,
    aliases: usize,
    slots: usize,
}

fn columns_of(name: &str) -> &'static [Column] {
    if name == "seeds" { SEEDS } else { LINKS }
}

fn scope_of(alias: &str, name: &str) -> Vec<Node> {
    let of = |column: &Column| Node::Column {
        alias: alias.to_owned(),
        name: column.name.to_owned(),
        kind: column.kind,
    };
    columns_of(name).iter().map(of).collect()
}

impl Generator {
    pub(crate) fn new(seed: u64, index: u64) -> Self {
        Self { random: Random::new(seed, index), aliases: 0, slots: 0 }
    }

    /// The next query.
    pub(crate) fn query(&mut self) -> Query {
        match self.random.below(100) {
            0..=39 => self.rows(),
            40..=64 => self.groups(),
            65..=74 => self.set(),
            75..=84 => self.nested(),
            85..=91 => self.counted(),
            _ => self.risky(),
        }
    }

    /// A query of plain rows of one table, and a condition that splits it in three.
    pub(crate) fn split(&mut self) -> (Query, Node) {
        let (mut query, scope) = self.base(1);
        query.select = self.items(&scope, 1, 3);
        self.filter(&mut query, &scope, 1);
        let condition = self.condition(&scope);
        (query, condition)
    }

    fn alias(&mut self) -> String {
        self.aliases += 1;
        format!("t{}", self.aliases)
    }

    fn table(&mut self) -> (Relation, Vec<Node>) {
        let name = match self.random.below(20) {
            0..=9 => "seeds",
            10..=17 => "links",
            18 => "one",
            _ => "nothing",
        };
        self.slots += 1;
        let alias = self.alias();
        let columns = scope_of(&alias, name);
        (
            Relation { alias, rows: Rows::Table { name, slot: self.slots }, join: Join::Inner, on: vec![] },
            columns,
        )
    }

    /// FROM with up to so many tables.
    fn base(&mut self, most: usize) -> (Query, Scope) {
        let (first, mut scope) = self.table();
        let mut from = vec![first];
        let more = match self.random.below(10) {
            0..=5 => 0,
            6..=8 => 1,
            _ => 2,
        };
        for _ in 0..more.min(most.saturating_sub(1)) {
            let (mut relation, columns) = self.table();
            relation.join = match self.random.below(20) {
                0..=9 => Join::Inner,
                10..=17 => Join::Left,
                18 => Join::Full,
                _ => Join::Cross,
            };
            let key = self.join_key(&scope, &columns);
            relation.on.push(key);
            if relation.join != Join::Full && self.random.percent(30) {
                let both = Scope(scope.iter().chain(&columns).cloned().collect());
                relation.on.push(condition(&mut self.random, &both, 1));
            }
            scope.extend(columns);
            from.push(relation);
        }
        (Query { from, ..Query::default() }, Scope(scope))
    }

    /// An equality between two tables, most often on numbers or text.
    fn join_key(&mut self, left: &[Node], right: &[Node]) -> Node {
        let families =
            [Family::Int8, Family::Int8, Family::Text, Family::Numeric, Family::Date, Family::Int4];
        let family = *self.random.pick(&families);
        let pick = |random: &mut Random, columns: &[Node]| {
            let scope = Scope(columns.to_vec());
            scope.column(random, family).unwrap_or_else(|| constant(random, family))
        };
        let kids = vec![pick(&mut self.random, left), pick(&mut self.random, right)];
        call("({0} = {1})", kids, Family::Bool)
    }

    fn condition(&mut self, scope: &Scope) -> Node {
        if !self.random.percent(12) {
            return condition(&mut self.random, scope, 2);
        }
        let test = self.subquery_test(scope);
        match self.random.below(8) {
            0 => call("({0} OR {1})", vec![test, condition(&mut self.random, scope, 0)], Family::Bool),
            1 => call("(NOT {0})", vec![test], Family::Bool),
            _ => test,
        }
    }

    fn filter(&mut self, query: &mut Query, scope: &Scope, most: usize) {
        for _ in 0..self.random.between(0, most) {
            let test = self.condition(scope);
            query.filter.push(test);
        }
    }

    /// EXISTS or IN over another table, correlated or not.
    fn subquery_test(&mut self, scope: &Scope) -> Node {
        let (relation, columns) = self.table();
        let inner = Scope(columns.clone());
        let negated = self.random.percent(45);
        let mut query = Query { from: vec![relation], ..Query::default() };
        if self.random.percent(50) {
            let key = self.join_key(&scope.0, &columns);
            query.filter.push(key);
            if self.random.percent(40) {
                query.filter.push(condition(&mut self.random, &inner, 1));
            }
            query.select = vec![Node::Literal { text: "1".into(), family: Family::Int4 }];
            return Node::Exists { negated, query: Box::new(query) };
        }
        let family = *self.random.pick(&[Family::Int8, Family::Text, Family::Int4, Family::Date]);
        let shown =
            inner.column(&mut self.random, family).unwrap_or_else(|| constant(&mut self.random, family));
        query.select = vec![shown];
        if self.random.percent(60) {
            query.filter.push(condition(&mut self.random, &inner, 1));
        }
        let value = value(&mut self.random, scope, family, 0);
        Node::In { negated, value: Box::new(value), query: Box::new(query) }
    }

    fn items(&mut self, scope: &Scope, low: usize, high: usize) -> Vec<Node> {
        (0..self.random.between(low, high))
            .map(|_| {
                let family = scope.family(&mut self.random);
                value(&mut self.random, scope, family, 2)
            })
            .collect()
    }

    /// Rows of up to three tables, perhaps distinct, perhaps ordered and limited.
    fn rows(&mut self) -> Query {
        let (mut query, scope) = self.base(3);
        query.select = self.items(&scope, 1, 4);
        self.filter(&mut query, &scope, 3);
        query.distinct = self.random.percent(15);
        self.order(&mut query, &scope);
        query
    }

    /// An order over result columns, and a limit over it.
    fn order(&mut self, query: &mut Query, scope: &Scope) {
        if !self.random.percent(40) {
            return;
        }
        let mut columns: Vec<usize> = (0..query.select.len()).collect();
        for _ in 0..self.random.between(1, 2).min(columns.len()) {
            let item = columns.remove(self.random.below(columns.len()));
            let nulls = match self.random.below(4) {
                0 => Some(true),
                1 => Some(false),
                _ => None,
            };
            query.order.push(Order { item, descending: self.random.percent(50), nulls });
        }
        // An id of every table makes the order total.
        if !query.distinct && query.group.is_none() && query.set.is_none() && self.random.percent(50) {
            let ids: Vec<Node> = scope
                .0
                .iter()
                .filter(|node| matches!(node, Node::Column { name, .. } if name == "id"))
                .cloned()
                .collect();
            for id in ids {
                query.order.push(Order { item: query.select.len(), descending: false, nulls: None });
                query.select.push(id);
            }
            query.total = true;
        }
        if self.random.percent(65) {
            query.limit = Some(self.random.between(0, 9));
            if self.random.percent(35) {
                query.offset = Some(self.random.between(0, 5));
            }
        }
    }

    fn groups(&mut self) -> Query {
        let (mut query, scope) = self.base(2);
        let joined = query.from.len() > 1;
        self.filter(&mut query, &scope, 2);
        let groups = self.random.between(0, 2);
        for _ in 0..groups {
            let family = scope.family(&mut self.random);
            let depth = usize::from(self.random.percent(25));
            // A group by a constant is a group by an ordinal or nothing, which is another question.
            let key = match value(&mut self.random, &scope, family, depth) {
                Node::Literal { .. } => scope.any_column(&mut self.random),
                other => other,
            };
            query.select.push(key);
        }
        query.group = Some(groups);
        for _ in 0..self.random.between(1, 3) {
            query.select.push(aggregate(&mut self.random, &scope, joined));
        }
        if groups > 0 && self.random.percent(25) {
            let tested = aggregate(&mut self.random, &scope, true);
            let family = tested.family();
            let against = constant(&mut self.random, family);
            let shape = self.random.text(&["({0} > {1})", "({0} <= {1})", "({0} IS NOT NULL)"]);
            query.having.push(call(shape, vec![tested, against], Family::Bool));
        }
        if groups > 0 {
            self.order(&mut query, &Scope::default());
            // The groups are the keys of the rows; ordered by all of them nothing is left to choose.
            query.total = (0..groups).all(|group| query.order.iter().any(|order| order.item == group));
        }
        query
    }

    fn set(&mut self) -> Query {
        let (mut left, left_scope) = self.base(2);
        let (mut right, right_scope) = self.base(2);
        let families: Vec<Family> =
            (0..self.random.between(1, 3)).map(|_| left_scope.family(&mut self.random)).collect();
        for family in families {
            left.select.push(value(&mut self.random, &left_scope, family, 1));
            right.select.push(value(&mut self.random, &right_scope, family, 1));
        }
        self.filter(&mut left, &left_scope, 2);
        self.filter(&mut right, &right_scope, 2);
        let word = self.random.text(&["UNION", "UNION ALL", "UNION ALL", "INTERSECT", "EXCEPT"]);
        left.set = Some((word, Box::new(right)));
        self.order(&mut left, &Scope::default());
        left
    }

    /// A query over a query that is limited by a total order.
    fn nested(&mut self) -> Query {
        let (mut inner, scope) = self.base(2);
        inner.select = self.items(&scope, 1, 3);
        self.filter(&mut inner, &scope, 2);
        for _ in 0..8 {
            if inner.order.is_empty() || !inner.total {
                inner.order.clear();
                inner.limit = None;
                inner.offset = None;
                let before = inner.select.len();
                self.order(&mut inner, &scope);
                if !inner.total {
                    inner.select.truncate(before);
                }
            }
        }
        if !inner.total {
            (inner.order, inner.limit, inner.offset) = (vec![], None, None);
        }
        let alias = self.alias();
        let outer: Vec<Node> = inner
            .select
            .iter()
            .enumerate()
            .map(|(index, item)| Node::Column {
                alias: alias.clone(),
                name: format!("c{index}"),
                kind: kind_of(item.family()),
            })
            .collect();
        let rows = Rows::Query(Box::new(inner));
        let relation = Relation { alias, rows, join: Join::Inner, on: vec![] };
        let scope = Scope(outer);
        let mut query = Query { from: vec![relation], ..Query::default() };
        self.filter(&mut query, &scope, 2);
        if self.random.percent(40) {
            query.group = Some(0);
            query.select = vec![aggregate(&mut self.random, &scope, true)];
        } else {
            query.select = self.items(&scope, 1, 3);
        }
        query
    }

    /// How many rows a limit leaves, whichever they are.
    fn counted(&mut self) -> Query {
        let (mut inner, scope) = self.base(2);
        inner.select = vec![scope.any_column(&mut self.random)];
        self.filter(&mut inner, &scope, 2);
        inner.limit = Some(self.random.between(0, 20));
        if self.random.percent(40) {
            inner.offset = Some(self.random.between(0, 12));
        }
        let relation = Relation {
            alias: self.alias(),
            rows: Rows::Query(Box::new(inner)),
            join: Join::Inner,
            on: vec![],
        };
        Query {
            from: vec![relation],
            select: vec![call("count(*)", vec![], Family::Int8)],
            group: Some(0),
            ..Query::default()
        }
    }

    /// One expression that may fail, with nothing beside it that could spare its rows or fail first.
    fn risky(&mut self) -> Query {
        let (mut query, scope) = self.base(1);
        let risk = fallible(&mut self.random, &scope);
        if self.random.percent(60) {
            query.select = vec![risk];
            if self.random.percent(50) {
                query.filter.push(condition(&mut self.random, &scope, 1));
            }
        } else {
            let against = constant(&mut self.random, risk.family());
            query.select = vec![scope.any_column(&mut self.random)];
            query.filter.push(call("({0} <> {1})", vec![risk, against], Family::Bool));
        }
        query
    }
}

/// A kind of the family, for columns of subqueries; which kind does not matter there.
fn kind_of(family: Family) -> crate::table::Kind {
    use crate::table::Kind;
    match family {
        Family::Bool => Kind::Bool,
        Family::Int2 => Kind::Int2,
        Family::Int4 => Kind::Int4,
        Family::Int8 => Kind::Int8,
        Family::Float => Kind::Float8,
        Family::Numeric => Kind::Numeric(12, 2),
        Family::Text => Kind::Text,
        Family::Date => Kind::Date,
        Family::Timestamp => Kind::Timestamp,
        Family::Timestamptz => Kind::Timestamptz,
    }
}
