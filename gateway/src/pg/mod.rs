//! The PostgreSQL front door: everything between an accepted socket and the [`backend::Backend`].
//!
//! The loop is our own: it frames and limits bytes before parsing, streams rows as the socket drains, and watches
//! the socket, the cancel token and the deadline at every await. It must never plan or execute anything itself, never
//! trust a length or a count from a client, and never end a connection without an `ErrorResponse` that says why.

pub mod backend;
pub mod bridge;
pub mod classify;
mod command;
pub mod connections;
mod conversation;
mod copy;
mod cursor;
pub mod decode;
pub mod encode;
pub mod fault;
pub mod frame;
pub mod listener;
mod message;
mod portal;
mod rows;
pub mod scram;
mod socket;
mod startup;
pub mod statement;
pub mod style;
mod transaction;

#[cfg(test)]
pub(crate) mod wire_tests;
