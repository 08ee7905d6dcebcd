//! A server that accepts connections and never responds.

use tokio::net::TcpListener;

use super::{command_at, expect, finding, small_world};

#[tokio::test(flavor = "multi_thread")]
async fn p12_a_server_that_accepts_and_never_responds_is_reported_as_such() {
    let world = small_world().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://u:p@{}/d?sslmode=disable", silent.local_addr().unwrap());
    let accepting = tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = silent.accept().await {
            kept.push(stream);
        }
    });
    let said = "the server accepted the connection, and then did not respond within 15 s";
    let (checked, run) = tokio::join!(finding(&world, &url), command_at(&world, &url, &["run"]));
    assert!(checked.0.contains(said), "{}", checked.0);
    let (_, told) = expect(&run, 1);
    assert!(told.contains(said) && !told.contains("pool timed out"), "{told}");
    assert!(told.contains("has not responded yet; Tidegate waits for it until "), "{told}");
    accepting.abort();
}
