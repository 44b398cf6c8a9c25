//! Replaces measure calls: one deterministic pass, between the resolution of GROUPING() and type coercion.
//!
//! Everything a call may carry is looked at – DISTINCT, ORDER BY, a second argument, IGNORE NULLS – because an ignored
//! one would answer another question than the one asked.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::metadata::FieldMetadata;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::functions::expr_fn::coalesce;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::utils::grouping_set_to_exprlist;
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, ExprSchemable, GroupingSet, LogicalPlan, LogicalPlanBuilder,
    WindowFunctionDefinition, cast, lit,
};
use datafusion::optimizer::AnalyzerRule;

use crate::context::{Dropped, attach, reduce};
use crate::group::{GroupKey, Keys, Leaf, Lowering, scaled};
use crate::query::{Chain, below, reads_kpi, substitute, walk};
use crate::stitch::{column, stitch};
use crate::units::Ratio;
use crate::{KpiModel, Metric, MetricKind, SemanticError, resolve, view};

/// The analyzer rule.
#[derive(Debug)]
pub(crate) struct ExpandMeasures;

impl AnalyzerRule for ExpandMeasures {
    fn name(&self) -> &'static str {
        "expand_measures"
    }

    fn analyze(&self, plan: LogicalPlan, config: &ConfigOptions) -> Result<LogicalPlan> {
        let zone = config.execution.time_zone.as_deref();
        plan.transform_up_with_subqueries(|node| match &node {
            LogicalPlan::Aggregate(aggregate) => Ok(match expand_aggregate(aggregate, zone)? {
                Some(plan) => Transformed::yes(plan),
                None => Transformed::no(node),
            }),
            LogicalPlan::Distinct(Distinct::All(input)) => Ok(match expand_distinct(input, zone)? {
                Some(plan) => Transformed::yes(plan),
                None => Transformed::no(node),
            }),
            LogicalPlan::Join(join) => match reads_kpi(&join.left).or_else(|| reads_kpi(&join.right)) {
                Some(table) => Err(below(&table, "a join").into()),
                None => Ok(Transformed::no(node)),
            },
            LogicalPlan::Window(window) => {
                let calls = window.window_expr.iter().any(|expr| {
                    expr.exists(|expr| Ok(matches!(expr, Expr::WindowFunction(call) if matches!(&call.fun, WindowFunctionDefinition::AggregateUDF(f) if is_measure(f.name()))))).unwrap_or(false)
                });
                if calls {
                    let error = SemanticError::new("KPI901", "42803", "a measure cannot be a window function");
                    return Err(error.hint("aggregate first, then apply the window to the result: WITH k AS (SELECT …, MEASURE(…) …) SELECT … OVER (…) FROM k").into());
                }
                Ok(Transformed::no(node))
            }
            _ => Ok(Transformed::no(node)),
        })
        .data()
    }
}

fn is_measure(name: &str) -> bool {
    crate::measure::NAMES.contains(&name)
}

fn function(expr: &Expr) -> Option<&AggregateFunction> {
    match expr {
        Expr::AggregateFunction(function) => Some(function),
        Expr::Alias(alias) => function(&alias.expr),
        _ => None,
    }
}

fn bad_argument(message: impl Into<String>) -> SemanticError {
    SemanticError::new("KPI904", "22023", message)
        .hint("write MEASURE(name) or MEASURE(name) FILTER (WHERE …) with a measure of the view")
}

/// KPI910: a flat column that may not be added or averaged.
fn refuse_reaggregation(aggregate: &Aggregate) -> Result<()> {
    for call in aggregate.aggr_expr.iter().filter_map(function) {
        let name = call.func.name();
        let [arg @ Expr::Column(_)] = call.params.args.as_slice() else { continue };
        if !matches!(name, "sum" | "avg" | "mean" | "median") {
            continue;
        }
        let (_, field) = arg.to_field(aggregate.input.schema())?;
        if field.metadata().get("kpi.flat").is_some_and(|flat| flat == "none") {
            let kpi = field.metadata().get("kpi.name").cloned().unwrap_or_else(|| field.name().clone());
            return Err(SemanticError::new("KPI910", "42803", format!("\"{kpi}\" cannot be aggregated with {name} again: it is no sum over these rows"))
                .hint(format!("ask the view for the value at the wanted level: SELECT …, MEASURE({kpi}) FROM kpi.… GROUP BY …"))
                .into());
        }
    }
    Ok(())
}

