//! Scalar SQL of KPI files: parsed with DataFusion's dialect, then checked without a store.
//!
//! What depends on other rows (aggregate, window, subquery) or on the moment (volatile functions) is refused here, so
//! that an expression means the same in every plan it is placed into.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Arc, LazyLock};

use datafusion::arrow::datatypes::DataType;
use datafusion::common::TableReference;
use datafusion::common::config::ConfigOptions;
use datafusion::common::{DFSchema, plan_err};
use datafusion::error::Result;
use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner};
use datafusion::logical_expr::{
    AggregateUDF, Expr, HigherOrderUDF, ScalarUDF, TableSource, Volatility, WindowUDF,
};
use datafusion::sql::planner::{PlannerContext, SqlToRel};
use datafusion::sql::sqlparser::ast::{self, Ident, VisitMut, VisitorMut};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use crate::Scalar;

/// Qualifier of the fact's columns in a lowered plan.
pub(crate) const FACT: &str = "_fact";

struct Functions {
    scalar: HashMap<String, Arc<ScalarUDF>>,
    aggregate: Vec<String>,
    planners: Vec<Arc<dyn ExprPlanner>>,
    options: ConfigOptions,
}

static FUNCTIONS: LazyLock<Functions> = LazyLock::new(|| {
    let mut scalar = HashMap::new();
    for function in SessionStateDefaults::default_scalar_functions() {
        for alias in function.aliases() {
            scalar.insert(alias.clone(), Arc::clone(&function));
        }
        scalar.insert(function.name().to_owned(), function);
    }
    let aggregate = SessionStateDefaults::default_aggregate_functions()
        .iter()
        .flat_map(|function| {
            std::iter::once(function.name().to_owned()).chain(function.aliases().iter().cloned())
        })
        .chain(["measure", "agg", "aggregate"].map(str::to_owned))
        .collect();
    let mut options = ConfigOptions::default();
    options.sql_parser.parse_float_as_decimal = true;
    Functions { scalar, aggregate, planners: SessionStateDefaults::default_expr_planners(), options }
});

