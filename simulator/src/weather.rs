//! The hourly weather of the port as arrays.

/// Hourly weather; every series has the same length, the first sample at `start`.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Weather {
    /// First hour, seconds since 1970 UTC.
    pub start: i64,
}
