//! The fewest rows that still show a difference: the stores are loaded anew with fewer and fewer of them.
//!
//! Nobody else may be asking meanwhile.

use anyhow::Result;

use crate::differ::{Against, Case, Finding};
use crate::memory::Manner;
use crate::stores::Store;
use crate::table::LogicalTable;
use crate::world::{Plain, World};

/// Loads of the stores for one finding.
const TRIES: usize = 50;

/// Makes a finding's rows fewer, and its report one of those rows. Whether it did.
pub(crate) async fn narrow(
    stores: &[&dyn Store],
    plain: Option<&Plain>,
    tables: &[LogicalTable],
    finding: &mut Finding,
) -> Result<bool> {
    let Some(case) = finding.case.clone() else { return Ok(false) };
    let stores = involved(stores, case.against);
    let names = case.query.tables();
    let mut fewest = tables.to_vec();
    for table in &mut fewest {
        if !names.contains(&table.name) {
            table.rows.clear();
        }
    }
    let mut tries = TRIES;
    let mut step = fewest.iter().map(|table| table.rows.len()).max().unwrap_or(0);
    while step > 0 && tries > 0 {
        for index in 0..fewest.len() {
            let mut at = 0;
            while at < fewest[index].rows.len() && tries > 0 {
                let mut fewer = fewest.clone();
                let end = (at + step).min(fewer[index].rows.len());
                fewer[index].rows.drain(at..end);
                tries -= 1;
                if shows(&stores, plain, &fewer, &case).await? { fewest = fewer } else { at += step }
            }
        }
        step /= 2;
    }
    let world = World::open(&stores, Manner::Good, &fewest, plain.cloned()).await?;
    match case.finding(&world.asker().await?, &fewest).await? {
        Some(smaller) => {
            *finding = smaller;
            Ok(true)
        }
        None => Ok(false),
    }
}

async fn shows(
    stores: &[&dyn Store],
    plain: Option<&Plain>,
    tables: &[LogicalTable],
    case: &Case,
) -> Result<bool> {
    let world = World::open(stores, Manner::Good, tables, plain.cloned()).await?;
    case.differs(&world.asker().await?).await
}

/// The stores a difference is about. The PostgreSQL is behind the doors and holds the plain rows; `slot` shows what
/// `maria` holds.
fn involved<'a>(stores: &[&'a dyn Store], against: Against) -> Vec<&'a dyn Store> {
    let read = match against {
        Against::Way(way) => vec![way.schema, way.moved],
        Against::Door(_) | Against::Plain => vec![],
    };
    let wanted = |schema: &str| {
        schema == "pg" || read.contains(&schema) || (schema == "maria" && read.contains(&"slot"))
    };
    stores.iter().copied().filter(|store| wanted(store.schema())).collect()
}
