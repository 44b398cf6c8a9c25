//! The types of parameters that have none: what PostgreSQL infers from where they stand (PostgreSQL 17, parse_param.c,
//! variable_coerce_param_hook, and parse_oper.c).
//!
//! Beside an operator it is the other side's type, and known before the operator is planned, so that the operator means
//! what it means between columns. Elsewhere it is that of the values it stands among. A driver that asks for the types
//! sends nothing else. A parameter has one type, that of its first place; a place where PostgreSQL would need another is
//! refused (42P08), never guessed.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::binary::type_union_resolution;
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::planner::RawBinaryExpr;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable, Like, LogicalPlan};
use datafusion::sql::sqlparser::ast::BinaryOperator as Op;
use portolan_catalog::source::PG_TYPE_KEY;

use super::elapsed::SPAN;
use super::operators::{Kind, kind, narrow};
use super::quoted::unknown;
use crate::error::{ErrorCode, QueryError};
use crate::pgtypes::PgType;

fn is_open(expr: &Expr) -> bool {
    matches!(expr, Expr::Placeholder(parameter) if parameter.field.is_none())
}

/// A field of a parameter, of another's type and nothing else it says.
fn like(other: &Field) -> FieldRef {
    let declared = other.metadata().get(PG_TYPE_KEY).map(|of| (PG_TYPE_KEY.to_owned(), of.clone()));
    let field = Field::new("", other.data_type().clone(), true);
    Arc::new(field.with_metadata(declared.into_iter().collect()))
}

fn plain(of: DataType) -> FieldRef {
    Arc::new(Field::new("", of, true))
}

/// Gives the operand that is a parameter without a type the type that the operator and the other side tell.
pub(super) fn beside(raw: RawBinaryExpr, schema: &DFSchema) -> RawBinaryExpr {
    let RawBinaryExpr { op, left, right } = raw;
    let (left, right) = match (is_open(&left), is_open(&right)) {
        (true, false) => (of_type(left, operand(&op, &right, schema)), right),
        (false, true) => {
            let of = operand(&op, &left, schema);
            (left, of_type(right, of))
        }
        _ => (left, right),
    };
    RawBinaryExpr { op, left, right }
}

fn of_type(expr: Expr, of: Option<FieldRef>) -> Expr {
    match expr {
        Expr::Placeholder(Placeholder { id, field: None }) => {
            Expr::Placeholder(Placeholder { id, field: of })
        }
        other => other,
    }
}

/// The type of a parameter on the other side of an operator.
fn operand(op: &Op, other: &Expr, schema: &DFSchema) -> Option<FieldRef> {
    let (_, field) = narrow(other.clone()).to_field(schema).ok()?;
    let of = kind(field.data_type());
    match (op, of) {
        _ if field.data_type().is_null() => None,
        // PostgreSQL compares a varchar as a text.
        (Op::Eq | Op::NotEq | Op::Lt | Op::LtEq | Op::Gt | Op::GtEq, Kind::Text)
            if PgType::from_field(&field).oid == PgType::VARCHAR.oid =>
        {
            Some(plain(field.data_type().clone()))
        }
        // A cast keeps what its column declares, and is something else.
        (Op::Eq | Op::NotEq | Op::Lt | Op::LtEq | Op::Gt | Op::GtEq, _) => match other {
            Expr::Column(_) | Expr::OuterReferenceColumn(_, _) => Some(like(&field)),
            _ => Some(plain(field.data_type().clone())),
        },
        (Op::Plus | Op::Minus | Op::Multiply | Op::Divide | Op::Modulo, _) if is_number(of) => {
            Some(plain(field.data_type().clone()))
        }
        (Op::Plus, Kind::Stamp | Kind::Time) | (Op::Plus | Op::Minus, Kind::Interval) => Some(plain(SPAN)),
        (Op::Minus, Kind::Stamp | Kind::Date | Kind::Time) => Some(plain(field.data_type().clone())),
        (Op::Multiply | Op::Divide, Kind::Interval) => Some(plain(DataType::Float64)),
        (Op::PGRegexMatch | Op::PGRegexIMatch | Op::PGRegexNotMatch | Op::PGRegexNotIMatch, Kind::Text) => {
            Some(plain(DataType::Utf8))
        }
        (Op::StringConcat, _) if !matches!(of, Kind::Other | Kind::Bytes) => Some(plain(DataType::Utf8)),
        _ => None,
    }
}

fn is_number(of: Kind) -> bool {
    matches!(of, Kind::Integer | Kind::Numeric | Kind::Float)
}

