//! A model against the schemas of its tables: planned expressions and column types.
//!
//! It holds no provider, so it can be kept and shared: a session whose store is down still knows the columns.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::expr::Case;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator, cast, lit};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;

use crate::grain::timestamptz;
use crate::scalar::{self, DIMENSION, FACT};
use crate::{
    Aggregate, Dimension, Grain, KpiModel, Measure, MetricKind, SemanticError, Unmapped, Unmatched, ValueType,
};

/// A model whose expressions are planned over `_fact` and its joins.
#[derive(Debug)]
pub(crate) struct Resolved {
    pub(crate) model: Arc<KpiModel>,
    /// Columns of the view.
    pub(crate) schema: SchemaRef,
    /// Dimension → expression.
    pub(crate) dims: HashMap<String, Expr>,
    /// Measure → argument and filter; `_dim` columns are already replaced.
    pub(crate) args: HashMap<String, (Option<Expr>, Option<Expr>)>,
    /// Derived metric → expression over `_fact.<kpi>`.
    pub(crate) derived: HashMap<String, Expr>,
    /// Entity → its row flag.
    pub(crate) rows: HashMap<String, Expr>,
    /// The model's own filter.
    pub(crate) filter: Option<Expr>,
    /// KPI → type.
    pub(crate) types: HashMap<String, DataType>,
    /// Schemas of fact and joins it was made for.
    pub(crate) inputs: Vec<(String, SchemaRef)>,
}

fn coerce(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    ExprSimplifier::new(SimplifyContext::default()).coerce(expr, schema)
}

/// Returns the Arrow type of a declared type.
pub(crate) fn arrow_type(ty: ValueType) -> DataType {
    match ty {
        ValueType::Text => DataType::Utf8,
        ValueType::Int8 => DataType::Int64,
        ValueType::Numeric(p, s) => DataType::Decimal128(p, s),
        ValueType::Float8 => DataType::Float64,
        ValueType::Date => DataType::Date32,
        ValueType::TimestampTz => timestamptz(),
        ValueType::Boolean => DataType::Boolean,
    }
}

