//! Puts the engine and the shadow catalog behind the wire loop's [`Backend`].
//!
//! It only translates: settings, values, columns and errors keep their meaning on both sides. Who answers is decided
//! by the class of a statement; a statement that names a gateway relation never reaches the shadow.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Buf, Bytes};
use chrono::{DateTime, Utc};
use datafusion::error::DataFusionError;
use portolan_catalog::federation::QueryId;
use serde_json::json;

use crate::engine::{CommandTag, Engine, QueryControl, Staleness};
use crate::error::QueryError;
use crate::pg::backend::{
    Backend, BackendSession, Column, Format, Held, Login, Outcome, Prepared, Relayed, Route, Run,
    TransactionEvent,
};
use crate::pg::classify::{self, Class, Limits, RelationNames};
use crate::pg::connections::{Activity, Connections};
use crate::pg::fault::Fault;
use crate::pgtypes::PgType;
use crate::session::{Identity, Session};
use crate::settings::Settings;
use crate::shadow::{
    DescribeRequest, LiveRelations, RelayMode, RelayReply, RelayRequest, SessionView, Shadow,
};

/// Everything behind the PostgreSQL front door.
#[derive(Debug)]
pub struct Bridge {
    parts: Arc<Parts>,
}

struct Parts {
    engine: Arc<Engine>,
    shadow: Option<Arc<Shadow>>,
    names: Arc<dyn RelationNames>,
    connections: Arc<Connections>,
    started: DateTime<Utc>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts")
            .field("engine", &self.engine)
            .field("shadow", &self.shadow)
            .finish_non_exhaustive()
    }
}

impl Bridge {
    /// `shadow` is `None` while there is none: catalog statements are then left to the engine. `connections` are those
    /// of the front door, for `pg_stat_activity`.
    #[must_use]
    pub fn new(
        engine: Arc<Engine>,
        shadow: Option<Arc<Shadow>>,
        names: Arc<dyn RelationNames>,
        connections: Arc<Connections>,
    ) -> Self {
        Self { parts: Arc::new(Parts { engine, shadow, names, connections, started: Utc::now() }) }
    }
}

impl From<QueryError> for Fault {
    fn from(error: QueryError) -> Self {
        let QueryError { code, message, detail, hint, position } = error;
        Self { detail, hint, position, ..Self::new(code.sqlstate(), message) }
    }
}

/// What a client is told before the rows of an answer that is old.
fn warning(stale: &Staleness) -> Fault {
    Fault::warning("01000", stale.message()).with_detail(stale.detail()).with_hint(Staleness::hint())
}

#[async_trait]
impl Backend for Bridge {
    async fn open(&self, login: &Login) -> Result<Box<dyn BackendSession>, Fault> {
        let identity = Identity { user: login.user.clone(), pid: login.process_id, protocol: "postgres" };
        let session = self.parts.engine.session(identity);
        Ok(Box::new(BridgeSession {
            version: self.parts.engine.catalog_version(),
            parts: Arc::clone(&self.parts),
            session,
            login: login.clone(),
            now: None,
            held: Held::default(),
        }))
    }
}

/// One connection's session.
#[derive(Debug)]
struct BridgeSession {
    parts: Arc<Parts>,
    session: Session,
    /// Of the catalog the session was built for.
    version: u64,
    login: Login,
    /// `now()` of an explicit transaction.
    now: Option<DateTime<Utc>>,
    held: Held,
}

/// What is kept of a planned statement.
enum Plan {
    Engine(crate::engine::Prepared),
    Shadow { types: Vec<u32> },
}

impl BridgeSession {
    /// Builds the session anew when tables or definitions have changed since.
    fn refresh(&mut self) {
        let version = self.parts.engine.catalog_version();
        if version == self.version {
            return;
        }
        let settings = self.session.settings().clone();
        self.session = self.parts.engine.session_with(self.session.identity.clone(), settings);
        self.version = version;
    }

