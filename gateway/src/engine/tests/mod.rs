//! SQL in, rows out: the engine over tables in memory, with expected texts that were looked up in PostgreSQL.

mod audit;
mod execution;
pub(crate) mod fixture;
mod infinite;
mod interrupt;
mod intervals;
mod meaning;
mod nonsense;
mod opaque;
mod parameters;
mod reads;
mod refusals;
mod spot;
mod values;
