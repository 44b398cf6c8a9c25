//! The gRPC service: says whose a call is, and takes messages apart and puts them together around [`Service`].
//!
//! Nothing but Handshake is answered without credentials. A call we do not have is refused by its name.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_server::FlightService;
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightEndpoint, FlightInfo,
    HandshakeRequest, HandshakeResponse, PollInfo, PutResult, SchemaResult, Ticket,
};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status, Streaming};

use super::FlightConfig;
use super::auth::Sessions;
use super::message::{basic_auth, unpacked};
use super::service::{ACTIONS, Service, Wanted, encoded};
use super::session::FlightSession;
use super::status::refused;
use crate::engine::Staleness;
use crate::error::{ErrorCode, QueryError};

/// How long a client may take to send the payload of a Handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The door.
#[derive(Debug)]
pub(super) struct Door {
    sessions: Arc<Sessions>,
    service: Service,
}

type Answers<T> = BoxStream<'static, Result<T, Status>>;

impl Door {
    pub(super) fn new(config: FlightConfig, abort: CancellationToken) -> Self {
        let sessions = Arc::new(Sessions::new(config.clone()));
        let service = Service::new(config, Arc::clone(&sessions), abort);
        Self { sessions, service }
    }

    /// The caller's session, and what he sent.
    async fn known<T>(&self, request: Request<T>) -> Result<(Arc<FlightSession>, T), QueryError> {
        let peer = address(&request);
        // Of the metadata alone: the body of a call need not be one that can be shared while this waits.
        let (metadata, _, message) = request.into_parts();
        Ok((self.sessions.of_call(&metadata, peer).await?, message))
    }

    async fn flight(
        &self,
        request: Request<FlightDescriptor>,
        wanted: Wanted,
    ) -> Result<FlightInfo, QueryError> {
        let (session, descriptor) = self.known(request).await?;
        if descriptor.cmd.is_empty() {
            return Err(refused("a flight by path").with_hint("send a Flight SQL command"));
        }
        let (ticket, schema) =
            Box::pin(self.service.ask(&session, unpacked(&descriptor.cmd)?, wanted)).await?;
        Ok(FlightInfo {
            schema: encoded(&schema)?,
            flight_descriptor: Some(descriptor),
            endpoint: vec![FlightEndpoint::new().with_ticket(Ticket::new(ticket))],
            // Unknown until it has been fetched.
            total_records: -1,
            total_bytes: -1,
            ordered: true,
            ..FlightInfo::default()
        })
    }

    async fn put(&self, request: Request<Streaming<FlightData>>) -> Result<PutResult, QueryError> {
        let (session, mut data) = self.known(request).await?;
        let broken = |what| QueryError::new(ErrorCode::ProtocolViolation, what);
        let first = data
            .message()
            .await
            .map_err(|_| broken("the put cannot be read"))?
            .ok_or_else(|| broken("the put has no message"))?;
        let descriptor = first
            .flight_descriptor
            .as_ref()
            .ok_or_else(|| broken("the first message of the put has no descriptor"))?;
        let command = unpacked(&descriptor.cmd)?;
        // The first message may be the schema as well.
        let data = stream::once(async { Ok(first) }).chain(data);
        let app_metadata = Box::pin(self.service.put(&session, command, data)).await?;
        Ok(PutResult { app_metadata })
    }

