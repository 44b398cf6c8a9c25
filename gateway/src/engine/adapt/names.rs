//! Names of result columns without an alias, by PostgreSQL's rules (PostgreSQL 17, parse_target.c, FigureColname).

use datafusion::sql::sqlparser::ast::{
    DataType, Expr, Function, ObjectName, Query, SelectItem, SetExpr, Value,
};

/// The name of a column nothing names.
pub(super) const NAMELESS: &str = "?column?";

/// The name of an unaliased select item.
pub(super) fn figure(expr: &Expr) -> String {
    strength(expr).1
}

/// A name, and how sure it is: 0 none, 1 a type or CASE, 2 a column or function. A cast keeps a name of strength 2.
fn strength(expr: &Expr) -> (u8, String) {
    match expr {
        Expr::Identifier(name) => (2, fold(name)),
        Expr::CompoundIdentifier(parts) => parts.last().map_or((0, NAMELESS.into()), |name| (2, fold(name))),
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => strength(inner),
        Expr::CompoundFieldAccess { root, .. } => strength(root),
        Expr::Function(function) => (2, function_name(function)),
        Expr::Cast { expr, data_type, .. } => {
            let inner = strength(expr);
            if inner.0 >= 2 { inner } else { (1, type_name(data_type)) }
        }
        Expr::TypedString(typed) => (1, type_name(&typed.data_type)),
        Expr::Interval(_) => (1, "interval".into()),
        Expr::Value(value) => match value.value {
            Value::Boolean(_) => (1, "bool".into()),
            _ => (0, NAMELESS.into()),
        },
        Expr::Case { else_result, .. } => {
            let inner = else_result.as_ref().map_or((0, String::new()), |inner| strength(inner));
            if inner.0 >= 2 { inner } else { (1, "case".into()) }
        }
        Expr::Exists { negated: false, .. } => (2, "exists".into()),
        Expr::Subquery(query) => subquery(query).map_or((0, NAMELESS.into()), |name| (2, name)),
        Expr::Array(_) => (2, "array".into()),
        Expr::Tuple(_) => (2, "row".into()),
        Expr::Extract { .. } => (2, "extract".into()),
        Expr::Position { .. } => (2, "position".into()),
        Expr::Substring { shorthand: true, .. } => (2, "substr".into()),
        Expr::Substring { .. } => (2, "substring".into()),
        Expr::Overlay { .. } => (2, "overlay".into()),
        Expr::Ceil { .. } => (2, "ceil".into()),
        Expr::Floor { .. } => (2, "floor".into()),
        Expr::Trim { trim_where, .. } => {
            use datafusion::sql::sqlparser::ast::TrimWhereField;
            let name = match trim_where {
                Some(TrimWhereField::Leading) => "ltrim",
                Some(TrimWhereField::Trailing) => "rtrim",
                _ => "btrim",
            };
            (2, name.into())
        }
        Expr::AtTimeZone { .. } => (2, "timezone".into()),
        _ => (0, NAMELESS.into()),
    }
}

fn fold(name: &datafusion::sql::sqlparser::ast::Ident) -> String {
    if name.quote_style.is_some() { name.value.clone() } else { name.value.to_lowercase() }
}

fn last_part(name: &ObjectName) -> String {
    name.0.last().and_then(|part| part.as_ident()).map_or_else(|| NAMELESS.into(), fold)
}

fn function_name(function: &Function) -> String {
    let name = last_part(&function.name);
    // A measure's column is named after the measure.
    if matches!(name.as_str(), "measure" | "agg" | "aggregate")
        && let Some(argument) = super::only_argument(function)
        && let (2, measure) = strength(argument)
    {
        return measure;
    }
    name
}

fn subquery(query: &Query) -> Option<String> {
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    match select.projection.first()? {
        SelectItem::UnnamedExpr(expr) => Some(figure(expr)),
        SelectItem::ExprWithAlias { alias, .. } => {
            // The alias may already be ours, made unique behind the marker.
            Some(fold(alias).split(super::MARK).next().unwrap_or_default().to_owned())
        }
        _ => None,
    }
}

/// PostgreSQL's internal name of a type, as a bare cast is named.
fn type_name(data_type: &DataType) -> String {
    let text = data_type.to_string().to_lowercase();
    let text = text.trim_end_matches("[]").to_owned();
    let base = text.split('(').next().unwrap_or(&text).trim();
    let tail = text.split_once(')').map_or("", |(_, tail)| tail);
    let full = format!("{base}{tail}");
    match full.as_str() {
        "int" | "integer" | "int4" => "int4",
        "bigint" | "int8" => "int8",
        "smallint" | "int2" => "int2",
        "double precision" | "float8" | "float" | "double" => "float8",
        "real" | "float4" => "float4",
        "decimal" | "numeric" | "dec" => "numeric",
        "boolean" | "bool" => "bool",
        "character varying" | "varchar" => "varchar",
        "char" | "character" => "bpchar",
        "timestamp" | "timestamp without time zone" => "timestamp",
        "timestamptz" | "timestamp with time zone" => "timestamptz",
        "time" | "time without time zone" => "time",
        other => return other.to_owned(),
    }
    .to_owned()
}