/// Gives the parameters of a plan their types, as far as they are declared or can be inferred; each has one.
///
/// # Errors
/// 42P08.
pub(crate) fn inferred(plan: LogicalPlan, declared: &[Option<PgType>]) -> Result<LogicalPlan> {
    let mut met = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            met |= expr.exists(|part| Ok(matches!(part, Expr::Placeholder(_))))?;
            Ok(if met { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })
    })?;
    if !met {
        return Ok(plan);
    }
    let plan = patterns_are_text(plan)?;
    let mut types = Types::default();
    for (index, of) in declared.iter().enumerate() {
        let of = of.filter(|of| of.oid != PgType::UNKNOWN.oid && of.oid != 0);
        if let Some(of) = of
            && let Some(arrow) = of.to_arrow()
        {
            let named = PgType::from_arrow(&arrow).oid != of.oid;
            let named = named.then(|| (PG_TYPE_KEY.to_owned(), of.name()));
            let field = Field::new("", arrow, true).with_metadata(named.into_iter().collect());
            types.0.insert(format!("${}", index + 1), Arc::new(field));
        }
    }
    plan.apply_with_subqueries(|node| {
        let schema = merge_schema(&node.inputs());
        let limit = matches!(node, LogicalPlan::Limit(_));
        match node {
            LogicalPlan::Filter(filter) => types.guess(&filter.predicate, &plain(DataType::Boolean)),
            LogicalPlan::Union(union) => types.branches(&union.inputs),
            _ => {}
        }
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                if let Expr::Placeholder(Placeholder { id, field }) = part {
                    match field {
                        // Inferred from another parameter, of which nothing was known either.
                        Some(field) if field.data_type().is_null() => {}
                        Some(field) => types.note(id, field)?,
                        None if limit => types.guess(part, &plain(DataType::Int64)),
                        None => {}
                    }
                } else {
                    types.among(part, &schema);
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    let typed = plan.transform_up_with_subqueries(|node| {
        let node = node.map_expressions(|expr| {
            expr.transform_up(|part| match part {
                Expr::Placeholder(Placeholder { id, field }) => {
                    let unknown = field.as_ref().is_some_and(|field| field.data_type().is_null());
                    let of = types.0.get(&id).cloned().or_else(|| unknown.then(|| plain(DataType::Utf8)));
                    let changed = of.is_some() && of != field;
                    let field = if changed { of } else { field };
                    Ok(Transformed::new_transformed(Expr::Placeholder(Placeholder { id, field }), changed))
                }
                other => Ok(Transformed::no(other)),
            })
        })?;
        if node.transformed { node.map_data(LogicalPlan::recompute_schema) } else { Ok(node) }
    })?;
    Ok(typed.data)
}

/// The pattern of LIKE is a text, whatever kind of text it is matched with.
fn patterns_are_text(plan: LogicalPlan) -> Result<LogicalPlan> {
    let text = |mut like: Like| {
        if let Expr::Placeholder(Placeholder { field: Some(field), .. }) = like.pattern.as_mut()
            && kind(field.data_type()) == Kind::Text
            && PgType::from_field(field).oid != PgType::TEXT.oid
        {
            *field = plain(field.data_type().clone());
            return Transformed::yes(like);
        }
        Transformed::no(like)
    };
    let done = plan.transform_up_with_subqueries(|node| {
        node.map_expressions(|expr| {
            expr.transform_up(|part| {
                Ok(match part {
                    Expr::Like(like) => text(like).update_data(Expr::Like),
                    Expr::SimilarTo(like) => text(like).update_data(Expr::SimilarTo),
                    other => Transformed::no(other),
                })
            })
        })
    })?;
    Ok(done.data)
}

/// What is known of the parameters, by `$1`.
#[derive(Debug, Default)]
struct Types(HashMap<String, FieldRef>);

impl Types {
    /// A place that needs a type.
    fn note(&mut self, id: &str, field: &FieldRef) -> Result<()> {
        let Some(first) = self.0.get(id) else {
            self.0.insert(id.to_owned(), like(field));
            return Ok(());
        };
        if agree(first, field) {
            return Ok(());
        }
        let name = |field: &Field| PgType::from_field(field).without_typmod().format();
        let message = format!("inconsistent types deduced for parameter {id}");
        Err(QueryError::new(ErrorCode::AmbiguousParameter, message)
            .with_detail(format!("{} versus {}", name(first), name(field)))
            .with_hint("give each place a parameter of its own, or cast the parameter in one of them")
            .into())
    }

    /// A place that takes any type and has this one if no other place told one before.
    fn guess(&mut self, expr: &Expr, of: &FieldRef) {
        if let Expr::Placeholder(Placeholder { id, field: None }) = expr {
            self.0.entry(id.clone()).or_insert_with(|| Arc::clone(of));
        }
    }

    /// The parameters that an expression has among its parts.
    fn among(&mut self, expr: &Expr, schema: &DFSchema) {
        match expr {
            Expr::Cast(cast) => {
                let of = PgType::from_arrow(cast.field.data_type()).without_typmod();
                if let Some(arrow) = of.to_arrow() {
                    self.guess(&cast.expr, &plain(arrow));
                }
            }
            Expr::Not(inner) => self.guess(inner, &plain(DataType::Boolean)),
            Expr::Case(case) => {
                let results = case.when_then_expr.iter().map(|(_, then)| then.as_ref());
                self.alike(&results.chain(case.else_expr.as_deref()).collect::<Vec<_>>(), schema);
                let tests = case.when_then_expr.iter().map(|(when, _)| when.as_ref());
                match &case.expr {
                    Some(operand) => {
                        self.alike(&tests.chain([operand.as_ref()]).collect::<Vec<_>>(), schema);
                    }
                    None => {
                        for test in tests {
                            self.guess(test, &plain(DataType::Boolean));
                        }
                    }
                }
            }
            Expr::Between(range) => {
                self.alike(&[range.expr.as_ref(), range.low.as_ref(), range.high.as_ref()], schema);
            }
            Expr::InList(list) => {
                self.alike(&list.list.iter().chain([list.expr.as_ref()]).collect::<Vec<_>>(), schema);
            }
            Expr::ScalarFunction(call) => match (call.func.name(), call.args.as_slice()) {
                ("coalesce" | "greatest" | "least" | "nullif" | "make_array" | "mod", values) => {
                    self.alike(&values.iter().collect::<Vec<_>>(), schema);
                }
                // `x = ANY ($1)`: an array of what stands on the left (make_scalar_array_op); `$1 = ANY (x)`: one of its.
                ("array_has" | "array_append" | "array_position", [array, value, ..]) => {
                    if let Some(of) = value.to_field(schema).ok().and_then(|(_, field)| array_of(&field)) {
                        self.guess(array, &plain(of));
                    }
                    if let Ok(DataType::List(of)) = array.get_type(schema) {
                        self.guess(value, &plain(of.data_type().clone()));
                    }
                }
                ("array_element", [_, place]) => self.guess(place, &plain(DataType::Int32)),
                ("left" | "right" | "substr", [_, counts @ ..]) | ("split_part", [_, _, counts @ ..]) => {
                    for count in counts {
                        self.guess(count, &plain(DataType::Int32));
                    }
                }
                _ => {}
            },
            Expr::WindowFunction(call) => match (call.fun.name(), call.params.args.as_slice()) {
                ("ntile", [count]) | ("nth_value" | "lag" | "lead", [_, count]) => {
                    self.guess(count, &plain(DataType::Int32));
                }
                ("lag" | "lead", [value, count, other]) => {
                    self.guess(count, &plain(DataType::Int32));
                    self.alike(&[value, other], schema);
                }
                _ => {}
            },
            _ => {}
        }
    }

    /// The parameters that are columns of a branch of UNION.
    fn branches(&mut self, branches: &[Arc<LogicalPlan>]) {
        for branch in branches {
            let LogicalPlan::Projection(projection) = branch.as_ref() else { continue };
            for (index, expr) in projection.expr.iter().enumerate() {
                let expr = expr.clone().unalias();
                if !is_open(&expr) {
                    continue;
                }
                let mut fields = branches.iter().filter_map(|branch| branch.schema().fields().get(index));
                if let Some(field) = fields.find(|field| !field.data_type().is_null()) {
                    self.guess(&expr, &like(field));
                }
            }
        }
    }

    /// Values of one type: the parameters among them are of the type of the others.
    fn alike(&mut self, values: &[&Expr], schema: &DFSchema) {
        if !values.iter().any(|value| is_open(value)) {
            return;
        }
        let known: Vec<FieldRef> = values
            .iter()
            .filter(|value| !is_open(value) && unknown(value).is_none())
            .filter_map(|value| narrow((*value).clone()).to_field(schema).ok())
            .map(|(_, field)| field)
            .filter(|field| !field.data_type().is_null())
            .collect();
        let Some(first) = known.first() else { return };
        let of = if known.iter().all(|field| PgType::from_field(field) == PgType::from_field(first)) {
            like(first)
        } else {
            let types: Vec<DataType> = known.iter().map(|field| field.data_type().clone()).collect();
            let Some(common) = type_union_resolution(&types) else { return };
            plain(common)
        };
        for value in values {
            self.guess(value, &of);
        }
    }
}

/// Whether a parameter of one type may stand where another is needed: PostgreSQL has the operators between them, and
/// they mean here what they mean there.
fn agree(first: &Field, other: &Field) -> bool {
    let text = |of: u32| [PgType::TEXT.oid, PgType::VARCHAR.oid, PgType::NAME.oid].contains(&of);
    let moment = |of: Kind| matches!(of, Kind::Date | Kind::Stamp);
    let (one, another) = (PgType::from_field(first).oid, PgType::from_field(other).oid);
    let (this, that) = (kind(first.data_type()), kind(other.data_type()));
    one == another
        || text(one) && text(another)
        || is_number(this) && is_number(that)
        || moment(this) && moment(that)
}

/// An array of values of a field's type, as a parameter of it comes back.
fn array_of(of: &Field) -> Option<DataType> {
    let element = of.data_type().clone();
    if element.is_null() || matches!(element, DataType::List(_)) {
        return None;
    }
    let array = DataType::List(Arc::new(Field::new_list_field(element, true)));
    let array = PgType::from_arrow(&array).without_typmod().to_arrow()?;
    let padded = PgType::from_field(of).oid == PgType::BPCHAR.oid;
    match array {
        DataType::List(item) if padded => {
            let named = [(PG_TYPE_KEY.to_owned(), PgType::BPCHAR.name())];
            Some(DataType::List(Arc::new(item.as_ref().clone().with_metadata(named.into()))))
        }
        other => Some(other),
    }
}