    /// Logs in by header or by payload. Returns the token, and whether the payload asked.
    async fn login(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<(String, bool), QueryError> {
        let peer = address(&request);
        if let Some(token) = self.sessions.by_header(request.metadata(), peer).await? {
            return Ok((token, false));
        }
        let mut messages = request.into_inner();
        let first = tokio::time::timeout(HANDSHAKE, messages.message()).await.map_err(|_| {
            QueryError::new(ErrorCode::QueryCanceled, "canceling authentication due to timeout")
        })?;
        let payload = first.ok().flatten().map(|message| message.payload);
        let Some((user, password)) = payload.as_deref().and_then(basic_auth) else {
            return Err(QueryError::new(ErrorCode::InvalidAuthorization, "no credentials were given")
                .with_hint("send Basic credentials in the authorization header"));
        };
        Ok((self.sessions.login(user, password, peer).await?, true))
    }
}

/// The header of an answer that is old.
const STALE: &str = "portolan-stale";

/// What is old about an answer, as a header holds it; names and reasons may have any letters.
fn in_ascii(stale: &Staleness) -> String {
    let told = format!("{}; stale_seconds={:.3}; {}", stale.message(), stale.seconds(), stale.detail());
    told.chars().map(|letter| if letter.is_ascii_graphic() || letter == ' ' { letter } else { '?' }).collect()
}

fn address<T>(request: &Request<T>) -> Option<IpAddr> {
    request.remote_addr().map(|address| address.ip())
}

#[tonic::async_trait]
impl FlightService for Door {
    type HandshakeStream = Answers<HandshakeResponse>;
    type ListFlightsStream = Answers<FlightInfo>;
    type DoGetStream = Answers<FlightData>;
    type DoPutStream = Answers<PutResult>;
    type DoActionStream = Answers<arrow_flight::Result>;
    type ListActionsStream = Answers<ActionType>;
    type DoExchangeStream = Answers<FlightData>;

    async fn handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        let (token, by_payload) = self.login(request).await?;
        let bearer = MetadataValue::try_from(format!("Bearer {token}"))
            .map_err(|error| QueryError::internal(&error))?;
        // A client that logged in by header expects no message; the other one reads its token from it.
        let answer = by_payload
            .then(|| Ok(HandshakeResponse { protocol_version: 0, payload: token.into_bytes().into() }));
        let mut response = Response::new(stream::iter(answer).boxed());
        response.metadata_mut().insert("authorization", bearer);
        Ok(response)
    }

    async fn list_flights(
        &self,
        request: Request<Criteria>,
    ) -> Result<Response<Self::ListFlightsStream>, Status> {
        self.known(request).await?;
        Err(refused("ListFlights").with_hint("ask with GetTables").into())
    }

    async fn get_flight_info(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        Ok(Response::new(self.flight(request, Wanted::Flight).await?))
    }

    async fn poll_flight_info(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<PollInfo>, Status> {
        // Nothing runs before it is fetched, so a flight is complete as soon as it is known.
        let info = self.flight(request, Wanted::Flight).await?;
        Ok(Response::new(PollInfo { info: Some(info), progress: Some(1.0), ..PollInfo::default() }))
    }

    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        let FlightInfo { schema, .. } = self.flight(request, Wanted::Schema).await?;
        Ok(Response::new(SchemaResult { schema }))
    }

    async fn do_get(&self, request: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        let (session, ticket) = self.known(request).await?;
        let ticket = unpacked(&ticket.ticket)?;
        let (messages, stale) = Box::pin(self.service.fetch(session, ticket)).await?;
        let mut response = Response::new(messages);
        if let Some(stale) = stale {
            let told =
                MetadataValue::try_from(in_ascii(&stale)).map_err(|error| QueryError::internal(&error))?;
            response.metadata_mut().insert(STALE, told);
        }
        Ok(response)
    }

    async fn do_put(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoPutStream>, Status> {
        let result = self.put(request).await?;
        Ok(Response::new(stream::once(async { Ok(result) }).boxed()))
    }

    async fn do_action(&self, request: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        let (session, action) = self.known(request).await?;
        let body = Box::pin(self.service.act(&session, action)).await?;
        let results = body.map(|body| Ok(arrow_flight::Result { body }));
        Ok(Response::new(stream::iter(results).boxed()))
    }

    async fn list_actions(
        &self,
        request: Request<Empty>,
    ) -> Result<Response<Self::ListActionsStream>, Status> {
        self.known(request).await?;
        let actions = ACTIONS.iter().map(|(name, description)| {
            Ok(ActionType { r#type: (*name).to_owned(), description: (*description).to_owned() })
        });
        Ok(Response::new(stream::iter(actions).boxed()))
    }

    async fn do_exchange(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        self.known(request).await?;
        Err(refused("DoExchange").with_hint("ask with GetFlightInfo and fetch with DoGet").into())
    }
}
