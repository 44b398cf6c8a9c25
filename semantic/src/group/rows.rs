//! The rows of a group: the fact, the joins its expressions need, the model's filter, and an entity's members.
//!
//! A join whose key no constraint proves unique is checked while it runs: a second row of one key is an error, never
//! a doubled number.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::{Column, Constraint, TableReference};
use datafusion::datasource::provider_as_source;
use datafusion::error::Result;
use datafusion::functions::expr_fn::coalesce;
use datafusion::functions_aggregate::{bool_and_or, count, first_last};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Aggregate, Expr, JoinType, LogicalPlan, LogicalPlanBuilder, lit};

use super::aggregate::{call, inputs};
use super::{Lowering, Part};
use crate::scalar::FACT;
use crate::semantics::unavailable;
use crate::stitch::{column, null_safe};
use crate::{Entity, JoinDef, TableName};

impl Lowering<'_> {
    fn provider_scan(&self, qualifier: &str, name: &TableName) -> Result<LogicalPlanBuilder> {
        let Some(provider) = self.table.tables.get(qualifier) else {
            return Err(unavailable(&name.to_string(), &self.table.resolved.model.name).into());
        };
        let reference = TableReference::partial(name.schema.as_str(), name.table.as_str());
        LogicalPlanBuilder::scan(reference, provider_as_source(Arc::clone(provider)), None)
    }

    fn joined(&self, join: &JoinDef, used: &BTreeSet<String>) -> Result<LogicalPlan> {
        let scan = self.provider_scan(&join.name, &join.to)?;
        let keys: Vec<&str> = join.on.iter().map(|(_, key)| key.as_str()).collect();
        let proven = self.table.tables.get(&join.name).is_some_and(|provider| {
            let schema = provider.schema();
            provider.constraints().is_some_and(|constraints| {
                constraints.iter().any(|constraint| {
                    let (Constraint::PrimaryKey(columns) | Constraint::Unique(columns)) = constraint;
                    !columns.is_empty()
                        && columns.iter().all(|at| keys.contains(&schema.field(*at).name().as_str()))
                })
            })
        });
        if proven {
            return scan.alias(join.name.as_str())?.build();
        }
        let of = |name: &str| Expr::Column(Column::from_name(name));
        let not_null = conjunction(keys.iter().map(|key| of(key).is_not_null())).unwrap_or_else(|| lit(true));
        let plan = scan.filter(not_null)?.build()?;
        let others: Vec<&String> = used.iter().filter(|name| !keys.contains(&name.as_str())).collect();
        let qualify = |name: &str| -> Result<Expr> {
            let (relation, field) = plan.schema().qualified_field_with_unqualified_name(name)?;
            Ok(Expr::Column(Column::new(relation.cloned(), field.name())))
        };
        let group = keys.iter().map(|key| qualify(key)).collect::<Result<Vec<_>>>()?;
        let mut values = vec![call(count::count_udaf(), vec![lit(1_i64)], false, None).alias("_n")];
        for name in &others {
            values.push(
                call(first_last::first_value_udaf(), vec![qualify(name)?], false, None)
                    .alias(format!("_v_{name}")),
            );
        }
        let aggregate =
            LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(plan.clone()), group.clone(), values)?);
        let guard = crate::measure::unique(join.to.to_string());
        let mut out = Vec::new();
        for (at, (key, expr)) in keys.iter().zip(group).enumerate() {
            let expr = if at == 0 { guard.call(vec![expr, of("_n")]) } else { expr };
            out.push(expr.alias(*key));
        }
        out.extend(others.iter().map(|name| of(&format!("_v_{name}")).alias(name.as_str())));
        LogicalPlanBuilder::new(aggregate).project(out)?.alias(join.name.as_str())?.build()
    }

    /// Fact, the joins that the expressions need, and the model's own filter.
    fn rows(&self, used: &[&Expr]) -> Result<LogicalPlanBuilder> {
        let resolved = &self.table.resolved;
        let mut plan = self.provider_scan(FACT, &resolved.model.source)?.alias(FACT)?.build()?;
        let exprs = used.iter().copied().chain(resolved.filter.as_ref());
        let columns: BTreeSet<(String, String)> = exprs
            .flat_map(|expr| expr.column_refs())
            .filter_map(|c| Some((c.relation.as_ref()?.table().to_owned(), c.name.clone())))
            .collect();
        for join in &resolved.model.joins {
            let used: BTreeSet<String> = columns
                .iter()
                .filter(|(table, _)| *table == join.name)
                .map(|(_, name)| name.clone())
                .collect();
            if used.is_empty() {
                continue;
            }
            let right = self.joined(join, &used)?;
            let left_keys: Vec<Column> =
                join.on.iter().map(|(left, _)| Column::new(Some(FACT), left.as_str())).collect();
            let right_keys: Vec<Column> = join
                .on
                .iter()
                .map(|(_, right)| Column::new(Some(join.name.as_str()), right.as_str()))
                .collect();
            plan = LogicalPlanBuilder::new(plan)
                .join(right, JoinType::Left, (left_keys, right_keys), None)?
                .build()?;
        }
        let builder = LogicalPlanBuilder::new(plan);
        match &resolved.filter {
            Some(filter) => builder.filter(filter.clone()),
            None => Ok(builder),
        }
    }

    pub(super) fn project(&self, filters: &[Expr], mut out: Vec<Expr>) -> Result<LogicalPlan> {
        let used: Vec<&Expr> = filters.iter().chain(&out).collect();
        let rows = self.rows(&used)?;
        let rows = match conjunction(filters.iter().cloned()) {
            Some(filter) => rows.filter(filter)?,
            None => rows,
        };
        if out.is_empty() {
            out.push(lit(1_i64).alias("_row"));
        }
        rows.project(out)?.build()
    }

    /// Value rows joined with the members their entity touches, each entity once per member of one grouping set.
    #[expect(clippy::too_many_arguments, reason = "the pieces of one group, split once by the caller")]
    pub(super) fn members(
        &self,
        number: usize,
        entity: &Entity,
        main: &[Expr],
        any: &[Expr],
        keys: &[(bool, Expr)],
        parts: &[Part],
        set: &[usize],
    ) -> Result<LogicalPlan> {
        let of = |name: &str| Expr::Column(Column::new(Some(FACT), name));
        let name = |at: usize| format!("k{number}_{at}");
        let wanted = |members: bool| {
            keys.iter().enumerate().filter(move |(at, (any, _))| *any == members && set.contains(at))
        };
        let mut left: Vec<Expr> =
            entity.keys.iter().enumerate().map(|(at, key)| of(key).alias(format!("v{at}"))).collect();
        left.extend(wanted(false).map(|(at, (_, expr))| expr.clone().alias(name(at))));
        left.extend(inputs(parts));
        let left = self.project(main, left)?;
        let mut right: Vec<Expr> =
            entity.keys.iter().enumerate().map(|(at, key)| of(key).alias(format!("m{at}"))).collect();
        right.extend(wanted(true).map(|(at, (_, expr))| expr.clone().alias(name(at))));
        let group: Vec<Expr> = (0..entity.keys.len())
            .map(|at| column(&format!("m{at}")))
            .chain(wanted(true).map(|(at, _)| column(&name(at))))
            .collect();
        let mut flags = Vec::new();
        for part in parts {
            if let Some(filter) = &part.any {
                right.push(coalesce(vec![filter.clone(), lit(false)]).alias(format!("y{}", part.index)));
                flags.push(
                    call(bool_and_or::bool_or_udaf(), vec![column(&format!("y{}", part.index))], false, None)
                        .alias(format!("z{}", part.index)),
                );
            }
        }
        let right = self.project(any, right)?;
        let right = LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(right), group, flags)?);
        let on =
            (0..entity.keys.len()).map(|at| (column(&format!("v{at}")), column(&format!("m{at}")))).collect();
        let joined = null_safe(left, right, on, JoinType::Inner)?;
        let mut out: Vec<Expr> = set.iter().map(|at| column(&name(*at))).collect();
        for part in parts {
            out.extend((0..part.args.len()).map(|at| column(&format!("a{}_{at}", part.index))));
            let main = part.main.as_ref().map(|_| column(&format!("f{}", part.index)));
            let any = part.any.as_ref().map(|_| column(&format!("z{}", part.index)));
            if let Some(filter) = conjunction(main.into_iter().chain(any)) {
                out.push(filter.alias(format!("f{}", part.index)));
            }
        }
        if out.is_empty() {
            out.push(lit(1_i64).alias("_row"));
        }
        LogicalPlanBuilder::new(joined).project(out)?.build()
    }
}
