//! `portolan_refresh('source')`: has a source's tables listed again now, and says what has changed since.
//!
//! A function, because every client can call one, as it calls `pg_reload_conf()`. It contacts the source while the
//! statement runs, never while it is planned, and changes nothing at the source.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{AsArray, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::async_udf::{AsyncScalarUDF, AsyncScalarUDFImpl};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};

use crate::session::TableCatalog;

/// The function, over the catalog it refreshes.
#[derive(Debug)]
struct Refresh {
    tables: Arc<dyn TableCatalog>,
    signature: Signature,
}

/// `portolan_refresh()` for all sources, or for the one that is named.
pub(crate) fn refresh(tables: Arc<dyn TableCatalog>) -> Arc<ScalarUDF> {
    let takes = vec![TypeSignature::Nullary, TypeSignature::String(1)];
    let signature = Signature::one_of(takes, Volatility::Volatile);
    Arc::new(AsyncScalarUDF::new(Arc::new(Refresh { tables, signature })).into_scalar_udf())
}

impl PartialEq for Refresh {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.tables, &other.tables)
    }
}

impl Eq for Refresh {}

impl Hash for Refresh {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl ScalarUDFImpl for Refresh {
    fn name(&self) -> &str {
        "portolan_refresh"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("a refresh is awaited")
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for Refresh {
    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some(names) = args.args.first() else {
            let told = self.tables.refresh(None).await?;
            let rows = std::iter::repeat_n(told, args.number_rows);
            return Ok(ColumnarValue::Array(Arc::new(StringArray::from_iter_values(rows))));
        };
        let names = cast(&names.to_array(args.number_rows)?, &DataType::Utf8)?;
        let mut told = Vec::with_capacity(names.len());
        for name in names.as_string::<i32>() {
            told.push(match name {
                Some(name) => Some(self.tables.refresh(Some(name)).await?),
                None => None,
            });
        }
        Ok(ColumnarValue::Array(Arc::new(StringArray::from(told))))
    }
}