fn expand_aggregate(aggregate: &Aggregate, zone: Option<&str>) -> Result<Option<LogicalPlan>> {
    let Some(chain) = walk(&aggregate.input)? else {
        let ours = |name: &str| is_measure(name) || name == crate::measure::COVERAGE;
        if aggregate.aggr_expr.iter().filter_map(function).any(|call| ours(call.func.name())) {
            return Err(bad_argument("the argument of MEASURE is not a measure of a KPI view").into());
        }
        refuse_reaggregation(aggregate)?;
        return Ok(None);
    };
    let input = aggregate.input.schema();
    let originals = grouping_set_to_exprlist(&aggregate.group_expr)?;
    let position = |expr: &Expr| originals.iter().position(|key| *key == expr);
    let sets = match aggregate.group_expr.as_slice() {
        [Expr::GroupingSet(set)] => Some(positions(set, &position)),
        _ => None,
    };
    let gid = aggregate
        .schema
        .field_with_unqualified_name(Aggregate::INTERNAL_GROUPING_ID)
        .ok()
        .map(|field| field.data_type().clone());
    let exprs = originals
        .iter()
        .map(|expr| substitute((*expr).clone(), input, &chain.outputs))
        .collect::<Result<Vec<_>>>()?;
    let types =
        aggregate.schema.fields().iter().take(exprs.len()).map(|field| field.data_type().clone()).collect();
    let keys = Keys { exprs, types, sets: sets.zip(gid) };
    let mut calls = Calls { chain: &chain, keys: &keys, leaves: Vec::new() };
    let mut values = Vec::new();
    for expr in &aggregate.aggr_expr {
        let Some(call) = function(expr) else { return Err(bad_argument("an aggregate is expected").into()) };
        values.push(calls.call(call, input)?);
    }
    let leaves = calls.leaves;
    build(&chain, &keys, &leaves, values, &aggregate.schema, zone).map(Some)
}

/// Key positions of every grouping set, also of ROLLUP and CUBE.
fn positions(set: &GroupingSet, position: &dyn Fn(&Expr) -> Option<usize>) -> Vec<Vec<usize>> {
    let of = |exprs: &[Expr]| exprs.iter().filter_map(position).collect::<Vec<usize>>();
    match set {
        GroupingSet::GroupingSets(sets) => sets.iter().map(|set| of(set)).collect(),
        GroupingSet::Rollup(exprs) => {
            (0..=exprs.len()).map(|len| of(exprs.get(..len).unwrap_or_default())).collect()
        }
        GroupingSet::Cube(exprs) => {
            let mut sets: Vec<Vec<usize>> = vec![Vec::new()];
            for at in of(exprs) {
                let with: Vec<Vec<usize>> =
                    sets.iter().map(|set| set.iter().copied().chain([at]).collect()).collect();
                sets.extend(with);
            }
            sets
        }
    }
}

fn expand_distinct(input: &LogicalPlan, zone: Option<&str>) -> Result<Option<LogicalPlan>> {
    if reads_kpi(input).is_none() || matches!(input, LogicalPlan::Limit(_)) {
        return Ok(None);
    }
    let Some(chain) = walk(input)? else { return Ok(None) };
    let types = input.schema().fields().iter().map(|field| field.data_type().clone()).collect();
    let keys = Keys { exprs: chain.outputs.clone(), types, sets: None };
    build(&chain, &keys, &[], Vec::new(), input.schema(), zone).map(Some)
}

