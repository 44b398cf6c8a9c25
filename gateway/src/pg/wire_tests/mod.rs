//! The wire loop over real sockets, with a backend that generates rows.

mod clients;
mod double;
mod hostile;
mod login;
mod protocol;
pub(crate) mod raw;
mod streaming;
