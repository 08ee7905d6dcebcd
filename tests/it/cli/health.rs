//! The container health check: whether the daemon next to it is alive.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate::config::Config;
use tidegate::metrics::Metrics;
use tidegate::server::{Health, StatusSources, bind, serve};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::shell::Shell;
use crate::support::TestDatabase;

fn config_with(listen: SocketAddr) -> String {
    format!("server: {{ listen: \"{listen}\" }}\n")
}

#[tokio::test]
async fn a_daemon_that_responds_is_alive_even_if_its_configuration_has_become_faulty() {
    let database = TestDatabase::create().await;
    let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = Arc::new(Config::without_files(&BTreeMap::new()).unwrap());
    let (_sender, config) = watch::channel(config);
    let sources = StatusSources {
        pool: database.pool(),
        metrics: Arc::new(Metrics::default()),
        health: Arc::new(Health::default()),
        pulse: Arc::default(),
        outgoing: Arc::default(),
        config,
    };
    let token = CancellationToken::new();
    let server = tokio::spawn(serve(listener, sources.router(), token.clone()));

    let shell = Shell::without_database();
    shell.write_config(&config_with(SocketAddr::from(([0, 0, 0, 0], address.port()))));
    let alive = shell.run(&["health"]).await.expect(0);
    assert!(alive.said().is_empty(), "{alive:?}");
    shell.write_config("server: nonsense\n");
    shell.run(&["health"]).await.expect(1);
    shell.run(&["health", "--listen", &address.to_string()]).await.expect(0);
    let shell = shell.with("TIDEGATE__SERVER__LISTEN", &address.to_string());
    shell.run(&["health"]).await.expect(0);

    token.cancel();
    server.await.unwrap();
    let dead = shell.run(&["health"]).await.expect(1);
    assert!(dead.stderr.starts_with("error: the daemon does not respond at http://127.0.0.1:"), "{dead:?}");
}

#[tokio::test]
async fn a_daemon_that_hangs_is_reported_within_seconds() {
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let shell = Shell::without_database();
    shell.write_config(&config_with(mute.local_addr().unwrap()));
    let begun = Instant::now();
    shell.run(&["health"]).await.expect(1);
    assert!(begun.elapsed() < Duration::from_secs(10));
}