/// Lowers the groups, stitches them and restores the schema of the node that is replaced.
fn build(
    chain: &Chain,
    keys: &Keys,
    leaves: &[Leaf],
    values: Vec<Expr>,
    schema: &DFSchema,
    zone: Option<&str>,
) -> Result<LogicalPlan> {
    let model = &chain.table.resolved.model;
    let lowering = Lowering { table: &chain.table, keys, predicates: &chain.predicates, zone };
    let mut groups: Vec<(GroupKey, Vec<(usize, &Leaf)>)> = Vec::new();
    for (index, leaf) in leaves.iter().enumerate() {
        let key = match leaf {
            Leaf::Plain(_) => plain(model),
            Leaf::Measure { name, clock, dropped, .. } => {
                let entity = model.measures.iter().find(|m| m.name == *name).and_then(|m| m.entity.clone());
                GroupKey { entity, clock: clock.clone(), plain: false, dropped: dropped.clone() }
            }
        };
        match groups.iter_mut().find(|(other, _)| *other == key) {
            Some((_, members)) => members.push((index, leaf)),
            None => groups.push((key, vec![(index, leaf)])),
        }
    }
    if groups.is_empty() {
        groups.push((plain(model), Vec::new()));
    }
    let numbered = || groups.iter().enumerate();
    let lowered = numbered()
        .filter(|(_, (key, _))| key.dropped.is_none())
        .map(|(number, (key, leaves))| lowering.group(number, key, leaves))
        .collect::<Result<Vec<_>>>()?;
    let Some(mut all) = stitch(lowered)? else { return Err(bad_argument("nothing to compute").into()) };
    for (number, (key, leaves)) in numbered() {
        let Some(dropped) = &key.dropped else { continue };
        let reduced = reduce(keys, dropped.kept(keys)?)?;
        let lowering = Lowering { keys: &reduced.keys, ..lowering };
        all = attach(all, lowering.group(number, key, leaves)?, &reduced)?;
    }
    let outputs = all.keys.iter().map(|name| column(name)).chain(values);
    let mut out = Vec::new();
    for (expr, (relation, field)) in outputs.zip(schema.iter()) {
        let expr = if field.name() == Aggregate::INTERNAL_GROUPING_ID {
            expr
        } else {
            cast(expr, field.data_type().clone())
        };
        let metadata = (!field.metadata().is_empty()).then(|| FieldMetadata::from(field.as_ref()));
        out.push(expr.alias_qualified_with_metadata(relation.cloned(), field.name(), metadata));
    }
    LogicalPlanBuilder::new(all.plan).project(out)?.build()
}

fn plain(model: &KpiModel) -> GroupKey {
    GroupKey { entity: None, clock: model.default_clock.clone(), plain: true, dropped: None }
}

/// What a value is taken in: an outer clock wins over inner ones, FILTER and dropped keys reach every part.
#[derive(Clone, Default)]
struct Around<'a> {
    clock: Option<&'a str>,
    filter: Option<Expr>,
    dropped: Option<Dropped>,
}

struct Calls<'a> {
    chain: &'a Chain,
    keys: &'a Keys,
    leaves: Vec<Leaf>,
}

