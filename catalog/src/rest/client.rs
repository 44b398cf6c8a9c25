//! The HTTP side: one GET per station and page, with size and time limits and an error text for every failure.
//!
//! The host is the configured one, redirects are not followed, and the environment's proxies are not used.

use std::time::Duration;

use chrono::{Days, NaiveDate, Utc};
use reqwest::StatusCode;
use reqwest::header::RETRY_AFTER;
use url::Url;

use super::answer::{self, Hours};
use super::{RestConfig, StationConfig, VARIABLES};
use crate::source::{SourceError, SourceErrorKind, SourceName};

/// Largest answer that is read.
const ANSWER_BYTES: usize = 16 * 1024 * 1024;
/// Longest wait a 429 may ask for, and how often we wait.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
const WAITS: usize = 2;

/// A weather API with its limits.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) name: SourceName,
    pub(super) config: RestConfig,
    base: Url,
    http: reqwest::Client,
}

/// One request: a station and its days, both included.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Page {
    pub(super) station: StationConfig,
    pub(super) from: NaiveDate,
    pub(super) until: NaiveDate,
}

impl PartialEq for StationConfig {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Client {
    pub(super) fn open(name: SourceName, config: RestConfig) -> Result<Self, SourceError> {
        let refuse = |why: String| {
            SourceError::new(SourceErrorKind::Data, why)
                .with_source(&name)
                .with_hint(format!("correct sources.{name}.rest.url"))
        };
        let base = Url::parse(&config.url).map_err(|_| refuse(format!("source \"{name}\" has a bad url")))?;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
            return Err(refuse(format!("source \"{name}\" needs an http or https url")));
        }
        // The client is built without a default provider of cryptography and refuses to start without one.
        // An error means that the process has already chosen.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(config.connect_timeout_secs.into()))
            .timeout(Duration::from_secs(config.request_timeout_secs.into()))
            .user_agent(concat!("portolan/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| refuse(format!("source \"{name}\" cannot be used")).with_cause(error))?;
        Ok(Self { name, config, base, http })
    }

    /// The days the table shows, both included.
    pub(super) fn days(&self) -> (NaiveDate, NaiveDate) {
        let today = Utc::now().date_naive();
        let history = Days::new(self.config.history_days.into());
        let forecast = Days::new(self.config.forecast_days.into());
        let from = self.config.from.or_else(|| today.checked_sub_days(history)).unwrap_or(today);
        let until = self.config.until.or_else(|| today.checked_add_days(forecast)).unwrap_or(today);
        (from, until)
    }

    /// Asks for the last day of one station.
    pub(super) async fn probe(&self) -> Result<(), SourceError> {
        let Some(station) = self.config.stations.first() else { return Ok(()) };
        let (from, until) = self.days();
        let day = Utc::now().date_naive().clamp(from, until.max(from));
        let page = Page { station: station.clone(), from: day, until: day };
        self.fetch(&page, false, &[0]).await.map(drop)
    }

    /// The URL of a request; shown by `EXPLAIN`.
    pub(super) fn url(&self, page: &Page, marine: bool, asked: &[usize]) -> Url {
        let mut url = self.base.clone();
        let path = if marine {
            self.config.marine_path.as_deref().unwrap_or_default()
        } else {
            &self.config.forecast_path
        };
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        let names: Vec<&str> = asked
            .iter()
            .filter_map(|index| VARIABLES.get(*index))
            .map(|variable| variable.variable)
            .collect();
        url.query_pairs_mut()
            .append_pair("latitude", &page.station.latitude.to_string())
            .append_pair("longitude", &page.station.longitude.to_string())
            .append_pair("hourly", &names.join(","))
            .append_pair("start_date", &page.from.to_string())
            .append_pair("end_date", &page.until.to_string())
            .append_pair("timezone", "UTC");
        url
    }

    /// Fetches one page of one endpoint.
    pub(super) async fn fetch(
        &self,
        page: &Page,
        marine: bool,
        asked: &[usize],
    ) -> Result<Hours, SourceError> {
        let url = self.url(page, marine, asked);
        let mut waits = 0;
        loop {
            let response =
                self.http.get(url.clone()).send().await.map_err(|error| self.unreachable(error))?;
            let status = response.status();
            if status == StatusCode::TOO_MANY_REQUESTS {
                let wait = response
                    .headers()
                    .get(RETRY_AFTER)
                    .and_then(|value| value.to_str().ok()?.trim().parse().ok())
                    .map_or(Duration::from_secs(1), Duration::from_secs);
                if waits >= WAITS || wait > LONGEST_WAIT {
                    let message =
                        format!("source \"{}\" refuses more requests for {} s", self.name, wait.as_secs());
                    return Err(self
                        .error(SourceErrorKind::Remote, message)
                        .with_remote_code("429")
                        .with_hint("ask for fewer hours, or later"));
                }
                waits += 1;
                tokio::time::sleep(wait).await;
                continue;
            }
            let body = self.body(response).await?;
            return self.understand(status, &body, asked);
        }
    }

    async fn body(&self, mut response: reqwest::Response) -> Result<Vec<u8>, SourceError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(error))? {
            if body.len() + chunk.len() > ANSWER_BYTES {
                let message = format!("source \"{}\" sent more than {} MiB", self.name, ANSWER_BYTES >> 20);
                return Err(self.error(SourceErrorKind::Data, message).with_hint("lower page_days"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn understand(&self, status: StatusCode, body: &[u8], asked: &[usize]) -> Result<Hours, SourceError> {
        if let Some(reason) = answer::refusal(body) {
            let message = format!("source \"{}\" refused the request: {reason}", self.name);
            return Err(self.error(SourceErrorKind::Remote, message).with_remote_code(status.as_str()));
        }
        if !status.is_success() {
            let kind = match status {
                StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
                    SourceErrorKind::Unreachable
                }
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => SourceErrorKind::Auth,
                StatusCode::NOT_FOUND => SourceErrorKind::NotFound,
                _ => SourceErrorKind::Remote,
            };
            let message = format!("source \"{}\" answered with status {}", self.name, status.as_u16());
            return Err(self.error(kind, message).with_remote_code(status.as_str()));
        }
        answer::read(body, asked).map_err(|why| {
            let message = format!("the answer of source \"{}\" cannot be used: {why}", self.name);
            self.error(SourceErrorKind::Data, message)
        })
    }

    fn unreachable(&self, error: reqwest::Error) -> SourceError {
        let host = self.base.host_str().unwrap_or_default();
        let port = self.base.port_or_known_default().unwrap_or_default();
        let kind = if error.is_timeout() && !error.is_connect() {
            SourceErrorKind::Timeout
        } else {
            SourceErrorKind::Unreachable
        };
        let what = if kind == SourceErrorKind::Timeout { "did not answer in time" } else { "is unreachable" };
        self.error(kind, format!("source \"{}\" {what} at {host}:{port}", self.name))
            .with_hint(format!(
                "check sources.{}.rest.url and that the service runs; see system.sources",
                self.name
            ))
            .with_cause(error.without_url())
    }

    fn error(&self, kind: SourceErrorKind, message: String) -> SourceError {
        SourceError::new(kind, message).with_source(&self.name)
    }
}
