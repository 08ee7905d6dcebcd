//! Simulators of the vendors: documented interfaces, strictly enforced limits, and misbehaviour on request.
//!
//! Serves `simulate`, `demo` and the tests. Uses nothing of the crate `tidegate`, least of all its quota code, so that
//! an error in the daemon is not repeated here.

mod body;
mod call;
pub mod company;
mod control;
mod conversations;
mod export;
mod files;
mod handle;
pub mod jaicp;
pub mod khoros;
pub mod lexer;
mod limits;
pub mod lynn;
mod mischief;
mod remote;
mod response;
mod stats;
#[cfg(test)]
mod tests;
mod truth;
mod vendor;
mod wire;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use chrono_tz::Tz;
use futures_util::future::join_all;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use body::Parts;
pub use control::Control;
pub use conversations::NOTICE;
pub use files::FileBody;
pub use handle::TruthHandle;
pub use limits::{LimitStats, Unit, WindowKind};
pub use mischief::{Action, Fault, Hold, Match, Point, Quota, Wording};
pub use stats::{ReportCall, Stats, Unexpected, Violation};
pub use truth::{Change, Edit, Rows, UnknownReport};
pub use vendor::Vendor;

use self::limits::Rule;
use self::wire::{Wire, Wires};

/// How long `stop` waits for open connections.
const STOP_MAX: Duration = Duration::from_secs(2);

/// How a simulator is set up.
#[derive(Clone)]
pub struct Options {
    /// Port 0 selects a free one. The other hosts get the next two ports, or free ones if those are taken.
    pub listen: SocketAddr,
    /// The host name in returned URLs; the address itself if `None`.
    pub advertise: Option<String>,
    /// Divides every period: limits and token lifetimes. Must be positive.
    pub speed: f64,
    /// Determines all rows.
    pub seed: u64,
    pub lynn: lynn::Account,
    pub khoros: khoros::Account,
    pub lexer: lexer::Account,
    pub jaicp: jaicp::Account,
    /// How limits are enforced. Both kinds of window are always measured.
    pub window: WindowKind,
    /// The subscription's age at the start, in real time: fixed periods count from its beginning.
    pub subscription_age: Duration,
    /// Other amounts and periods (before `speed`) for limits, by name. Lynn's names have no prefix: `create_token`,
    /// `requests`, `period_calls`, `period_bandwidth`. The others are `khoros.requests`, `lexer.requests`,
    /// `lexer.burst` and `jaicp.requests`, which is enforced only if it is set here.
    pub limits: BTreeMap<String, Override>,
    /// Before `speed`.
    pub token_lifetime: Duration,
    pub volume: lynn::Volume,
    /// The time zone of `startDate` and `endDate`.
    pub filter_timezone: Tz,
    /// Whether a row exactly at `endDate` belongs to the window.
    pub end_inclusive: bool,
    /// Whether rows dated after the current time are hidden.
    pub hide_future: bool,
    /// Whether the headers of requests count as bandwidth, not only bodies.
    pub count_heads: bool,
    /// Lynn's.
    pub shape: lynn::Shape,
    /// Whether the other vendors compress for clients that accept it. (For Lynn, `shape` decides.)
    pub gzip: bool,
}

/// Replacement numbers of a documented limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Override {
    pub amount: Option<u64>,
    pub period: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            advertise: None,
            speed: 1.0,
            seed: 1,
            lynn: lynn::Account::default(),
            khoros: khoros::Account::default(),
            lexer: lexer::Account::default(),
            jaicp: jaicp::Account::default(),
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
            gzip: false,
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

    /// A documented limit as enforced here.
    fn rule(&self, documented: Rule) -> Rule {
        let replaced = self.limits.get(documented.name).copied().unwrap_or_default();
        let period = self.scaled(replaced.period.unwrap_or(documented.period));
        Rule { amount: replaced.amount.unwrap_or(documented.amount), period, ..documented }
    }

    /// A documented period at this simulator's speed.
    fn scaled(&self, period: Duration) -> Duration {
        if self.speed.is_finite() && self.speed > 0.0 { period.div_f64(self.speed) } else { period }
    }
}

/// The state that all handlers share.
struct World {
    options: Options,
    started: Instant,
    stats: Mutex<Stats>,
    mischief: mischief::Mischief,
    urls: Urls,
    company: Arc<company::Company>,
    files: files::Files,
    lynn: lynn::Lynn,
    khoros: khoros::Khoros,
    lexer: lexer::Lexer,
    jaicp: jaicp::Jaicp,
    stopping: CancellationToken,
}

impl World {
    /// Time since the simulator's start.
    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}

/// The URLs of the simulator's hosts: `http://` and the address.
struct Urls {
    main: String,
    clients: String,
    files: String,
}

/// A running simulator. If dropped, it keeps running until the process ends; `stop` ends it.
pub struct Simulator {
    world: Arc<World>,
    servers: Vec<JoinHandle<io::Result<()>>>,
}

