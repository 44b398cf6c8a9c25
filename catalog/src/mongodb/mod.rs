//! MongoDB as a source: its collections as tables, filters as `$match` in query-operator form, BSON decoded straight
//! into Arrow.
//!
//! It must never dial anybody while a configuration is read or a query is planned, never send a condition as text,
//! and never turn a value of another type into something it is not without saying so.

mod builder;
mod check;
mod client;
mod config;
mod decimal;
mod decode;
mod error;
mod executor;
mod expression;
mod grouping;
mod introspect;
mod json;
mod kind;
mod literal;
mod load;
mod matcher;
mod pipeline;
mod probe;
mod render;
mod shape;
mod source;
mod verdict;

pub use config::{MongodbColumnConfig, MongodbConfig, MongodbTableConfig, MongodbTls};
pub use kind::MongodbType;
pub use load::{LoadDocument, load};
pub use source::MongodbSource;
