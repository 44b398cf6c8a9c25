//! SQL in, rows out: the engine over tables in memory, with expected texts that were looked up in PostgreSQL.

pub(crate) mod fixture;
mod meaning;
mod refusals;
mod spot;
