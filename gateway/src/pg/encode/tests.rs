//! Goldens of the encoder; every expected text and byte was printed by PostgreSQL 15.
