//! Promises 7 and 12: many clients at once, and clients that do not read their responses.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use tidegate::metrics::Metrics;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::support::daemon::{Daemon, SOON};
use crate::support::port::Port;
use crate::support::{TestDatabase, World, ago, eventually};

/// The time limit of a probe in deploy/kubernetes.
const PROBE_MAX: Duration = Duration::from_secs(3);
/// After this time, a client that has received nothing is disconnected (`STUCK_MAX` and a margin).
const SURELY_STUCK: Duration = Duration::from_secs(8);

/// Makes the text of the metrics larger than what the sockets of both ends keep.
fn fill(metrics: &Metrics) {
    for stream in 0..4_000 {
        metrics.page_committed("acme-lynn", &format!("stream-{stream:0100}"), Duration::ZERO, 0, 0);
    }
}

/// Clients that send a request and do not read the response.
async fn deaf(address: SocketAddr, path: &str, count: usize) -> Vec<TcpStream> {
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).await.unwrap();
        clients.push(stream);
    }
    clients
}

/// What a client receives until the port disconnects it.
async fn received(stream: &mut TcpStream) -> usize {
    let mut bytes = Vec::new();
    let _end_or_reset = timeout(SOON, stream.read_to_end(&mut bytes)).await.expect("it is disconnected");
    bytes.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_clients_that_do_not_read_keep_out_neither_probes_nor_readers() {
    let database = TestDatabase::create().await;
    let port = Port::open(database.pool()).await;
    port.started();
    fill(&port.metrics);
    let length = port.fetch("/metrics", "").await.body.len();
    assert!(length > 1_500_000, "{length}");
    let mut clients = deaf(port.address, "/metrics", 200).await;
    for path in ["/healthz", "/readyz"].into_iter().cycle().take(20) {
        let (status, text) = timeout(PROBE_MAX, port.get(path)).await.expect("probes are served");
        assert_eq!(status, 200, "{path}: {text}");
    }
    // Those that have been slow for a second give way, also to a client of their own address.
    let refused_or_read = async || {
        let (status, text) = port.get("/metrics").await;
        assert!(status == 200 || text.to_ascii_lowercase().contains("\r\nretry-after: 2\r\n"), "{text}");
        (status == 200).then_some(())
    };
    eventually(SOON, refused_or_read).await;
    for stream in &mut clients[..40] {
        assert!(received(stream).await > 0, "its request was served");
    }
    port.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_receives_nothing_is_disconnected_and_one_that_receives_slowly_is_not() {
    let database = TestDatabase::create().await;
    let port = Port::open(database.pool()).await;
    fill(&port.metrics);
    let length = port.fetch("/metrics", "").await.body.len();
    let mut clients = deaf(port.address, "/metrics", 2).await;
    let (mut slow, mut stuck) = (clients.pop().unwrap(), clients.pop().unwrap());
    let reads_slowly = async {
        let (mut buffer, mut bytes) = (vec![0; 64 << 10], 0);
        while let Ok(read @ 1..) = slow.read(&mut buffer).await {
            bytes += read;
            sleep(Duration::from_millis(20)).await;
        }
        bytes
    };
    let reads_nothing = async {
        sleep(SURELY_STUCK).await;
        received(&mut stuck).await
    };
    let (all, part) = tokio::join!(reads_slowly, reads_nothing);
    assert!(all > length, "{all} of {length} bytes and the head");
    assert!(part < length, "{part} of {length} bytes");
    port.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_of_many_probes_at_once_each_is_served() {
    let database = TestDatabase::create().await;
    let port = Port::open(database.pool()).await;
    for _ in 0..5 {
        // Each is sent as soon as it is connected, without a task in between.
        let sent: Vec<std::net::TcpStream> = (0..200)
            .map(|_| {
                let mut stream = std::net::TcpStream::connect(port.address).unwrap();
                std::io::Write::write_all(&mut stream, b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
                stream.set_nonblocking(true).unwrap();
                stream
            })
            .collect();
        for stream in sent {
            let mut response = String::new();
            TcpStream::from_std(stream).unwrap().read_to_string(&mut response).await.unwrap();
            assert!(response.starts_with("HTTP/1.1 200 "), "{response:?}");
        }
    }
    port.close().await;
}

/// With a text of its own for each of the 32 that are served, they would need 33 MB.
#[tokio::test(flavor = "multi_thread")]
async fn p7_clients_that_do_not_read_share_the_memory_of_what_is_sent() {
    const GROWTH_MAX_KIB: u64 = 20 << 10;
    let world = World::new().await;
    let start = ago(2).date_naive();
    let jobs = (0..1_500).fold(String::new(), |mut text, job| {
        let keys = format!("    connection: acme\n    start: {start}\n    streams: [navigation_marks]\n");
        let _ = write!(text, "  j{job:099}:\n{keys}");
        text
    });
    world.edit_config(|text| text + &jobs);
    let daemon = Daemon::start(&world).await;
    eventually(SOON, async || (daemon.get("/readyz").await.0 == 200).then_some(())).await;
    for _ in 0..3 {
        for path in ["/metrics", "/status.json"] {
            let (status, text) = daemon.get(path).await;
            assert!(status == 200 && text.len() > 250_000, "{path}: {status}, {} bytes", text.len());
        }
        // Until the next text is made.
        sleep(Duration::from_millis(1_100)).await;
    }
    let before = daemon.resident_kib();
    let address = daemon.address();
    let mut clients = deaf(address, "/metrics", 24).await;
    clients.extend(deaf(address, "/status.json", 24).await);
    clients.extend(deaf(address, "/metrics", 60).await);
    for _ in 0..30 {
        sleep(Duration::from_millis(100)).await;
        assert_eq!(daemon.get("/healthz").await.0, 200);
        let grown = daemon.resident_kib().saturating_sub(before);
        assert!(grown < GROWTH_MAX_KIB, "{grown} KiB more than {before} KiB");
    }
    let mut served = 0;
    for client in &mut clients {
        let mut begin = [0; 12];
        client.read_exact(&mut begin).await.unwrap();
        assert!([*b"HTTP/1.1 200", *b"HTTP/1.1 429"].contains(&begin), "{begin:?}");
        served += usize::from(begin == *b"HTTP/1.1 200");
    }
    // Nearly every seat of the address was taken by one that does not read.
    assert!(served > 24, "{served}");
    daemon.kill().await;
}
