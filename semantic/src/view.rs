//! The schemas `kpi` and `kpi_flat`.
