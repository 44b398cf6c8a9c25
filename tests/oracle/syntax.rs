//! The tree of a generated query, its text, and the smaller queries next to it.
//!
//! The tree knows just enough to be printed and to be made smaller: a node is a shape with holes, and its type. Where
//! tables live is decided when it is printed, so the same query can be asked of every store.

use crate::table::Kind;

/// Families of types; values of one family go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Bool,
    Int2,
    Int4,
    Int8,
    Float,
    Numeric,
    Text,
    Date,
    Timestamp,
    Timestamptz,
}

impl Family {
    pub(crate) fn of(kind: Kind) -> Self {
        match kind {
            Kind::Bool => Self::Bool,
            Kind::Int2 => Self::Int2,
            Kind::Int4 => Self::Int4,
            Kind::Int8 => Self::Int8,
            Kind::Float8 | Kind::SignedZero => Self::Float,
            Kind::Numeric(..) => Self::Numeric,
            Kind::Text | Kind::Word => Self::Text,
            Kind::Date => Self::Date,
            Kind::Timestamp => Self::Timestamp,
            Kind::Timestamptz => Self::Timestamptz,
        }
    }

    pub(crate) fn sql(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int2 => "int2",
            Self::Int4 => "int4",
            Self::Int8 => "int8",
            Self::Float => "float8",
            Self::Numeric => "numeric",
            Self::Text => "text",
            Self::Date => "date",
            Self::Timestamp => "timestamp",
            Self::Timestamptz => "timestamptz",
        }
    }
}

/// What an expression says about being compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Traits {
    /// May raise an error for some row.
    pub(crate) fallible: bool,
    /// Differs from PostgreSQL by a documented difference.
    pub(crate) ours: bool,
    /// The last digits depend on the order of rows.
    pub(crate) approximate: bool,
}

/// An expression.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    /// A column of a table in scope.
    Column { alias: String, name: String, kind: Kind },
    /// A constant, as it is written.
    Literal { text: String, family: Family },
    /// A shape with holes `{0}`, `{1}` … and `{*}` for all further ones.
    Call { shape: &'static str, kids: Vec<Node>, family: Family, traits: Traits },
    /// `[NOT] EXISTS (query)`.
    Exists { negated: bool, query: Box<Query> },
    /// `value [NOT] IN (query)`.
    In { negated: bool, value: Box<Node>, query: Box<Query> },
    /// A subquery of one value.
    Scalar { query: Box<Query>, family: Family },
}

/// One column of the result.
pub(crate) type Item = Node;

/// How a table joins those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Join {
    Inner,
    Left,
    Full,
    Cross,
}

/// What rows come from.
#[derive(Debug, Clone)]
pub(crate) enum Rows {
    /// A logical table; the slot tells apart several places of one query.
    Table { name: &'static str, slot: usize },
    /// A query in parentheses.
    Query(Box<Query>),
}

/// One entry of FROM.
#[derive(Debug, Clone)]
pub(crate) struct Relation {
    pub(crate) alias: String,
    pub(crate) rows: Rows,
    pub(crate) join: Join,
    pub(crate) on: Vec<Node>,
}

/// One ORDER BY item: the result's column, and how.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) item: usize,
    pub(crate) descending: bool,
    pub(crate) nulls: Option<bool>,
}

/// A query.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query {
    pub(crate) distinct: bool,
    pub(crate) select: Vec<Item>,
    pub(crate) from: Vec<Relation>,
    pub(crate) filter: Vec<Node>,
    /// The first so many result columns are the groups; `None` without GROUP BY.
    pub(crate) group: Option<usize>,
    pub(crate) having: Vec<Node>,
    pub(crate) set: Option<(&'static str, Box<Query>)>,
    pub(crate) order: Vec<Order>,
    pub(crate) limit: Option<usize>,
    pub(crate) offset: Option<usize>,
    /// The order decides every row, so a limit leaves no choice.
    pub(crate) total: bool,
}

