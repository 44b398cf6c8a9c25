//! Windows made of a named one, `OVER (w ORDER BY a)`, written out.
//!
//! DataFusion knows `OVER w` alone, and takes no notice of a name inside of the parentheses: the window would have none of
//! what the named one has. What may be added to which window is PostgreSQL's (17, parse_clause.c,
//! transformWindowDefinitions).

use std::collections::HashMap;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, Ident, NamedWindowExpr, OrderByKind, Query, Select, SetExpr, VisitMut, WindowSpec,
    WindowType,
};

use super::{fold, outside};
use crate::error::{ErrorCode, QueryError};

/// Writes out the windows of a query that is no part of another one, and of the branches of its set operation.
pub(super) fn write_out(query: &mut Query) -> Result<(), QueryError> {
    let order = query.order_by.as_mut().and_then(|order| match &mut order.kind {
        OrderByKind::Expressions(keys) => Some(keys),
        OrderByKind::All(_) => None,
    });
    match query.body.as_mut() {
        SetExpr::Select(select) => {
            let windows = of_select(select)?;
            order.into_iter().flatten().try_for_each(|key| calls(&mut key.expr, &windows))
        }
        other => of_branches(other),
    }
}

fn of_branches(body: &mut SetExpr) -> Result<(), QueryError> {
    match body {
        SetExpr::Select(select) => of_select(select).map(|_windows| ()),
        SetExpr::SetOperation { left, right, .. } => {
            of_branches(left)?;
            of_branches(right)
        }
        _ => Ok(()),
    }
}

type Windows = HashMap<String, WindowSpec>;

fn of_select(select: &mut Select) -> Result<Windows, QueryError> {
    let mut windows = Windows::new();
    for definition in &mut select.named_window {
        let name = fold(&definition.0);
        let spec = match &mut definition.1 {
            NamedWindowExpr::WindowSpec(spec) => {
                complete(spec, &windows)?;
                spec.clone()
            }
            NamedWindowExpr::NamedWindow(other) => named(other, &windows)?.clone(),
        };
        if windows.insert(name.clone(), spec).is_some() {
            let message = format!("window \"{name}\" is already defined");
            return Err(QueryError::new(ErrorCode::WindowingError, message));
        }
    }
    select.projection.iter_mut().try_for_each(|item| calls(item, &windows))?;
    Ok(windows)
}

fn named<'a>(name: &Ident, windows: &'a Windows) -> Result<&'a WindowSpec, QueryError> {
    windows.get(&fold(name)).ok_or_else(|| {
        QueryError::new(ErrorCode::UndefinedObject, format!("window \"{}\" does not exist", fold(name)))
    })
}

/// Adds what the named window has.
fn complete(spec: &mut WindowSpec, windows: &Windows) -> Result<(), QueryError> {
    let Some(name) = spec.window_name.take() else { return Ok(()) };
    let base = named(&name, windows)?;
    let refuse = |message: String| Err(QueryError::new(ErrorCode::WindowingError, message));
    let name = fold(&name);
    if !spec.partition_by.is_empty() {
        return refuse(format!("cannot override PARTITION BY clause of window \"{name}\""));
    }
    if !spec.order_by.is_empty() && !base.order_by.is_empty() {
        return refuse(format!("cannot override ORDER BY clause of window \"{name}\""));
    }
    if base.window_frame.is_some() {
        return refuse(format!("cannot copy window \"{name}\" because it has a frame clause"));
    }
    spec.partition_by.clone_from(&base.partition_by);
    if spec.order_by.is_empty() {
        spec.order_by.clone_from(&base.order_by);
    }
    Ok(())
}

/// Completes the windows of all calls outside of subqueries.
fn calls<T: VisitMut>(tree: &mut T, windows: &Windows) -> Result<(), QueryError> {
    outside::each(tree, |expr| match expr {
        Expr::Function(Function { over: Some(WindowType::WindowSpec(spec)), .. }) => complete(spec, windows),
        _ => Ok(()),
    })
}

#[cfg(test)]
mod tests {
    use super::super::parsed;
    use super::*;

    #[test]
    fn a_window_has_what_the_named_one_has() {
        for (sql, expected) in [
            (
                "SELECT sum(a) OVER (w ORDER BY b) FROM t WINDOW w AS (PARTITION BY c)",
                "SELECT sum(a) OVER (PARTITION BY c ORDER BY b) FROM t WINDOW w AS (PARTITION BY c)",
            ),
            (
                "SELECT sum(a) OVER v FROM t WINDOW w AS (PARTITION BY c), v AS (w ORDER BY b)",
                "SELECT sum(a) OVER v FROM t WINDOW w AS (PARTITION BY c), v AS (PARTITION BY c ORDER BY b)",
            ),
        ] {
            assert_eq!(parsed::query(sql, write_out).as_deref(), Ok(expected), "{sql}");
        }
        for (sql, state) in [
            ("SELECT sum(a) OVER (w PARTITION BY b) FROM t WINDOW w AS (ORDER BY c)", "42P20"),
            ("SELECT sum(a) OVER (w ORDER BY b) FROM t WINDOW w AS (ORDER BY c)", "42P20"),
            ("SELECT sum(a) OVER (w) FROM t WINDOW w AS (ORDER BY c ROWS 1 PRECEDING)", "42P20"),
            ("SELECT sum(a) OVER (w) FROM t", "42704"),
        ] {
            assert_eq!(parsed::query(sql, write_out), Err(state.to_owned()), "{sql}");
        }
    }
}
