//! Promise 2 from end to end: two processes on one ledger against a vendor that enforces small limits strictly.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use futures_util::future::join_all;
use simulator::{LimitStats, Options, Stats, WindowKind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::*;

/// Long enough for several periods of every limit.
const SPAN: Duration = Duration::from_secs(16);
/// Minimum used share of the binding limit in percent, on a busy machine. The test without a real clock proves the
/// promised 95 %.
const USED_MIN: f64 = 40.0;

/// A limit of the vendor, and the same limit for the ledger.
struct Small {
    name: &'static str,
    calls: Calls,
    unit: Unit,
    amount: u64,
    per: Duration,
}

const fn small(name: &'static str, calls: Calls, unit: Unit, amount: u64, secs: u64) -> Small {
    Small { name, calls, unit, amount, per: Duration::from_secs(secs) }
}

const LOGIN: Small = small("create_token", Calls::Login, Unit::Calls, 3, 6);

async fn strict(window: WindowKind, limits: &[Small]) -> Bench {
    // The subscription began in the middle of a period, and headers are counted.
    let mut options = Options { window, count_heads: true, subscription_age: Duration::from_millis(1_234), ..free() };
    for small in limits {
        options = options.limit(small.name, small.amount, small.per);
    }
    let mut bench = bench_with(options).await;
    bench.limits =
        limits.iter().map(|small| limit(small.name, small.calls, small.unit, small.amount, small.per)).collect();
    bench
}

/// Three streams of one client, each reading day after day until `until`.
async fn hungry(bench: &Bench, until: Instant) {
    let client = bench.client().await;
    let task = async |first: i64| {
        let marks = marks();
        let mut expected = Expected { page_bytes: Some(9_000), ..Expected::default() };
        for number in 0.. {
            let mut cursor = None::<String>;
            loop {
                if Instant::now() >= until {
                    return;
                }
                let mut page = Page::default();
                let window = day(first + number);
                let step = client.step_expecting(&marks, window, cursor.as_deref(), expected, &mut page);
                let Outcome::Page { next, bytes } = step.await.unwrap() else { panic!() };
                // As in the worker, the last page is the best estimate.
                expected.page_bytes = Some(bytes);
                cursor = next;
                if cursor.is_none() {
                    break;
                }
            }
        }
    };
    join_all([1, 1_000, 2_000].map(task)).await;
}

/// Used share of a limit in percent, between the first call and the one that began the last complete round. `None`
/// before a round is complete.
#[expect(clippy::cast_precision_loss, reason = "a share to print")]
fn utilisation(stats: &Stats, limit: &LimitStats) -> Option<f64> {
    let first = stats.reports.first()?.at_secs;
    let (mut taken, mut rounds, mut used) = (0, 0, None);
    for call in &stats.reports {
        if taken / limit.amount > rounds {
            rounds = taken / limit.amount;
            used = Some(100.0 * rounds as f64 * limit.period_secs / (call.at_secs - first));
        }
        taken += if limit.unit == simulator::Unit::Calls { 1 } else { call.bytes };
    }
    used
}

async fn contend(name: &str, window: WindowKind, binding: &str, limits: &[Small]) {
    let bench = strict(window, limits).await;
    let begun = Instant::now();
    // One client runs all the time, the other is restarted in the middle.
    tokio::join!(hungry(&bench, begun + SPAN), async {
        hungry(&bench, begun + SPAN / 2).await;
        hungry(&bench, begun + SPAN).await;
    });
    let stats = bench.control().stats();
    let used = utilisation(&stats, &stats.limits[binding]).unwrap();
    println!("{name}: {used:.1} % of what `{binding}` permits was used");
    assert_eq!(stats.violation_count, 0, "{name}: {:?}", stats.violations);
    for (name, limit) in &stats.limits {
        let highest = if window == WindowKind::Fixed { limit.highest_fixed } else { limit.highest_sliding };
        assert!(limit.unit == simulator::Unit::Bytes || highest <= limit.amount, "{name}: {limit:?}");
    }
    assert!(used >= USED_MIN, "{name}: only {used:.1} % used");
}

const BY_CALLS: &[Small] = &[
    LOGIN,
    small("requests", Calls::Data, Unit::Calls, 5, 4),
    small("period_calls", Calls::Every, Unit::Calls, 40, 20),
    small("period_bandwidth", Calls::Every, Unit::Bytes, 600_000, 20),
];

const BY_PERIOD: &[Small] = &[
    LOGIN,
    small("requests", Calls::Data, Unit::Calls, 10, 4),
    small("period_calls", Calls::Every, Unit::Calls, 12, 8),
    small("period_bandwidth", Calls::Every, Unit::Bytes, 600_000, 8),
];

const BY_BYTES: &[Small] = &[
    LOGIN,
    small("requests", Calls::Data, Unit::Calls, 10, 4),
    small("period_calls", Calls::Every, Unit::Calls, 200, 20),
    small("period_bandwidth", Calls::Every, Unit::Bytes, 90_000, 8),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p2_two_processes_keep_a_strict_rate_in_fixed_windows() {
    Box::pin(contend("fixed windows", WindowKind::Fixed, "requests", BY_CALLS)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p2_two_processes_keep_a_strict_rate_in_sliding_windows() {
    Box::pin(contend("sliding windows", WindowKind::Sliding, "requests", BY_CALLS)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p2_two_processes_keep_the_calls_of_a_period() {
    Box::pin(contend("calls of a period", WindowKind::Sliding, "period_calls", BY_PERIOD)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p2_two_processes_keep_the_bytes_of_a_period() {
    Box::pin(contend("bytes of a period", WindowKind::Sliding, "period_bandwidth", BY_BYTES)).await;
}

/// Responds to every request with a token, and records when each arrived.
async fn respond_slowly_connected(listener: TcpListener, arrivals: Arc<Mutex<Vec<Instant>>>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let arrivals = Arc::clone(&arrivals);
        tokio::spawn(async move {
            let mut bytes = vec![0; 10_000];
            if stream.read(&mut bytes).await.unwrap_or_default() == 0 {
                return;
            }
            arrivals.lock().unwrap().push(Instant::now());
            let body = r#"{"token":"t-1"}"#;
            let response = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            let _gone = stream.write_all(response.as_bytes()).await;
        });
    }
}

#[tokio::test]
async fn p2_a_connection_that_is_slow_to_open_does_not_shorten_the_distance_to_the_next_call() {
    Box::pin(slow_to_open(3 * SECOND)).await;
}

#[tokio::test]
async fn p2_a_connection_that_takes_longer_than_the_period_keeps_the_next_call_waiting() {
    Box::pin(slow_to_open(SECOND * 6 / 10)).await;
}

/// Two processes log in, the first over a connection that opens after a second.
async fn slow_to_open(per: Duration) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    // If the listener's queue is full, a connection opens only when the system retries, a second later.
    let fillers = join_all((0..4).map(|_| tokio::time::timeout(SECOND / 4, TcpStream::connect(address)))).await;
    let mut bench = bench_at(&format!("http://{address}")).await;
    bench.limits[0] = limit("create_token", Calls::Login, Unit::Calls, 1, per);
    let arrivals = Arc::new(Mutex::new(Vec::new()));
    let (one, other) = (bench.client().await, bench.client().await);
    let (first, second) = (one.gate.session(0, Utc::now()), other.gate.session(0, Utc::now()));
    let server = tokio::spawn({
        let arrivals = Arc::clone(&arrivals);
        async move {
            tokio::time::sleep(SECOND / 2).await;
            drop(fillers);
            respond_slowly_connected(listener, arrivals).await;
        }
    });
    let (first, second) = tokio::join!(one.source.log_in(&first), async {
        tokio::time::sleep(SECOND / 4).await;
        other.source.log_in(&second).await
    });
    first.and(second).unwrap();
    let arrivals = arrivals.lock().unwrap().clone();
    assert_eq!(arrivals.len(), 2);
    let apart = arrivals[1] - arrivals[0];
    assert!(apart >= per, "{apart:?}");
    server.abort();
}