fn is_text(ty: &DataType) -> bool {
    matches!(ty, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn field(name: &str, ty: DataType, facts: &[(&str, String)]) -> Field {
    let metadata = facts.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    Field::new(name, ty, true).with_metadata(metadata)
}

/// What a sum over many levels may do with a value.
pub(crate) fn additivity(measure: &Measure) -> &'static str {
    match (measure.agg, &measure.entity) {
        (Aggregate::Sum | Aggregate::Count, None) => "additive",
        (Aggregate::Sum | Aggregate::Count, Some(_)) => "entity",
        _ => "none",
    }
}

impl Resolved {
    /// Plans every expression of a model.
    pub(crate) fn new(model: &Arc<KpiModel>, inputs: Vec<(String, SchemaRef)>) -> Result<Self> {
        let mut base = DFSchema::empty();
        for (qualifier, schema) in &inputs {
            base = base.join(&DFSchema::try_from_qualified_schema(qualifier.as_str(), schema)?)?;
        }
        let mut fields = vec![field(
            "time",
            timestamptz(),
            &[("kpi.role", "time".into()), ("portolan.comment", "the event that dates each measure".into())],
        )];
        for grain in Grain::ALL {
            let text = format!("{} of the event, {}", grain.as_str(), model.time_zone.name());
            fields.push(field(
                grain.as_str(),
                grain.data_type(),
                &[("kpi.role", "time".into()), ("portolan.comment", text)],
            ));
        }
        let mut dims = HashMap::new();
        for dimension in &model.dimensions {
            let (expr, ty) = self::dimension(model, dimension, &base)?;
            let comment =
                dimension.description.clone().or_else(|| dimension.title.clone()).unwrap_or_default();
            fields.push(field(
                &dimension.name,
                ty,
                &[("kpi.role", "dimension".into()), ("portolan.comment", comment)],
            ));
            dims.insert(dimension.name.clone(), expr);
        }
        let mut this = Self {
            model: Arc::clone(model),
            schema: Arc::new(Schema::empty()),
            dims,
            args: HashMap::new(),
            derived: HashMap::new(),
            rows: HashMap::new(),
            filter: model
                .filter
                .as_ref()
                .map(|scalar| scalar::plan(scalar, &base).and_then(|expr| coerce(expr, &base)))
                .transpose()?,
            types: HashMap::new(),
            inputs,
        };
        for entity in &model.entities {
            let row = scalar::plan(&entity.row, &base).and_then(|expr| coerce(expr, &base))?;
            this.rows.insert(entity.name.clone(), row);
        }
        for measure in &model.measures {
            let ty = this.measure(measure, &base)?;
            let comment = measure.description.clone().or_else(|| measure.title.clone()).unwrap_or_default();
            let facts = [
                ("kpi.role", "measure".to_owned()),
                ("kpi.name", measure.name.clone()),
                ("kpi.unit", measure.unit.text.clone()),
                ("kpi.additivity", additivity(measure).to_owned()),
                ("portolan.comment", comment),
            ];
            fields.push(field(&measure.name, ty.clone(), &facts));
            this.types.insert(measure.name.clone(), ty);
        }
        for metric in &model.metrics {
            let ty = match &metric.kind {
                MetricKind::Ratio { .. } | MetricKind::Share { .. } => DataType::Float64,
                MetricKind::Derived(scalar) => this.derive(&metric.name, scalar)?,
            };
            let comment = metric.description.clone().or_else(|| metric.title.clone()).unwrap_or_default();
            let facts = [
                ("kpi.role", "metric".to_owned()),
                ("kpi.name", metric.name.clone()),
                ("kpi.unit", metric.unit.text.clone()),
                ("kpi.additivity", "none".to_owned()),
                ("portolan.comment", comment),
            ];
            fields.push(field(&metric.name, ty.clone(), &facts));
            this.types.insert(metric.name.clone(), ty);
        }
        this.schema = Arc::new(Schema::new(fields));
        Ok(this)
    }

    fn measure(&mut self, measure: &Measure, base: &DFSchema) -> Result<DataType> {
        let filter = measure
            .filter
            .as_ref()
            .map(|scalar| {
                let named: Vec<Field> = scalar
                    .dimensions
                    .iter()
                    .filter_map(|name| {
                        Some(Field::new(name, self.dims.get(name)?.get_type(base).ok()?, true))
                    })
                    .collect();
                let schema =
                    base.join(&DFSchema::try_from_qualified_schema(DIMENSION, &Schema::new(named))?)?;
                scalar::plan(scalar, &schema)
            })
            .transpose()?;
        let (arg, ty) = match &measure.expr {
            None => (None, DataType::Int64),
            Some(scalar) => {
                let mut arg = coerce(scalar::plan(scalar, base)?, base)?;
                let mut ty = arg.get_type(base)?;
                if matches!(ty, DataType::Float16 | DataType::Float32 | DataType::Float64) {
                    arg = cast(arg, DataType::Float64);
                    arg = Expr::Case(Case::new(
                        None,
                        vec![(
                            Box::new(datafusion::functions::expr_fn::isnan(arg.clone())),
                            Box::new(lit(ScalarValue::Float64(None))),
                        )],
                        Some(Box::new(arg)),
                    ));
                    ty = DataType::Float64;
                }
                if measure.nulls_zero {
                    arg = datafusion::functions::expr_fn::coalesce(vec![arg, cast(lit(0_i64), ty.clone())]);
                }
                let wrong = |what: &str| {
                    SemanticError::new(
                        "KPI305",
                        "55000",
                        format!("measure \"{}\" cannot {} a value of type {ty}", measure.name, what),
                    )
                    .hint("correct \"expr\" in the model's file")
                };
                let out = match measure.agg {
                    Aggregate::Count | Aggregate::CountDistinct => DataType::Int64,
                    Aggregate::Sum if ty.is_integer() => {
                        arg = cast(arg, DataType::Decimal128(28, 0));
                        DataType::Decimal128(38, 0)
                    }
                    Aggregate::Sum => match ty {
                        DataType::Decimal128(p, s) if p <= 28 => {
                            arg = cast(arg, DataType::Decimal128(28, s));
                            DataType::Decimal128(38, s)
                        }
                        DataType::Decimal128(_, s) => {
                            arg = cast(arg, DataType::Decimal256(66, s));
                            DataType::Decimal128(38, s)
                        }
                        DataType::Float64 => DataType::Float64,
                        _ => return Err(wrong("sum").into()),
                    },
                    Aggregate::Min | Aggregate::Max => ty.clone(),
                    Aggregate::Avg | Aggregate::Stddev | Aggregate::Percentile(_) => {
                        if !ty.is_numeric() {
                            return Err(wrong("average").into());
                        }
                        arg = cast(arg, DataType::Float64);
                        DataType::Float64
                    }
                    Aggregate::BoolOr | Aggregate::BoolAnd if ty == DataType::Boolean => DataType::Boolean,
                    Aggregate::BoolOr | Aggregate::BoolAnd => return Err(wrong("take as boolean").into()),
                };
                (Some(arg), out)
            }
        };
        self.args.insert(measure.name.clone(), (arg, filter));
        // An inexact decimal factor has no numeric result: the value is scaled as float8.
        let ty = if measure.scale == crate::units::Ratio::ONE { ty } else { DataType::Float64 };
        Ok(measure.ty.map_or(ty, arrow_type))
    }

    fn derive(&mut self, name: &str, scalar: &crate::Scalar) -> Result<DataType> {
        let fields: Vec<Field> = scalar
            .columns
            .iter()
            .filter_map(|part| Some(Field::new(part, self.types.get(part)?.clone(), true)))
            .collect();
        let schema = DFSchema::try_from_qualified_schema(FACT, &Schema::new(fields))?;
        let expr = scalar::plan(scalar, &schema)?
            .transform_up(|expr| {
                Ok(match expr {
                    Expr::BinaryExpr(BinaryExpr { left, op: Operator::Divide, right }) => {
                        Transformed::yes(divide(*left, *right))
                    }
                    other => Transformed::no(other),
                })
            })
            .data()?;
        let expr = coerce(expr, &schema)?;
        let ty = match expr.get_type(&schema)? {
            DataType::Decimal128(_, s) | DataType::Decimal256(_, s) => DataType::Decimal128(38, s),
            ty if ty.is_integer() => DataType::Int64,
            DataType::Boolean => DataType::Boolean,
            _ => DataType::Float64,
        };
        self.derived.insert(name.to_owned(), expr);
        Ok(ty)
    }

    /// The type of `time` on a clock, if the column exists and is a timestamp.
    pub(crate) fn instant(&self, clock: &str) -> Result<Expr> {
        let column = self.model.clocks.iter().find(|c| c.name == clock).map_or("", |c| c.column.as_str());
        let expr = Expr::Column(Column::new(Some(FACT), column));
        let ty = self
            .inputs
            .first()
            .and_then(|(_, schema)| schema.field_with_name(column).ok())
            .map(|field| field.data_type().clone());
        match ty {
            Some(DataType::Timestamp(TimeUnit::Microsecond, Some(zone))) if zone.as_ref() == "UTC" => {
                Ok(expr)
            }
            Some(DataType::Timestamp(..) | DataType::Date32) => Ok(cast(expr, timestamptz())),
            _ => Err(SemanticError::new(
                "KPI403",
                "55000",
                format!("clock \"{clock}\" is no timestamp column of {}", self.model.source),
            )
            .into()),
        }
    }
}

/// `left / right` as float8, NULL for a zero denominator.
pub(crate) fn divide(left: Expr, right: Expr) -> Expr {
    let right = datafusion::functions::expr_fn::nullif(cast(right, DataType::Float64), lit(0.0_f64));
    Expr::BinaryExpr(BinaryExpr::new(
        Box::new(cast(left, DataType::Float64)),
        Operator::Divide,
        Box::new(right),
    ))
}

fn dimension(model: &KpiModel, dimension: &Dimension, base: &DFSchema) -> Result<(Expr, DataType)> {
    let mut expr = coerce(scalar::plan(&dimension.expr, base)?, base)?;
    let mut ty = expr.get_type(base)?;
    if is_text(&ty) || !dimension.values.is_empty() {
        expr = cast(expr, DataType::Utf8);
        ty = DataType::Utf8;
    }
    if !dimension.values.is_empty() {
        let text = |value: &str| Box::new(lit(value));
        let mut whens = vec![(Box::new(expr.clone().is_null()), Box::new(lit(ScalarValue::Utf8(None))))];
        whens.extend(
            dimension
                .values
                .iter()
                .map(|(code, label)| (Box::new(expr.clone().eq(lit(code.as_str()))), text(label))),
        );
        let other = match &dimension.unmapped {
            Some(Unmapped::Bucket(label)) => text(label),
            _ => Box::new(expr),
        };
        expr = Expr::Case(Case::new(None, whens, Some(other)));
    }
    for (name, _) in &dimension.expr.joined {
        let Some(join) = model.joins.iter().find(|join| join.name == *name) else { continue };
        let Unmatched::Bucket { label, explicit } = &join.unmatched else { continue };
        if is_text(&ty) {
            if let Some((_, key)) = join.on.first() {
                let missing = Expr::Column(Column::new(Some(name.as_str()), key.as_str())).is_null();
                expr = Expr::Case(Case::new(
                    None,
                    vec![(Box::new(missing), Box::new(lit(label.as_str())))],
                    Some(Box::new(expr)),
                ));
            }
        } else if *explicit {
            return Err(SemanticError::new(
                "KPI203",
                "55000",
                format!("dimension \"{}\" is no text and cannot show bucket \"{label}\"", dimension.name),
            )
            .hint("write unmatched: null")
            .into());
        }
    }
    if let Some(declared) = dimension.ty {
        ty = arrow_type(declared);
        expr = cast(expr, ty.clone());
    }
    Ok((expr, ty))
}
