//! Closures of pilotage and work from hourly weather: thresholds, hysteresis, and their union per activity.
//!
//! Pure functions of the samples: no clock, no I/O. The simulator uses them for truth and for the ships' behaviour;
//! ingest computes its own from the same rules, so that one mistake cannot hide in both.
