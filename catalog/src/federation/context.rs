//! What a running query carries to every leaf: its id, its deadline, its cancellation and its as-of vector.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::asof::AsOfRecorder;
use crate::copies::Pins;

/// Identifies one statement's execution; appears at sources as the tag `portolan/<id>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct QueryId(pub Uuid);

impl QueryId {
    /// A fresh, random id.
    #[must_use]
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }
}

impl fmt::Display for QueryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.simple())
    }
}

/// The running statement, as leaves see it. The engine puts it into the session configuration's extensions;
/// a leaf reads it back from its task context.
#[derive(Debug, Clone)]
pub struct QueryContext {
    /// Id of the statement.
    pub query: QueryId,
    /// When the statement must have delivered its last row.
    pub deadline: Option<Instant>,
    /// Cancelled when the client cancels, leaves, or the deadline passes.
    pub cancel: CancellationToken,
    /// Collects the versions read.
    pub as_of: AsOfRecorder,
    /// What leaves on one source share.
    pub shared: QueryShared,
    /// Versions that tables of a lake must be read at; all others are read at their newest.
    pub pins: Arc<Pins>,
}

/// What leaves of one statement share, by a key that names the source; freed with the statement's last context.
#[derive(Clone, Default)]
pub struct QueryShared(Arc<Mutex<HashMap<String, Arc<dyn Any + Send + Sync>>>>);

impl QueryShared {
    /// What is kept under a key, made by whoever asks first. `None` if it is of another type.
    pub fn get_or_make<T: Any + Send + Sync>(&self, key: &str, make: impl FnOnce() -> T) -> Option<Arc<T>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.entry(key.to_owned()).or_insert_with(|| Arc::new(make()));
        Arc::clone(kept).downcast().ok()
    }
}

impl fmt::Debug for QueryShared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("QueryShared")
    }
}

impl Default for QueryContext {
    /// A context without deadline that nobody cancels: what a plan run outside a statement sees.
    fn default() -> Self {
        Self {
            query: QueryId::random(),
            deadline: None,
            cancel: CancellationToken::new(),
            as_of: AsOfRecorder::default(),
            shared: QueryShared::default(),
            pins: Arc::default(),
        }
    }
}

/// What an executor gets for one fragment: the statement's context.
pub type ExecContext = Arc<QueryContext>;

/// Settings of one session that the gate obeys. Shared by the session and its table providers.
#[derive(Debug)]
pub struct FederationOptions {
    pushdown: AtomicBool,
}

impl Default for FederationOptions {
    fn default() -> Self {
        Self { pushdown: AtomicBool::new(true) }
    }
}

impl FederationOptions {
    /// Whether anything but bare columns may be sent to sources (`portolan.pushdown`).
    #[must_use]
    pub fn pushdown(&self) -> bool {
        self.pushdown.load(Ordering::Relaxed)
    }

    /// Switches push-down for the session's next statements.
    pub fn set_pushdown(&self, on: bool) {
        self.pushdown.store(on, Ordering::Relaxed);
    }
}