    /// What the shadow must know about this session.
    fn view(&self) -> Arc<SessionView> {
        let settings = self.session.settings();
        let (role, changed) = (settings.role_of(&self.login.user), settings.for_shadow());
        drop(settings);
        Arc::new(SessionView {
            session_user: self.login.user.clone(),
            role,
            backend_pid: self.login.process_id,
            client: self.login.peer,
            server: None,
            started: self.parts.started,
            settings: changed,
            live: Arc::new(self.live()),
        })
    }

    fn live(&self) -> LiveRelations {
        let now = Utc::now().to_rfc3339();
        LiveRelations {
            activity: self.parts.connections.activity().iter().map(activity_row).collect(),
            cursors: self
                .held
                .cursors
                .iter()
                .map(|(name, statement, holdable, binary, scrollable)| {
                    json!({ "name": name, "statement": &**statement, "is_holdable": holdable, "is_binary": binary,
                            "is_scrollable": scrollable, "creation_time": now })
                })
                .collect(),
            prepared: self
                .held
                .statements
                .iter()
                .map(|(name, statement, types, from_sql)| {
                    let types: Vec<String> = types.iter().map(|oid| crate::pgtypes::oid::sql_name(*oid)).collect();
                    json!({ "name": name, "statement": &**statement, "prepare_time": now, "from_sql": from_sql,
                            "parameter_types": format!("{{{}}}", types.join(",")), "generic_plans": 0, "custom_plans": 0 })
                })
                .collect(),
        }
    }

    async fn describe_on(
        &self,
        shadow: &Shadow,
        sql: &str,
        parameter_types: &[u32],
        describe: bool,
    ) -> Result<Prepared, Fault> {
        let (columns, parameters) = if describe {
            let request = DescribeRequest {
                sql: Arc::from(sql),
                position_offset: 0,
                param_oids: parameter_types.to_vec(),
                session: self.view(),
            };
            let description = shadow.describe(request).await?;
            let columns = description.columns.as_ref().map(|columns| {
                columns
                    .iter()
                    .map(|column| Column {
                        name: column.name.clone(),
                        pg: PgType { oid: column.type_oid, typmod: column.typmod, len: column.type_len },
                        table_oid: column.table_oid,
                        attnum: column.attnum,
                    })
                    .collect()
            });
            (columns, description.param_oids.clone())
        } else {
            (None, Vec::new())
        };
        Ok(Prepared {
            sql: Arc::from(sql),
            route: Route::Shadow,
            columns,
            parameters: parameters.into(),
            tag: "SELECT",
            plan: Arc::new(Plan::Shadow { types: parameter_types.to_vec() }),
        })
    }

    async fn plan_here(&mut self, sql: &str, parameter_types: &[u32]) -> Result<Prepared, Fault> {
        self.refresh();
        let types: Vec<Option<PgType>> =
            parameter_types.iter().map(|oid| if *oid == 0 { None } else { PgType::from_oid(*oid) }).collect();
        let prepared = self.parts.engine.prepare(&self.session, sql, &types).await?;
        let columns = prepared
            .columns
            .iter()
            .map(|column| Column {
                name: column.name.clone(),
                pg: column.pg,
                table_oid: column.table_oid,
                attnum: column.attnum,
            })
            .collect();
        let tag = match prepared.tag {
            CommandTag::Select => "SELECT",
            CommandTag::Explain => "EXPLAIN",
        };
        Ok(Prepared {
            sql: Arc::from(sql),
            route: Route::Engine,
            columns: Some(columns),
            parameters: prepared.parameters.iter().map(|pg| pg.oid).collect(),
            tag,
            plan: Arc::new(Plan::Engine(prepared)),
        })
    }