impl Simulator {
    /// The API of every vendor.
    pub fn base_url(&self) -> String {
        self.world.urls.main.clone()
    }

    /// Lexer's second host, for the status of jobs.
    pub fn clients_url(&self) -> String {
        self.world.urls.clients.clone()
    }

    /// The object storage of pre-signed links.
    pub fn files_url(&self) -> String {
        self.world.urls.files.clone()
    }

    /// The variables of the sample jobs in `config/demo`, except `DEMO_START`: addresses of these simulators, and the
    /// default accounts.
    pub fn demo_variables(&self) -> Vec<(&'static str, String)> {
        let (lynn, khoros) = (lynn::Account::default(), khoros::Account::default());
        vec![
            ("DEMO_LYNN_URL", self.base_url()),
            ("DEMO_LYNN_TENANT", lynn.tenant.to_string()),
            ("DEMO_LYNN_ACCESS_TOKEN", lynn.access_token),
            ("DEMO_LYNN_ACCESS_TOKEN_SECRET", lynn.access_token_secret),
            ("DEMO_KHOROS_URL", format!("{}/api/public", self.base_url())),
            ("DEMO_KHOROS_COMPANY_KEY", khoros.company_key),
            ("DEMO_KHOROS_USERNAME", khoros.username),
            ("DEMO_KHOROS_PASSWORD", khoros.password),
            ("DEMO_LEXER_URL", self.base_url()),
            ("DEMO_LEXER_STATUS_URL", self.clients_url()),
            ("DEMO_LEXER_API_TOKEN", lexer::Account::default().api_token),
            ("DEMO_FILES_HOST", self.files_url().trim_start_matches("http://").to_owned()),
            ("DEMO_JAICP_URL", format!("{}/api", self.base_url())),
            ("DEMO_JAICP_TOKEN", jaicp::Account::default().token),
        ]
    }

    pub fn control(&self) -> Control {
        Control { world: Arc::clone(&self.world) }
    }

    /// Releases held calls, finishes responses in progress, and closes the ports.
    pub async fn stop(mut self) {
        self.world.mischief.quiet();
        self.world.stopping.cancel();
        if tokio::time::timeout(STOP_MAX, join_all(&mut self.servers)).await.is_err() {
            self.servers.iter().for_each(JoinHandle::abort);
        }
    }
}

/// Binds and serves in the background.
pub async fn start(options: Options) -> io::Result<Simulator> {
    let main = TcpListener::bind(options.listen).await?;
    let (clients, files) = (port_after(options.listen, 1).await?, port_after(options.listen, 2).await?);
    let url = |listener: &TcpListener| {
        let address = listener.local_addr()?;
        let host = match &options.advertise {
            Some(name) => format!("{name}:{}", address.port()),
            None if address.ip().is_unspecified() => format!("127.0.0.1:{}", address.port()),
            None => address.to_string(),
        };
        io::Result::Ok(format!("http://{host}"))
    };
    let urls = Urls { main: url(&main)?, clients: url(&clients)?, files: url(&files)? };
    let company = Arc::new(company::Company::new(options.seed, options.volume));
    let world = Arc::new(World {
        files: files::Files::new(urls.files.clone(), options.seed),
        urls,
        lynn: lynn::Lynn::new(&options, &company),
        khoros: khoros::Khoros::new(&options, &company),
        lexer: lexer::Lexer::new(&options, &company),
        jaicp: jaicp::Jaicp::new(&options, &company),
        company,
        options,
        started: Instant::now(),
        stats: Mutex::default(),
        mischief: mischief::Mischief::default(),
        stopping: CancellationToken::new(),
    });
    let vendors = [
        remote::routes(),
        lynn::routes(),
        lynn::outbound::routes(),
        khoros::routes(),
        lexer::routes(),
        jaicp::routes(),
    ];
    let vendors = vendors.into_iter().fold(Router::new(), Router::merge);
    let servers = [(main, vendors), (clients, lexer::client_routes()), (files, files::routes())]
        .map(|(listener, router)| serve(listener, router, &world));
    Ok(Simulator { world, servers: servers.into() })
}

/// The port at this distance after that of `listen`, or a free one.
async fn port_after(listen: SocketAddr, distance: u16) -> io::Result<TcpListener> {
    if let Some(port) = listen.port().checked_add(distance).filter(|_| listen.port() > 0)
        && let Ok(listener) = TcpListener::bind(SocketAddr::new(listen.ip(), port)).await
    {
        return Ok(listener);
    }
    TcpListener::bind(SocketAddr::new(listen.ip(), 0)).await
}

fn serve(listener: TcpListener, router: Router<Arc<World>>, world: &Arc<World>) -> JoinHandle<io::Result<()>> {
    let service = router.with_state(Arc::clone(world)).into_make_service_with_connect_info::<Wire>();
    let stopping = world.stopping.clone().cancelled_owned();
    tokio::spawn(axum::serve(Wires(listener), service).with_graceful_shutdown(stopping).into_future())
}

/// Locks, even after a panic elsewhere: the state is counters and queues, which are always consistent.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