/// Where a logical table is read: its schema, from the table's name and its slot; empty for a name that stands alone.
pub(crate) type Place<'a> = &'a dyn Fn(&str, usize) -> String;

/// A name as SQL writes it.
pub(crate) fn quoted(name: &str) -> String {
    let plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if plain && name != "select" { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// A text as SQL writes it.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

impl Node {
    pub(crate) fn family(&self) -> Family {
        match self {
            Self::Column { kind, .. } => Family::of(*kind),
            Self::Literal { family, .. } | Self::Call { family, .. } | Self::Scalar { family, .. } => *family,
            Self::Exists { .. } | Self::In { .. } => Family::Bool,
        }
    }

    pub(crate) fn sql(&self, place: Place<'_>) -> String {
        match self {
            Self::Column { alias, name, .. } => format!("{alias}.{}", quoted(name)),
            Self::Literal { text, .. } => text.clone(),
            Self::Call { shape, kids, .. } => fill(shape, kids, place),
            Self::Exists { negated, query } => {
                format!("{}EXISTS ({})", if *negated { "NOT " } else { "" }, query.sql(place))
            }
            Self::In { negated, value, query } => {
                let not = if *negated { "NOT " } else { "" };
                format!("({} {not}IN ({}))", value.sql(place), query.sql(place))
            }
            Self::Scalar { query, .. } => format!("({})", query.sql(place)),
        }
    }

    /// Calls `see` with this node and all below it, those of subqueries included.
    pub(crate) fn walk(&self, see: &mut dyn FnMut(&Self)) {
        see(self);
        match self {
            Self::Column { .. } | Self::Literal { .. } => {}
            Self::Call { kids, .. } => kids.iter().for_each(|kid| kid.walk(see)),
            Self::Exists { query, .. } | Self::Scalar { query, .. } => query.walk(see),
            Self::In { value, query, .. } => {
                value.walk(see);
                query.walk(see);
            }
        }
    }

    fn variants(&self) -> Vec<Self> {
        let mut found = Vec::new();
        match self {
            Self::Column { .. } | Self::Literal { .. } => {}
            Self::Call { shape, kids, family, traits } => {
                found.extend(kids.iter().filter(|kid| kid.family() == *family).cloned());
                let rebuilt = |kids| Self::Call { shape, kids, family: *family, traits: *traits };
                if shape.contains("{*}") && kids.len() > 2 {
                    for index in 1..kids.len() {
                        let mut kids = kids.clone();
                        kids.remove(index);
                        found.push(rebuilt(kids));
                    }
                }
                for (index, kid) in kids.iter().enumerate() {
                    for smaller in kid.variants() {
                        let mut kids = kids.clone();
                        kids[index] = smaller;
                        found.push(rebuilt(kids));
                    }
                }
            }
            Self::Exists { negated, query } => found.extend(
                query
                    .variants()
                    .into_iter()
                    .map(|query| Self::Exists { negated: *negated, query: Box::new(query) }),
            ),
            Self::Scalar { query, family } => found.extend(
                query
                    .variants()
                    .into_iter()
                    .map(|query| Self::Scalar { query: Box::new(query), family: *family }),
            ),
            Self::In { negated, value, query } => {
                found.extend(value.variants().into_iter().map(|value| Self::In {
                    negated: *negated,
                    value: Box::new(value),
                    query: query.clone(),
                }));
                found.extend(query.variants().into_iter().map(|query| Self::In {
                    negated: *negated,
                    value: value.clone(),
                    query: Box::new(query),
                }));
            }
        }
        found
    }
}

/// Puts the children into a shape's holes, in one pass: a child's own braces are never holes.
fn fill(shape: &str, kids: &[Node], place: Place<'_>) -> String {
    let mut text = String::new();
    let mut rest = shape;
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        let Some((hole, after)) = after.split_once('}') else { break };
        match hole.parse::<usize>() {
            Ok(index) => text.push_str(&kids[index].sql(place)),
            Err(_) => {
                let further: Vec<String> = kids.iter().skip(1).map(|kid| kid.sql(place)).collect();
                text.push_str(&further.join(", "));
            }
        }
        rest = after;
    }
    text.push_str(rest);
    text
}

fn conjunction(nodes: &[Node], place: Place<'_>) -> String {
    nodes.iter().map(|node| node.sql(place)).collect::<Vec<_>>().join(" AND ")
}

impl Query {
    pub(crate) fn sql(&self, place: Place<'_>) -> String {
        let mut text = self.core(place);
        if let Some((word, other)) = &self.set {
            text = format!("{text} {word} {}", other.core(place));
        }
        if !self.order.is_empty() {
            let items: Vec<String> = self.order.iter().map(Order::sql).collect();
            text.push_str(&format!(" ORDER BY {}", items.join(", ")));
        }
        if let Some(limit) = self.limit {
            text.push_str(&format!(" LIMIT {limit}"));
        }
        if let Some(offset) = self.offset {
            text.push_str(&format!(" OFFSET {offset}"));
        }
        text
    }

    fn core(&self, place: Place<'_>) -> String {
        let mut text = String::from(if self.distinct { "SELECT DISTINCT " } else { "SELECT " });
        let items: Vec<String> = self
            .select
            .iter()
            .enumerate()
            .map(|(index, item)| format!("{} AS c{index}", item.sql(place)))
            .collect();
        text.push_str(&items.join(", "));
        for (index, from) in self.from.iter().enumerate() {
            let rows = match &from.rows {
                Rows::Table { name, slot } => match place(name, *slot) {
                    schema if schema.is_empty() => (*name).to_owned(),
                    schema => format!("{schema}.{name}"),
                },
                Rows::Query(query) => format!("({})", query.sql(place)),
            };
            let word = match (index, from.join) {
                (0, _) => " FROM",
                (_, Join::Inner) => " JOIN",
                (_, Join::Left) => " LEFT JOIN",
                (_, Join::Full) => " FULL JOIN",
                (_, Join::Cross) => " CROSS JOIN",
            };
            text.push_str(&format!("{word} {rows} AS {}", from.alias));
            if index > 0 && from.join != Join::Cross {
                let on = if from.on.is_empty() { "true".to_owned() } else { conjunction(&from.on, place) };
                text.push_str(&format!(" ON {on}"));
            }
        }
        if !self.filter.is_empty() {
            text.push_str(&format!(" WHERE {}", conjunction(&self.filter, place)));
        }
        if let Some(count) = self.group.filter(|count| *count > 0) {
            let ordinals: Vec<String> = (1..=count).map(|ordinal| ordinal.to_string()).collect();
            text.push_str(&format!(" GROUP BY {}", ordinals.join(", ")));
        }
        if !self.having.is_empty() {
            text.push_str(&format!(" HAVING {}", conjunction(&self.having, place)));
        }
        text
    }

    /// Calls `see` with every node of the query and of those inside it.
    pub(crate) fn walk(&self, see: &mut dyn FnMut(&Node)) {
        for node in self.select.iter().chain(&self.filter).chain(&self.having) {
            node.walk(see);
        }
        for from in &self.from {
            from.on.iter().for_each(|node| node.walk(see));
            if let Rows::Query(query) = &from.rows {
                query.walk(see);
            }
        }
        if let Some((_, other)) = &self.set {
            other.walk(see);
        }
    }

    /// Whether any node has a trait.
    pub(crate) fn any(&self, test: impl Fn(&Traits) -> bool) -> bool {
        let mut found = false;
        self.walk(&mut |node| {
            if let Node::Call { traits, .. } = node {
                found |= test(traits);
            }
        });
        found
    }

    /// The names of the logical tables that are read, those of subqueries included.
    pub(crate) fn tables(&self) -> Vec<&'static str> {
        let mut found = Vec::new();
        let within = |node: &Node, found: &mut Vec<&'static str>| {
            node.walk(&mut |node| {
                if let Node::Exists { query, .. } | Node::In { query, .. } | Node::Scalar { query, .. } = node
                {
                    found.extend(query.tables());
                }
            });
        };
        for node in self.select.iter().chain(&self.filter).chain(&self.having) {
            within(node, &mut found);
        }
        for from in &self.from {
            from.on.iter().for_each(|node| within(node, &mut found));
            match &from.rows {
                Rows::Table { name, .. } => found.push(name),
                Rows::Query(query) => found.extend(query.tables()),
            }
        }
        if let Some((_, other)) = &self.set {
            found.extend(other.tables());
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Whether any column of these kinds is read.
    pub(crate) fn reads(&self, kinds: &[Kind]) -> bool {
        let mut found = false;
        self.walk(&mut |node| {
            if let Node::Column { kind, .. } = node {
                found |= kinds.contains(kind);
            }
        });
        found
    }

    /// Queries one step smaller. Not all of them are valid; what both sides refuse is no difference.
    pub(crate) fn variants(&self) -> Vec<Self> {
        let mut found = Vec::new();
        let mut with = |change: &dyn Fn(&mut Self)| {
            let mut smaller = self.clone();
            change(&mut smaller);
            found.push(smaller);
        };
        if self.set.is_some() {
            with(&|query| query.set = None);
            with(&|query| {
                if let Some((_, other)) = query.set.take() {
                    let (order, limit, offset) =
                        (std::mem::take(&mut query.order), query.limit, query.offset);
                    *query = Self { order, limit, offset, total: query.total, ..*other };
                }
            });
        }
        if self.limit.is_some() || self.offset.is_some() {
            with(&|query| (query.limit, query.offset) = (None, None));
            with(&|query| query.offset = None);
        } else if !self.order.is_empty() {
            with(&|query| query.order.clear());
        }
        if self.distinct {
            with(&|query| query.distinct = false);
        }
        for index in 0..self.from.len() {
            if self.from.len() > 1 {
                with(&|query| drop(query.from.remove(index)));
            }
            if self.from[index].join == Join::Left || self.from[index].join == Join::Full {
                with(&|query| query.from[index].join = Join::Inner);
            }
            if let Rows::Query(inner) = &self.from[index].rows {
                for smaller in inner.variants() {
                    with(&|query| query.from[index].rows = Rows::Query(Box::new(smaller.clone())));
                }
            }
            for conjunct in 0..self.from[index].on.len() {
                with(&|query| drop(query.from[index].on.remove(conjunct)));
            }
        }
        for index in 0..self.filter.len() {
            with(&|query| drop(query.filter.remove(index)));
        }
        for index in 0..self.having.len() {
            with(&|query| drop(query.having.remove(index)));
        }
        let ordered = |index: usize| self.order.iter().any(|order| order.item == index);
        for index in 0..self.select.len() {
            if self.select.len() > 1 && self.set.is_none() && !ordered(index) {
                with(&|query| query.remove_item(index));
            }
        }
        for (list, count) in [(0, self.select.len()), (1, self.filter.len()), (2, self.having.len())] {
            for index in 0..count {
                let node = [&self.select, &self.filter, &self.having][list][index].clone();
                for smaller in node.variants() {
                    with(&|query| {
                        [&mut query.select, &mut query.filter, &mut query.having][list][index] =
                            smaller.clone();
                    });
                }
            }
        }
        found
    }

    fn remove_item(&mut self, index: usize) {
        self.select.remove(index);
        if let Some(count) = &mut self.group
            && index < *count
        {
            *count -= 1;
        }
        for order in &mut self.order {
            if order.item > index {
                order.item -= 1;
            }
        }
    }

    /// A measure of how much there is to read.
    pub(crate) fn size(&self) -> usize {
        let mut nodes = 0;
        self.walk(&mut |_| nodes += 1);
        nodes + self.from.len() + self.order.len() + usize::from(self.limit.is_some())
    }
}

impl Order {
    fn sql(&self) -> String {
        let direction = if self.descending { " DESC" } else { "" };
        let nulls = match self.nulls {
            None => "",
            Some(true) => " NULLS FIRST",
            Some(false) => " NULLS LAST",
        };
        format!("{}{direction}{nulls}", self.item + 1)
    }
}
