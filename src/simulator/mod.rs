//! The vendors' simulators: their documented interfaces, limits strictly enforced, and misbehaviour on request.
//!
//! Serves `simulate`, `demo` and the tests. Imports no other module of Tidegate, least of all the quota code: what the
//! daemon gets wrong must not be wrong here in the same way.

mod answer;
mod control;
mod conversations;
mod limits;
pub mod lynn;
mod mischief;
mod remote;
mod stats;
#[cfg(test)]
mod tests;
mod truth;
mod wire;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use chrono_tz::Tz;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use control::Control;
pub use conversations::NOTICE;
pub use limits::{LimitStats, Unit, WindowKind};
pub use mischief::{Action, Fault, Hold, Match, Point, Quota, Wording};
pub use stats::{ReportCall, Stats, Unexpected, Violation};
pub use truth::{Change, Edit, Rows, UnknownReport};

use self::wire::{Wire, Wires};

/// How long `stop` waits for open connections.
const STOP_MAX: Duration = Duration::from_secs(2);

/// How a simulator is set up.
#[derive(Clone)]
pub struct Options {
    /// Port 0 picks a free one.
    pub listen: SocketAddr,
    /// Divides every period: limits, token lifetimes. Must be above 0.
    pub speed: f64,
    /// Decides all rows.
    pub seed: u64,
    pub lynn: lynn::Account,
    /// How limits are enforced. Both ways are measured whatever this says.
    pub window: WindowKind,
    /// How old the subscription is at the start, in real time: fixed periods count from its beginning.
    pub subscription_age: Duration,
    /// Other amounts and periods (before `speed`) for limits, by name.
    pub limits: BTreeMap<String, Override>,
    /// Before `speed`.
    pub token_lifetime: Duration,
    pub volume: lynn::Volume,
    /// The zone of `startDate` and `endDate`.
    pub filter_timezone: Tz,
    /// Whether a row exactly at `endDate` belongs to the window.
    pub end_inclusive: bool,
    /// Rows dated after the present moment are not there yet.
    pub hide_future: bool,
    /// Count the heads of requests as bandwidth too, not only bodies.
    pub count_heads: bool,
    pub shape: lynn::Shape,
}

/// What replaces a documented limit's numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Override {
    pub amount: Option<u64>,
    pub period: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            speed: 1.0,
            seed: 1,
            lynn: lynn::Account::default(),
            window: WindowKind::Fixed,
            subscription_age: Duration::ZERO,
            limits: BTreeMap::new(),
            token_lifetime: Duration::from_mins(30),
            volume: lynn::Volume::Around(850),
            filter_timezone: Tz::UTC,
            end_inclusive: true,
            hide_future: false,
            count_heads: false,
            shape: lynn::Shape::default(),
        }
    }
}

impl Options {
    /// Replaces a limit's numbers.
    #[must_use]
    pub fn limit(mut self, name: &str, amount: u64, period: Duration) -> Self {
        self.limits.insert(name.to_owned(), Override { amount: Some(amount), period: Some(period) });
        self
    }

    /// A documented period at this simulator's speed.
    fn scaled(&self, period: Duration) -> Duration {
        if self.speed.is_finite() && self.speed > 0.0 { period.div_f64(self.speed) } else { period }
    }
}

/// Everything the handlers share.
struct World {
    options: Options,
    started: Instant,
    stats: Mutex<Stats>,
    mischief: mischief::Mischief,
    lynn: lynn::Lynn,
    stopping: CancellationToken,
}

impl World {
    /// Since the simulator's start.
    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}

/// A running simulator. Dropped, it serves on until the process ends; `stop` ends it.
pub struct Simulator {
    address: SocketAddr,
    world: Arc<World>,
    server: JoinHandle<io::Result<()>>,
}

impl Simulator {
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn control(&self) -> Control {
        Control { world: Arc::clone(&self.world) }
    }

    /// Releases what is held, finishes what is being answered, and closes the port.
    pub async fn stop(mut self) {
        self.world.mischief.quiet();
        self.world.stopping.cancel();
        if tokio::time::timeout(STOP_MAX, &mut self.server).await.is_err() {
            self.server.abort();
        }
    }
}

/// Binds and serves in the background.
pub async fn start(options: Options) -> io::Result<Simulator> {
    let listener = TcpListener::bind(options.listen).await?;
    let address = listener.local_addr()?;
    let stopping = CancellationToken::new();
    let world = Arc::new(World {
        lynn: lynn::Lynn::new(&options),
        options,
        started: Instant::now(),
        stats: Mutex::default(),
        mischief: mischief::Mischief::default(),
        stopping: stopping.clone(),
    });
    let router = Router::new().merge(remote::routes()).merge(lynn::routes()).with_state(Arc::clone(&world));
    let service = router.into_make_service_with_connect_info::<Wire>();
    let serve = axum::serve(Wires(listener), service).with_graceful_shutdown(stopping.cancelled_owned());
    Ok(Simulator { address, world, server: tokio::spawn(serve.into_future()) })
}

/// Locks, also after a panic elsewhere: the simulator's state is counters and queues, whole at any moment.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
