//! What is changed in the parsed tree before planning, and nothing else: names of result columns, schemas of tables
//! along `search_path`, the types of integer literals and of declared parameters, the forms DataFusion has no words for.
//!
//! The tree stays the client's: no text is made and parsed again. Result columns must be unique for DataFusion and
//! need not be for PostgreSQL, so the second of a name gets a mark and a number behind it that never reach a client.

mod arrays;
mod columns;
mod forms;
mod groups;
mod keyed;
mod literals;
mod merged;
mod names;
mod outside;
#[cfg(test)]
mod parsed;
mod patterns;
pub(super) mod qualified;
mod ranges;
mod rows;
mod sorted;
mod values;
mod volatile;
mod windows;

use std::collections::{BTreeSet, VecDeque};
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments,
    Ident, LimitClause, ObjectName, ObjectNamePart, Query, Select, SelectItem, SetExpr, Statement,
    TableFactor, Value, VisitMut, VisitorMut,
};

pub(super) use columns::distinct;

use super::relations::Tables;
use crate::error::{ErrorCode, QueryError, char_position};
use crate::pgtypes::PgType;

/// Separates a public column name from the number that makes it unique.
pub(super) const MARK: char = '\u{1}';

/// What the adaptation must know.
pub(super) struct Surroundings<'a> {
    /// The client's text, for positions.
    pub(super) sql: &'a str,
    /// Schemas searched for bare names.
    pub(super) search_path: Vec<String>,
    /// Whether a table exists.
    pub(super) exists: &'a dyn Fn(&str, &str) -> bool,
    /// Every table, for hints.
    pub(super) names: &'a dyn Fn() -> Vec<(String, String)>,
    /// Tables whose primary keys, grouped by, stand for their other columns.
    pub(super) keyed: &'a Tables,
    /// Whether a function is an aggregate.
    pub(super) aggregates: &'a dyn Fn(&str) -> bool,
    /// Declared parameter types.
    pub(super) declared: &'a [Option<PgType>],
    /// Who asks.
    pub(super) user: &'a str,
}

/// Changes the tree in place.
pub(super) fn adapt(statement: &mut Statement, surroundings: Surroundings<'_>) -> Result<(), QueryError> {
    let mut visitor = Adapter { around: surroundings, frames: Vec::new() };
    match statement.visit(&mut visitor) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(*error),
    }
}

/// The scope of one query: names of its WITH, those still to come and those in sight.
struct Frame {
    pending: VecDeque<String>,
    visible: BTreeSet<String>,
    limit: Option<LimitClause>,
}

struct Adapter<'a> {
    around: Surroundings<'a>,
    frames: Vec<Frame>,
}

type Flow = ControlFlow<Box<QueryError>>;

fn fold(name: &Ident) -> String {
    if name.quote_style.is_some() { name.value.clone() } else { name.value.to_lowercase() }
}

/// The parts of a name as they are looked up; parts that are computed are left out.
pub(super) fn folded(name: &ObjectName) -> Vec<String> {
    name.0.iter().filter_map(|part| part.as_ident()).map(fold).collect()
}

/// The single plain argument of a call.
fn only_argument(function: &Function) -> Option<&Expr> {
    let FunctionArguments::List(list) = &function.args else { return None };
    match list.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))] => Some(expr),
        _ => None,
    }
}