    async fn relay(
        &self,
        shadow: &Shadow,
        sql: &Arc<str>,
        types: &[u32],
        run: Run,
    ) -> Result<Outcome, Fault> {
        let mode = if run.extended {
            RelayMode::Extended {
                param_oids: types.to_vec(),
                param_formats: run.raw.iter().map(|(format, _)| format.code()).collect(),
                params: run.raw.into_iter().map(|(_, value)| value).collect(),
                result_formats: run.result_formats.iter().map(|format| format.code()).collect(),
            }
        } else {
            RelayMode::Simple
        };
        let request = RelayRequest { sql: Arc::clone(sql), position_offset: 0, mode, session: self.view() };
        let RelayReply { notices, row_description, rows, complete, error, settings } =
            shadow.relay(request).await?;
        let described = row_description.as_ref().map(described);
        let (columns, formats) = match described {
            Some((columns, formats)) => (Some(columns.into()), formats),
            None => (None, Vec::new()),
        };
        let tag =
            complete.map(|frame| String::from_utf8_lossy(frame.get(5..).unwrap_or_default()).into_owned());
        Ok(Outcome::Relayed(Box::new(Relayed {
            columns,
            formats,
            rows,
            tag: tag.unwrap_or_default().trim_end_matches('\0').to_owned(),
            notices: notices
                .iter()
                .map(|frame| Fault::from_response(frame.get(5..).unwrap_or_default()))
                .collect(),
            settings,
            error: error.map(|error| error.error.into()),
        })))
    }
}

#[async_trait]
impl BackendSession for BridgeSession {
    fn classify(&self, sql: &str) -> Result<Class, Fault> {
        let search_path = self.session.settings().search_path();
        classify::classify(sql, &search_path, self.parts.names.as_ref(), &Limits::default())
    }

    async fn prepare(
        &mut self,
        sql: &str,
        class: &Class,
        parameter_types: &[u32],
        describe: bool,
    ) -> Result<Prepared, Fault> {
        match (class, self.parts.shadow.as_ref().map(Arc::clone)) {
            (Class::Catalog, Some(shadow)) => self.describe_on(&shadow, sql, parameter_types, describe).await,
            // Only the shadow can say what is wrong with it, or that it is fine.
            (Class::Unparseable, Some(shadow)) => self.describe_on(&shadow, sql, parameter_types, true).await,
            _ => self.plan_here(sql, parameter_types).await,
        }
    }

    async fn execute(&mut self, prepared: &Prepared, run: Run) -> Result<Outcome, Fault> {
        match prepared.plan.downcast_ref::<Plan>() {
            Some(Plan::Engine(plan)) => {
                let control = QueryControl {
                    cancel: run.control.cancel,
                    deadline: run.control.deadline,
                    query_id: QueryId::random(),
                    now: self.now,
                    tells_staleness: true,
                };
                let answer = self.parts.engine.execute(&self.session, plan, run.values, control).await?;
                let notices = answer.receipt.stale().map(|stale| warning(&stale)).into_iter().collect();
                Ok(Outcome::Rows { rows: answer.rows, notices })
            }
            Some(Plan::Shadow { types }) => match self.parts.shadow.as_ref().map(Arc::clone) {
                Some(shadow) => self.relay(&shadow, &prepared.sql, types, run).await,
                None => Err(Fault::new("58000", "the catalog is restarting")),
            },
            None => Err(Fault::new("XX000", "internal error")),
        }
    }

    fn fault(&self, error: DataFusionError) -> Fault {
        QueryError::from(error).into()
    }

    async fn set(&mut self, name: &str, value: &str) -> Result<(), Fault> {
        if Settings::is_owned(name) || name.starts_with("portolan.") || name.starts_with("datafusion.") {
            self.session.settings().set(name, Some(value))?;
            return Ok(());
        }
        let unknown = self.session.settings().set(name, Some(value)).map(|_| ());
        // PostgreSQL takes any name with a dot; a plain one must be known to the shadow.
        let known = match &self.parts.shadow {
            _ if name.contains('.') => true,
            Some(shadow) => {
                let sql = format!("SHOW \"{}\"", name.replace('"', "\"\""));
                let request = RelayRequest {
                    sql: Arc::from(sql),
                    position_offset: 0,
                    mode: RelayMode::Simple,
                    session: self.view(),
                };
                shadow.relay(request).await.is_ok_and(|reply| reply.error.is_none())
            }
            None => false,
        };
        if known {
            self.session.settings().set_foreign(name, value);
            return Ok(());
        }
        unknown.map_err(Fault::from)
    }

    async fn reset(&mut self, name: &str) -> Result<(), Fault> {
        Ok(self.session.settings().reset(name)?)
    }

    fn reset_all(&mut self) {
        self.session.settings().reset_all();
    }

