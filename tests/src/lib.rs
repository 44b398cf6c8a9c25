//! Test harness: services, gateway processes, clients, corpora. No other crate may depend on it.
