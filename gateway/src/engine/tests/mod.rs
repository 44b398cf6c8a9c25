//! SQL in, rows out: the engine over tables in memory, with expected texts that were looked up in PostgreSQL.

mod audit;
mod execution;
pub(crate) mod fixture;
mod interrupt;
mod meaning;
mod nonsense;
mod reads;
mod refusals;
mod spot;