impl Calls<'_> {
    fn model(&self) -> &KpiModel {
        &self.chain.table.resolved.model
    }

    /// Returns the value of one aggregate call over leaf columns.
    fn call(&mut self, call: &AggregateFunction, input: &DFSchema) -> Result<Expr> {
        let name = call.func.name();
        let params = &call.params;
        let filter = params
            .filter
            .as_ref()
            .map(|filter| substitute((**filter).clone(), input, &self.chain.outputs))
            .transpose()?;
        let args = params
            .args
            .iter()
            .map(|arg| substitute(arg.clone(), input, &self.chain.outputs))
            .collect::<Result<Vec<_>>>()?;
        if is_measure(name) {
            if params.distinct || !params.order_by.is_empty() || params.null_treatment.is_some() {
                return Err(
                    bad_argument(format!("{name} takes no DISTINCT, ORDER BY or IGNORE NULLS")).into()
                );
            }
            let kpi = self
                .kpi(args.first())?
                .ok_or_else(|| bad_argument(format!("the argument of {name} must be a bare measure")))?;
            let dropped = match args.as_slice() {
                [_] => None,
                [
                    _,
                    Expr::Literal(ScalarValue::Utf8(Some(context)) | ScalarValue::Utf8View(Some(context)), _),
                ] => Some(self.context(context)?),
                _ => return Err(bad_argument(format!("{name} takes a measure and a context text")).into()),
            };
            return self.value(&kpi, &Around { filter, dropped, ..Around::default() });
        }
        if name == crate::measure::COVERAGE {
            return Err(SemanticError::new("KPI904", "0A000", "COVERAGE is not supported yet")
                .hint(
                    "compare the measure with and without the rows in question: MEASURE(…) FILTER (WHERE …)",
                )
                .into());
        }
        let ordered = !params.order_by.is_empty() || params.null_treatment.is_some();
        if name == "count" && !params.distinct && matches!(args.as_slice(), [Expr::Literal(..)] | []) {
            let Some(star) = self.model().count_star.clone() else {
                return Err(SemanticError::new(
                    "KPI903",
                    "42803",
                    format!("COUNT(*) has no meaning on kpi.{}", self.model().name),
                )
                .hint(view::instead(self.model()))
                .into());
            };
            return self.value(&star, &Around { filter, ..Around::default() });
        }
        if let Some(kpi) = self.kpi(args.first())? {
            let asked = if name == "count" && params.distinct { "count_distinct" } else { name };
            if !ordered
                && args.len() == 1
                && (!params.distinct || name == "count")
                && self.accepts(&kpi).iter().any(|accepted| accepted == asked)
            {
                return self.value(&kpi, &Around { filter, ..Around::default() });
            }
            return Err(SemanticError::new(
                "KPI903",
                "42803",
                format!("{name} of measure \"{kpi}\" has no meaning"),
            )
            .hint(format!("write MEASURE({kpi})"))
            .into());
        }
        let legal = matches!(name, "min" | "max") || (name == "count" && params.distinct);
        if !legal || ordered || args.len() != 1 {
            return Err(SemanticError::new(
                "KPI903",
                "42803",
                format!("{name} of a dimension of kpi.{} is not supported", self.model().name),
            )
            .hint("MIN, MAX and COUNT(DISTINCT …) of a dimension are; values come from MEASURE(…)")
            .into());
        }
        let plain = AggregateFunction::new_udf(
            Arc::clone(&call.func),
            args,
            params.distinct,
            filter.map(Box::new),
            vec![],
            None,
        );
        Ok(self.leaf(Leaf::Plain(plain)))
    }

    /// The KPI an argument names, if it is a bare one; an expression over measures is KPI904.
    fn kpi(&self, arg: Option<&Expr>) -> Result<Option<String>> {
        let Some(arg) = arg else { return Ok(None) };
        let known = |name: &str| self.chain.table.resolved.types.contains_key(name);
        match arg {
            Expr::Column(column) => Ok(known(&column.name).then(|| column.name.clone())),
            other if other.column_refs().iter().any(|column| known(&column.name)) => {
                Err(bad_argument("the argument must be a bare measure, not an expression").into())
            }
            _ => Ok(None),
        }
    }

    fn accepts(&self, kpi: &str) -> &[String] {
        let model = self.model();
        let measure = model.measures.iter().find(|m| m.name == kpi).map(|m| m.accepts.as_slice());
        measure
            .or_else(|| model.metrics.iter().find(|m| m.name == kpi).map(|m| m.accepts.as_slice()))
            .unwrap_or_default()
    }

    /// Reads a context: `all` and `all d, …`; another one that is well formed is not supported yet.
    fn context(&self, context: &str) -> Result<Dropped> {
        let dimension = |name: &str| {
            self.chain.table.resolved.schema.field_with_name(name).is_ok()
                && !self.chain.table.resolved.types.contains_key(name)
        };
        let mut found = None;
        for clause in context.split(';').map(str::trim) {
            let (verb, rest) = clause.split_once(char::is_whitespace).unwrap_or((clause, ""));
            let names: Vec<&str> = rest.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
            let unknown = match verb {
                "all" | "unfiltered" => names.iter().find(|name| !dimension(name)).copied(),
                "set" => rest
                    .split_once('=')
                    .map(|(name, _)| name.trim())
                    .filter(|name| !dimension(name))
                    .or((!rest.contains('=')).then_some(rest)),
                "shift" => None,
                _ => Some(clause),
            };
            let twice =
                names.iter().enumerate().find(|(at, name)| names.iter().take(*at).any(|n| n == *name));
            if let Some(wrong) = unknown.or(twice.filter(|_| verb == "all").map(|(_, name)| *name)) {
                return Err(bad_argument(format!("bad context \"{wrong}\""))
                    .hint("a context is all [d, …], set d = literal, unfiltered [d] or shift interval; clauses are joined by ;")
                    .into());
            }
            found = match (verb, &found) {
                ("all", None) if names.is_empty() => Some(Dropped::All),
                ("all", None) => Some(Dropped::Over(names.into_iter().map(str::to_owned).collect())),
                _ => {
                    return Err(SemanticError::new(
                        "KPI904",
                        "0A000",
                        format!("context \"{context}\" is not supported yet"),
                    )
                    .hint("all and all d, … are; for others aggregate twice and join: WITH a AS (…), b AS (…) SELECT …")
                    .into());
                }
            };
        }
        found.ok_or_else(|| bad_argument("bad context \"\"").into())
    }

    fn leaf(&mut self, leaf: Leaf) -> Expr {
        let at = self.leaves.iter().position(|other| *other == leaf).unwrap_or_else(|| {
            self.leaves.push(leaf);
            self.leaves.len() - 1
        });
        column(&format!("l{at}"))
    }

    /// The value of a measure or metric.
    fn value(&mut self, kpi: &str, around: &Around<'_>) -> Result<Expr> {
        let model = Arc::clone(&self.chain.table.resolved.model);
        if let Some(measure) = model.measures.iter().find(|m| m.name == kpi) {
            let clock = around.clock.unwrap_or(&measure.clock).to_owned();
            let counted = matches!(measure.agg, crate::Aggregate::Count | crate::Aggregate::CountDistinct);
            let name = kpi.to_owned();
            let mut leaf = Leaf::Measure { name, clock, filter: around.filter.clone(), dropped: None };
            // The rows are those of the measure as it is; a context only looks values up for them.
            let mut value = self.leaf(leaf.clone());
            if let (Some(context), Leaf::Measure { dropped, .. }) = (&around.dropped, &mut leaf)
                && context.kept(self.keys)?.len() < self.keys.exprs.len()
            {
                *dropped = Some(context.clone());
                value = self.leaf(leaf);
            }
            let ty = self.chain.table.resolved.types.get(kpi).cloned();
            let zero = cast(lit(0_i64), ty.unwrap_or(DataType::Int64));
            return Ok(if counted { coalesce(vec![value, zero]) } else { value });
        }
        let Some(metric) = model.metrics.iter().find(|m| m.name == kpi) else {
            return Err(bad_argument(format!("\"{kpi}\" is no measure")).into());
        };
        let around = Around { clock: around.clock.or(metric.clock.as_deref()), ..around.clone() };
        self.metric(metric, &around)
    }

    fn metric(&mut self, metric: &Metric, around: &Around<'_>) -> Result<Expr> {
        let value = match &metric.kind {
            MetricKind::Ratio { num, den } => {
                let num = self.value(num, around)?;
                resolve::divide(num, self.value(den, around)?)
            }
            MetricKind::Share { of, over } => {
                let part = self.value(of, around)?;
                let whole = Dropped::Over(over.clone()).and(around.dropped.as_ref());
                resolve::divide(part, self.value(of, &Around { dropped: Some(whole), ..around.clone() })?)
            }
            MetricKind::Derived(scalar) => {
                let parts = scalar
                    .columns
                    .iter()
                    .map(|part| Ok((part.clone(), self.value(part, around)?)))
                    .collect::<Result<Vec<_>>>()?;
                let Some(expr) = self.chain.table.resolved.derived.get(&metric.name).cloned() else {
                    return Err(bad_argument(format!("\"{}\" is no metric", metric.name)).into());
                };
                expr.transform_up(|expr| {
                    let Expr::Column(column) = &expr else { return Ok(Transformed::no(expr)) };
                    let part =
                        parts.iter().find(|(name, _)| *name == column.name).map(|(_, value)| value.clone());
                    Ok(part.map_or(Transformed::no(expr), Transformed::yes))
                })
                .data()?
            }
        };
        let value = if metric.scale == Ratio::ONE { value } else { scaled(value, metric.scale) };
        Ok(match self.chain.table.resolved.types.get(&metric.name) {
            Some(ty) => cast(value, ty.clone()),
            None => value,
        })
    }
}