    fn seal_defaults(&mut self) {
        let given = self.snapshot();
        let mut settings = self.session.settings();
        for (name, value) in given {
            // A fixed setting keeps its value; it was never the client's.
            let _ = settings.set_startup(&name, &value);
        }
    }

    async fn show(&mut self, name: &str) -> Result<(String, String), Fault> {
        let value = self.session.settings().show(name)?;
        let name = Settings::canonical(name).map_or_else(|| name.to_owned(), str::to_owned);
        Ok((name, value))
    }

    async fn show_all(&mut self) -> Result<Vec<(String, String, String)>, Fault> {
        let rows = self.session.settings().rows();
        Ok(rows
            .into_iter()
            .map(|(def, value)| (def.name.to_owned(), value, def.description.to_owned()))
            .collect())
    }

    fn setting(&self, name: &str) -> Option<String> {
        let settings = self.session.settings();
        if name.ends_with("_timeout") {
            return settings.timeout(name).map(|timeout| timeout.as_millis().to_string());
        }
        let value = settings.value(Settings::canonical(name)?);
        Some(value.to_owned())
    }

    fn snapshot(&self) -> BTreeMap<String, String> {
        let settings = self.session.settings();
        let owned = settings
            .rows()
            .into_iter()
            .filter(|(def, _)| !def.fixed)
            .map(|(def, value)| (def.name.to_ascii_lowercase(), value));
        let foreign = settings
            .changed()
            .into_iter()
            .filter(|(name, _)| !Settings::is_owned(name))
            .map(|(name, value)| (name.to_ascii_lowercase(), value));
        owned.chain(foreign).collect()
    }

    fn restore(&mut self, snapshot: BTreeMap<String, String>) {
        let now = self.snapshot();
        let mut settings = self.session.settings();
        for (name, value) in &snapshot {
            if now.get(name) == Some(value) {
                continue;
            }
            if Settings::is_owned(name) {
                // It was accepted once, so it is accepted again.
                let _ = settings.set(name, Some(value));
            } else {
                settings.set_foreign(name, value);
            }
        }
        for name in now.keys().filter(|name| !snapshot.contains_key(*name)) {
            let _ = settings.reset(name);
        }
    }

    fn reported(&self) -> Vec<(&'static str, String)> {
        self.session.settings().reported()
    }

    fn transaction(&mut self, event: TransactionEvent) {
        self.now = match event {
            TransactionEvent::Begin { block: true, .. } => Some(Utc::now()),
            _ => None,
        };
    }

    fn holds(&mut self, held: &Held) {
        self.held = held.clone();
    }
}

pub(crate) fn activity_row(activity: &Activity) -> serde_json::Value {
    json!({
        "pid": activity.process_id,
        "datname": activity.database,
        "usename": activity.user,
        "application_name": activity.application_name,
        "client_addr": activity.peer.map(|peer| peer.ip().to_string()),
        "client_port": activity.peer.map(|peer| peer.port()),
        "backend_start": activity.started.to_rfc3339(),
        "query_start": activity.query_started.map(|at| at.to_rfc3339()),
        "state": activity.state,
        "query": &*activity.query,
        "backend_type": "client backend",
    })
}

/// The columns and formats of a RowDescription frame.
fn described(frame: &Bytes) -> (Vec<Column>, Vec<Format>) {
    let mut body = frame.clone();
    let (mut columns, mut formats) = (Vec::new(), Vec::new());
    if body.len() < 7 {
        return (columns, formats);
    }
    body.advance(5);
    for _ in 0..body.get_u16() {
        let Some(end) = body.iter().position(|byte| *byte == 0) else { break };
        let name = String::from_utf8_lossy(&body.split_to(end)).into_owned();
        if body.len() < 19 {
            break;
        }
        body.advance(1);
        let (table_oid, attnum) = (body.get_u32(), body.get_i16());
        let (oid, len, typmod) = (body.get_u32(), body.get_i16(), body.get_i32());
        columns.push(Column { name, pg: PgType { oid, typmod, len }, table_oid, attnum });
        formats.push(if body.get_i16() == 1 { Format::Binary } else { Format::Text });
    }
    (columns, formats)
}

#[cfg(test)]
mod tests;