impl Adapter<'_> {
    fn relation(&self, name: &mut ObjectName) -> Result<(), QueryError> {
        let mut parts = Vec::new();
        for part in &name.0 {
            let ObjectNamePart::Identifier(ident) = part else {
                return Err(QueryError::unsupported("a computed table name"));
            };
            parts.push(ident.clone());
        }
        let position = parts.first().and_then(|part| char_position(self.around.sql, part.span.start));
        let missing = |shown: String| {
            let error =
                QueryError::new(ErrorCode::UndefinedTable, format!("relation \"{shown}\" does not exist"))
                    .at_if_none(position);
            let last = shown.rsplit('.').next().unwrap_or_default().to_owned();
            let names = (self.around.names)();
            let elsewhere = names.iter().find(|(_, table)| *table == last && !shown.contains('.'));
            if let Some((schema, table)) = elsewhere {
                return error.with_hint(format!("perhaps you meant \"{schema}.{table}\""));
            }
            let full: Vec<String> = names
                .iter()
                .map(
                    |(schema, table)| {
                        if shown.contains('.') { format!("{schema}.{table}") } else { table.clone() }
                    },
                )
                .collect();
            match crate::error::nearest_hint(&shown, full.iter().map(String::as_str), "relation") {
                Some(hint) => error.with_hint(hint),
                None => error,
            }
        };
        let texts: Vec<String> = parts.iter().map(fold).collect();
        match texts.as_slice() {
            [table] => {
                if self.frames.iter().any(|frame| frame.visible.contains(table)) {
                    return Ok(());
                }
                let Some(schema) =
                    self.around.search_path.iter().find(|schema| (self.around.exists)(schema, table))
                else {
                    return Err(missing(table.clone()));
                };
                name.0.insert(0, ObjectNamePart::Identifier(Ident::with_quote('"', schema.clone())));
                Ok(())
            }
            [schema, table] | [_, schema, table] => {
                if texts.len() == 3 && texts.first().is_some_and(|catalog| catalog != crate::session::CATALOG)
                {
                    return Err(
                        QueryError::unsupported("a reference to another database").at_if_none(position)
                    );
                }
                if (self.around.exists)(schema, table) {
                    Ok(())
                } else {
                    Err(missing(format!("{schema}.{table}")))
                }
            }
            _ => Err(QueryError::new(ErrorCode::SyntaxError, "improper relation name").at_if_none(position)),
        }
    }

    /// Names in GROUP BY what its tables' keys determine.
    fn key_groups(&self, query: &mut Query) {
        if self.around.keyed.is_empty() {
            return;
        }
        let own = query.with.iter().flat_map(|with| &with.cte_tables);
        let own: BTreeSet<String> = own.map(|cte| fold(&cte.alias.name)).collect();
        let known = |name: &ObjectName| {
            let (schema, table) = match folded(name).as_slice() {
                [table] if own.contains(table) => return None,
                [table] if self.frames.iter().any(|frame| frame.visible.contains(table)) => return None,
                [table] => {
                    let mut path = self.around.search_path.iter();
                    let schema = path.find(|schema| (self.around.exists)(schema, table))?;
                    (schema.clone(), table.clone())
                }
                [schema, table] | [_, schema, table] => (schema.clone(), table.clone()),
                _ => return None,
            };
            self.around.keyed.get(&(schema, table)).cloned()
        };
        keyed::complete(query, &known, self.around.aggregates);
    }

    fn select(&self, select: &mut Select) -> Result<(), QueryError> {
        if select.into.is_some() {
            return Err(QueryError::new(
                ErrorCode::ReadOnlyTransaction,
                "cannot execute SELECT INTO in a read-only transaction",
            ));
        }
        ranges::distinct(&select.from)?;
        groups::write_out(select)?;
        // A column that is named beside `*` is there twice.
        let single = matches!(select.from.as_slice(), [only] if only.joins.is_empty());
        let starred = select.projection.iter().any(|item| match item {
            SelectItem::Wildcard(_) => true,
            SelectItem::QualifiedWildcard(..) => single,
            _ => false,
        });
        let mut taken = BTreeSet::new();
        for (index, item) in select.projection.iter_mut().enumerate() {
            match item {
                SelectItem::ExprWithAlias { expr, alias } => {
                    wrap_integer(expr);
                    let name = fold(alias);
                    if !taken.insert(name.clone()) {
                        *alias = marked(&name, index);
                    }
                }
                SelectItem::UnnamedExpr(expr) => {
                    let name = names::figure(expr);
                    let plain = match &*expr {
                        Expr::Identifier(name) => !forms::is_session_value(name),
                        other => matches!(other, Expr::CompoundIdentifier(_)),
                    };
                    wrap_integer(expr);
                    let unique = taken.insert(name.clone());
                    if plain && unique && !starred {
                        continue;
                    }
                    let alias = if unique && !(plain && starred) {
                        Ident::with_quote('"', name)
                    } else {
                        marked(&name, index)
                    };
                    let expr = std::mem::replace(expr, Expr::Value(Value::Null.into()));
                    *item = SelectItem::ExprWithAlias { expr, alias };
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn expression(&self, expr: &mut Expr) -> Result<(), QueryError> {
        rows::expression(expr)?;
        let schema = self.around.search_path.first().map(String::as_str);
        forms::expression(expr, &forms::Asker { user: self.around.user, schema })?;
        match expr {
            Expr::Value(value) => {
                if let Value::Placeholder(name) = &value.value
                    && let Some(declared) = name.strip_prefix('$').and_then(|n| n.parse::<usize>().ok())
                    && let Some(Some(pg)) = declared.checked_sub(1).and_then(|n| self.around.declared.get(n))
                    && let Some(data_type) = sql_type(*pg)
                {
                    let inner = std::mem::replace(expr, Expr::Value(Value::Null.into()));
                    *expr = cast(inner, data_type);
                }
                Ok(())
            }
            Expr::Case { conditions, else_result, .. } => {
                for when in conditions {
                    wrap_integer(&mut when.result);
                }
                if let Some(inner) = else_result {
                    wrap_integer(inner);
                }
                Ok(())
            }
            Expr::Array(array) => {
                array.elem.iter_mut().for_each(wrap_integer);
                Ok(())
            }
            Expr::Function(function) => self.function(function),
            Expr::ILike { any: true, .. } | Expr::Like { any: true, .. } => {
                Err(QueryError::unsupported("LIKE ANY").with_hint("write the alternatives with OR"))
            }
            Expr::BinaryOp { op: BinaryOperator::PGRegexMatch, .. } => Ok(()),
            _ => Ok(()),
        }
    }

    fn function(&self, function: &mut Function) -> Result<(), QueryError> {
        // pg_catalog.f() is f().
        if let [ObjectNamePart::Identifier(schema), _] = function.name.0.as_slice()
            && fold(schema) == "pg_catalog"
        {
            function.name.0.remove(0);
        }
        let name = function.name.0.last().and_then(|part| part.as_ident()).map(fold).unwrap_or_default();
        let by_type = matches!(
            name.as_str(),
            "coalesce"
                | "greatest"
                | "least"
                | "nullif"
                | "sum"
                | "avg"
                | "min"
                | "max"
                | "array_agg"
                | "abs"
                | "mod"
        );
        if by_type
            && function.over.is_none()
            && let FunctionArguments::List(list) = &mut function.args
        {
            for argument in &mut list.args {
                if let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = argument {
                    wrap_integer(expr);
                }
            }
        }
        Ok(())
    }
}

/// The type a declared parameter is cast to; text and unknown stay to be inferred.
fn sql_type(pg: PgType) -> Option<DataType> {
    use datafusion::sql::sqlparser::ast::{ExactNumberInfo, TimezoneInfo};
    Some(match pg.oid {
        16 => DataType::Boolean,
        20 | 26 => DataType::BigInt(None),
        21 => DataType::SmallInt(None),
        23 => DataType::Integer(None),
        700 => DataType::Real,
        701 => DataType::DoublePrecision,
        1082 => DataType::Date,
        1083 => DataType::Time(None, TimezoneInfo::None),
        1114 => DataType::Timestamp(None, TimezoneInfo::None),
        1184 => DataType::Timestamp(None, TimezoneInfo::Tz),
        1700 => DataType::Numeric(match pg.digits() {
            Some((precision, scale)) => ExactNumberInfo::PrecisionAndScale(precision.into(), scale.into()),
            // As many as a numeric column without them has; a value with others is declared with its own.
            None => ExactNumberInfo::PrecisionAndScale(38, 10),
        }),
        25 | 1042 | 1043 | 19 => DataType::Text,
        17 => DataType::Bytea,
        1186 => DataType::Interval { fields: None, precision: None },
        2950 => DataType::Uuid,
        _ => return None,
    })
}

fn marked(name: &str, index: usize) -> Ident {
    Ident::with_quote('"', format!("{name}{MARK}{index}"))
}

fn cast(expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast { kind: CastKind::Cast, expr: Box::new(expr), data_type, array: false, format: None }
}

/// An integer literal that fits int4 is int4, as in PostgreSQL; DataFusion reads all as int8.
fn wrap_integer(expr: &mut Expr) {
    match expr {
        Expr::Value(value) => {
            if let Value::Number(digits, _) = &value.value
                && digits.parse::<i32>().is_ok()
            {
                let inner = std::mem::replace(expr, Expr::Value(Value::Null.into()));
                *expr = cast(inner, DataType::Integer(None));
            }
        }
        Expr::UnaryOp { expr, .. } | Expr::Nested(expr) => wrap_integer(expr),
        _ => {}
    }
}

fn wrap_values(body: &mut SetExpr) {
    match body {
        SetExpr::Values(values) => {
            values::one_type(values);
            values.rows.iter_mut().for_each(|row| row.content.iter_mut().for_each(wrap_integer));
        }
        SetExpr::SetOperation { left, right, .. } => {
            wrap_values(left);
            wrap_values(right);
        }
        _ => {}
    }
}

fn flow(result: Result<(), QueryError>) -> Flow {
    match result {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(Box::new(error)),
    }
}

impl VisitorMut for Adapter<'_> {
    type Break = Box<QueryError>;

    fn pre_visit_query(&mut self, query: &mut Query) -> Flow {
        if !query.locks.is_empty() {
            return flow(Err(QueryError::new(
                ErrorCode::ReadOnlyTransaction,
                "cannot execute SELECT FOR UPDATE in a read-only transaction",
            )));
        }
        let adapted = forms::set_operation(&query.body)
            .and_then(|()| forms::fetch(query))
            .and_then(|()| volatile::check(query))
            .and_then(|()| merged::spell_out(query))
            .map(|()| self.key_groups(query))
            .and_then(|()| windows::write_out(query));
        if let Err(error) = adapted {
            return flow(Err(error));
        }
        sorted::by_place(query);
        if self.frames.is_empty() {
            sorted::rename(query);
        } else {
            sorted::qualify(query);
        }
        wrap_values(&mut query.body);
        let mut frame =
            Frame { pending: VecDeque::new(), visible: BTreeSet::new(), limit: query.limit_clause.take() };
        if let Some(with) = &mut query.with {
            if let Err(error) = with.cte_tables.iter_mut().try_for_each(columns::of_with) {
                return flow(Err(error));
            }
            let names = with.cte_tables.iter().map(|cte| fold(&cte.alias.name));
            if with.recursive { frame.visible.extend(names) } else { frame.pending.extend(names) }
        }
        self.frames.push(frame);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> Flow {
        if let Some(frame) = self.frames.pop() {
            query.limit_clause = frame.limit;
        }
        // The queries of a WITH are visited first and in order: this one is now in sight of the next.
        if let Some(parent) = self.frames.last_mut()
            && let Some(name) = parent.pending.pop_front()
        {
            parent.visible.insert(name);
        }
        ControlFlow::Continue(())
    }

    // Before the expressions in it are changed: columns are named after what the client wrote.
    fn pre_visit_select(&mut self, select: &mut Select) -> Flow {
        flow(self.select(select))
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> Flow {
        match factor {
            TableFactor::Table { name, args: None, with_ordinality: false, sample: None, .. } => {
                flow(self.relation(name))
            }
            TableFactor::Table { with_ordinality: true, .. }
            | TableFactor::Function { with_ordinality: true, .. }
            | TableFactor::UNNEST { with_ordinality: true, .. } => {
                flow(Err(QueryError::unsupported("WITH ORDINALITY")
                    .with_hint("number the rows with row_number() OVER (ORDER BY …)")))
            }
            TableFactor::Table { sample: Some(_), .. } => flow(Err(QueryError::unsupported("TABLESAMPLE"))),
            other => {
                columns::of_function(other);
                ControlFlow::Continue(())
            }
        }
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> Flow {
        flow(self.expression(expr))
    }
}
