//! The admin API: keys, tokens and the audit log over HTTP, for people and programs that run the gateway.
//!
//! Runs on the control thread; whatever blocks is given a thread of its own. A request passes `door` (who is it, `roles`: may
//! it), then one handler: read the body, check it into domain types, commit, answer. What an answer shows is read from the
//! store and the file together (`sources`). Built by `app`, which also calls [`provision`] at the start.

mod allowance;
mod audit;
mod auth;
mod batch;
mod body;
mod change;
mod changes;
mod create;
mod door;
mod explain;
mod idempotency;
mod keys;
mod list;
mod openapi;
mod places;
mod portal;
mod problem;
mod provision;
mod reveal;
mod roles;
mod rules;
mod session;
mod sessions;
mod settings;
mod sinks;
mod site;
mod sources;
mod ticket;
mod tokens;
mod usage;
mod usage_proof;
mod values;
mod vault;
mod verify;
mod wire;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use ipnet::IpNet;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use crate::catalog::{FileKey, Follower};
use crate::key::Digest;
use crate::operations::{self, Bounds, Door};

use crate::store::{DayProof, StoreError, UsageQuery, UsageReport};
use crate::time::Timestamp;

use auth::Logins;
use changes::Changes;
use places::Places;

pub use allowance::Allowance;
pub use explain::{Credential, Explanation, LimitLeft, Question, QuotaLeft};
pub use provision::{Outcome, ProvisionError, Provisioned, provision};
pub use sessions::Sessions;
pub use sinks::{Sinks, Switch};
pub use site::{GatewayUrl, GatewayUrlError, PublicUrl, PublicUrlError};
pub use vault::{Vault, VaultError};

/// Where the admin listener is, and what its clients may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Its address; port 0 lets the system choose.
    pub address: SocketAddr,
    /// Whether an address that others can reach is served without TLS.
    pub allow_insecure: bool,
    /// Bounds on requests.
    pub limits: Limits,
}

/// How people come in with a browser.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Console {
    /// Where browsers find it; none: at the listener's own address.
    pub public_url: Option<PublicUrl>,
    /// Where clients send their requests, for samples; none: the page says that it does not know.
    pub gateway_url: Option<GatewayUrl>,
    /// Who is believed when it says who asks; none: nobody.
    pub trusted_header: Option<TrustedHeader>,
}

/// A single sign-on proxy: whom it lets through is an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedHeader {
    /// The field in which it names the user.
    pub name: String,
    /// Where it asks from.
    pub networks: Vec<IpNet>,
}

/// Bounds on requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest body of a request.
    pub body_bytes: usize,
    /// Largest body of a batch.
    pub batch_bytes: usize,
    /// How long a request may take.
    pub request_time: Duration,
    /// Requests that are worked on at once; those of owners and viewers are half of them at most.
    pub running: usize,
    /// How long a request waits for its turn.
    pub queue_time: Duration,
    /// Wrong tokens from one client network per minute, before it has to wait.
    pub failed_logins_per_minute: NonZeroU32,
    /// Changes that one owner's token may make per minute; half of them in a burst.
    pub changes_per_minute: NonZeroU32,
    /// Keys of one owner that are not revoked, before its tokens make no more.
    pub keys_per_owner: usize,
}

/// A request to load the file again: answered with the generation that is in force then, or with every problem.
pub type Reload = oneshot::Sender<Result<u64, Vec<String>>>;

/// Proves usage, day by day.
pub type ProveUsage = dyn Fn(Timestamp, Timestamp) -> Result<Vec<DayProof>, StoreError> + Send + Sync;

/// Reads usage.
pub type ReadUsage = dyn Fn(&UsageQuery) -> Result<UsageReport, StoreError> + Send + Sync;

/// What the admin API works on.
pub struct Parts {
    /// Keys and tokens: what is durable and in force.
    pub follower: Arc<Follower>,
    /// The keys of the file, sorted by id; revoked ones have that state.
    pub file_keys: Arc<ArcSwap<Vec<FileKey>>>,
    /// What the data plane would do with a request.
    pub explain: Arc<dyn Fn(&Question) -> Explanation + Send + Sync>,
    /// What the limits and quotas of the key with this digest have left.
    pub allowance: Arc<dyn Fn(&Digest) -> Allowance + Send + Sync>,
    /// Usage; none: it is not kept. Blocks.
    pub usage: Option<Arc<ReadUsage>>,
    /// Holds what was sealed from one day to another against what is kept; none: usage is not kept. Blocks.
    pub usage_proof: Option<Arc<ProveUsage>>,
    /// Where usage is sent to; none: usage is not kept.
    pub sinks: Option<Sinks>,
    /// Has the file loaded again.
    pub reload: mpsc::Sender<Reload>,
    /// The problems of the file as it is on disk; blocks.
    pub check: Arc<dyn Fn() -> Vec<String> + Send + Sync>,
    /// The program as the operations listener shows it.
    pub state: Arc<operations::State>,
    /// Where it listens, for links.
    pub address: SocketAddr,
    /// How people come in with a browser; none: they do not.
    pub console: Option<Console>,
    /// Hides new secrets so that they can be shown again; none: nobody sees them twice.
    pub vault: Option<Vault>,
    /// Who has come in.
    pub sessions: Arc<Sessions>,
    /// Bounds on requests.
    pub limits: Limits,
}

/// What every handler has at hand.
struct Api {
    parts: Parts,
    logins: Logins,
    changes: Changes,
    places: Places,
    /// Held by an owner's token from counting the owner's keys until there is one more.
    counting: Mutex<()>,
}

impl Api {
    fn public_url(&self) -> Option<&PublicUrl> {
        self.parts.console.as_ref()?.public_url.as_ref()
    }
}

/// The resources of the admin API.
pub fn router(parts: Parts) -> Router {
    let logins = Logins::new(parts.limits.failed_logins_per_minute);
    let changes = Changes::new(parts.limits.changes_per_minute);
    let places = Places::new(parts.limits.running);
    openapi::router(Arc::new(Api { parts, logins, changes, places, counting: Mutex::default() }))
}

/// Serves until `shutdown` completes, then finishes what is under way within a second.
///
/// # Errors
///
/// None that ends it is known: failures to accept are waited out.
pub async fn serve<F>(listener: TcpListener, router: Router, limits: Limits, shutdown: F) -> io::Result<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let bounds = Bounds {
        listener: "admin",
        connections: MOST_CONNECTIONS,
        // A body that is somewhat too large is told so; beyond that the connection is cut off.
        request_bytes: limits.batch_bytes.saturating_mul(2),
        head: operations::LONGEST_HEAD,
        exchange: LONGEST_EXCHANGE,
    };
    operations::serve_all(Door::new(listener, bounds), router, shutdown).await
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 1 << 20,
            batch_bytes: 8 << 20,
            request_time: Duration::from_secs(10),
            running: 64,
            queue_time: Duration::from_secs(2),
            failed_logins_per_minute: NonZeroU32::new(60).expect("60 is not 0"),
            changes_per_minute: NonZeroU32::new(120).expect("120 is not 0"),
            keys_per_owner: 1000,
        }
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("follower", &self.follower).field("limits", &self.limits).finish_non_exhaustive()
    }
}

const MOST_CONNECTIONS: usize = 256;
/// Longer than a request may take; an idle connection is held as long, unless its place is needed.
const LONGEST_EXCHANGE: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests;