impl ContextProvider for Functions {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        plan_err!("a KPI expression cannot read table {name}")
    }
    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.planners
    }
    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.scalar.get(name).map(Arc::clone)
    }
    fn get_higher_order_meta(&self, _name: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }
    fn get_aggregate_meta(&self, _name: &str) -> Option<Arc<AggregateUDF>> {
        None
    }
    fn get_window_meta(&self, _name: &str) -> Option<Arc<WindowUDF>> {
        None
    }
    fn get_variable_type(&self, _names: &[String]) -> Option<DataType> {
        None
    }
    fn options(&self) -> &ConfigOptions {
        &self.options
    }
    fn udf_names(&self) -> Vec<String> {
        self.scalar.keys().cloned().collect()
    }
    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }
    fn udaf_names(&self) -> Vec<String> {
        Vec::new()
    }
    fn udwf_names(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A mistake inside an expression.
#[derive(Debug)]
pub(crate) struct ScalarError {
    pub(crate) rule: &'static str,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

fn mistake(rule: &'static str, message: impl Into<String>, hint: Option<&str>) -> ScalarError {
    ScalarError { rule, message: message.into(), hint: hint.map(str::to_owned) }
}

/// The name an identifier stands for: unquoted ones are folded to lower case.
pub(crate) fn folded(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

struct Walk {
    scalar: Scalar,
    errors: Vec<ScalarError>,
}

impl VisitorMut for Walk {
    type Break = ();

    fn pre_visit_query(&mut self, _query: &mut ast::Query) -> ControlFlow<()> {
        self.errors.push(mistake(
            "KPI020",
            "an expression cannot contain a subquery",
            Some("join the table in the model's \"joins\""),
        ));
        ControlFlow::Break(())
    }

    fn pre_visit_expr(&mut self, expr: &mut ast::Expr) -> ControlFlow<()> {
        match expr {
            ast::Expr::Identifier(ident) => {
                let name = folded(ident);
                if !self.scalar.columns.contains(&name) {
                    self.scalar.columns.push(name);
                }
            }
            ast::Expr::CompoundIdentifier(parts) => {
                let names: Vec<String> = parts.iter().map(folded).collect();
                if let [join, column] = names.as_slice() {
                    let pair = (join.clone(), column.clone());
                    if !self.scalar.joined.contains(&pair) {
                        self.scalar.joined.push(pair);
                    }
                } else {
                    self.errors.push(mistake(
                        "KPI021",
                        format!("\"{}\" has too many parts", names.join(".")),
                        Some("write column, or join.column"),
                    ));
                }
            }
            ast::Expr::Function(function) => self.function(function),
            ast::Expr::Value(value) if matches!(value.value, ast::Value::Placeholder(_)) => {
                self.errors.push(mistake("KPI021", "an expression cannot contain a parameter", None));
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

impl Walk {
    fn function(&mut self, function: &ast::Function) {
        let name = function.name.to_string().to_lowercase();
        if function.over.is_some() {
            self.errors.push(mistake(
                "KPI020",
                format!("\"{name}\" is a window function"),
                Some("an expression sees one row"),
            ));
        } else if FUNCTIONS.aggregate.contains(&name) {
            self.errors.push(mistake(
                "KPI020",
                format!("\"{name}\" is an aggregate function"),
                Some("put the aggregation into \"agg\" and the row's value into \"expr\""),
            ));
        } else if let Some(known) = FUNCTIONS.scalar.get(&name) {
            if known.signature().volatility != Volatility::Immutable {
                self.errors.push(mistake(
                    "KPI022",
                    format!("\"{name}\" does not always return the same value"),
                    Some("a KPI may depend on the row only"),
                ));
            }
        } else if !matches!(name.as_str(), "coalesce" | "nullif" | "greatest" | "least") {
            let nearest = nearest(&name, FUNCTIONS.scalar.keys().map(String::as_str));
            self.errors.push(mistake(
                "KPI023",
                format!("unknown function \"{name}\""),
                nearest.map(|near| format!("did you mean \"{near}\"")).as_deref(),
            ));
        }
    }
}

/// Parses and checks one expression; names are collected, not resolved.
pub(crate) fn parse(sql: &str) -> std::result::Result<Scalar, Vec<ScalarError>> {
    let parsed = Parser::new(&PostgreSqlDialect {}).try_with_sql(sql).and_then(|mut parser| {
        let expr = parser.parse_expr()?;
        parser.expect_token(&datafusion::sql::sqlparser::tokenizer::Token::EOF)?;
        Ok(expr)
    });
    let mut ast = match parsed {
        Ok(ast) => ast,
        Err(error) => {
            let text = error.to_string();
            let text = text.strip_prefix("sql parser error: ").unwrap_or(&text);
            return Err(vec![mistake(
                "KPI021",
                format!("not a scalar SQL expression: {}", text.to_lowercase()),
                None,
            )]);
        }
    };
    let scalar = Scalar {
        sql: sql.to_owned(),
        ast: ast.clone(),
        columns: Vec::new(),
        joined: Vec::new(),
        dimensions: Vec::new(),
    };
    let mut walk = Walk { scalar, errors: Vec::new() };
    let _ = ast.visit(&mut walk);
    if walk.errors.is_empty() { Ok(walk.scalar) } else { Err(walk.errors) }
}

struct Qualify<'a>(&'a Scalar);

impl VisitorMut for Qualify<'_> {
    type Break = ();
    fn post_visit_expr(&mut self, expr: &mut ast::Expr) -> ControlFlow<()> {
        if let ast::Expr::Identifier(ident) = expr {
            let name = folded(ident);
            let qualifier = if self.0.dimensions.contains(&name) { DIMENSION } else { FACT };
            *expr = ast::Expr::CompoundIdentifier(vec![
                Ident::with_quote('"', qualifier),
                Ident::with_quote('"', name),
            ]);
        }
        ControlFlow::Continue(())
    }
}

/// Qualifier of dimensions named in a measure's `where`, until they are replaced.
pub(crate) const DIMENSION: &str = "_dim";

/// Plans an expression over a schema whose fact columns are qualified with [`FACT`] and joins with their names.
pub(crate) fn plan(scalar: &Scalar, schema: &DFSchema) -> Result<Expr> {
    let mut ast = scalar.ast.clone();
    let _ = ast.visit(&mut Qualify(scalar));
    let functions: &Functions = &FUNCTIONS;
    SqlToRel::new(functions).sql_to_expr(ast, schema, &mut PlannerContext::new())
}

/// Returns the nearest of some names, if one is near.
pub(crate) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<String> {
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len().max(name.len()) / 2).max(1))
        .min()
        .map(|(_, candidate)| candidate.to_owned())
}
