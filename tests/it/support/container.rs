//! The shared server in a container, if there is a Docker engine and no Postgres programs.

use anyhow::{Context, Result};
use rand::random;
use testcontainers::core::{IntoContainerPort, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{GenericImage, ImageExt};
use url::Url;

use super::server::responds;
use super::wait::eventually;

/// Its URL, and how to stop it. The container outlives this process on purpose: others use it, and the reaper removes
/// it.
pub async fn make() -> Result<(Url, String)> {
    let password = hex::encode(random::<[u8; 16]>());
    let container = GenericImage::new("postgres", "15-alpine")
        .with_exposed_port(5432.tcp())
        .with_wait_for(WaitFor::message_on_stderr("database system is ready to accept connections"))
        .with_env_var("POSTGRES_PASSWORD", &password)
        .with_cmd(["postgres", "-c", "fsync=off", "-c", "max_connections=300"])
        .start()
        .await
        .context("no Docker engine responded")?;
    let host = container.get_host().await?;
    let port = container.get_host_port_ipv4(5432.tcp()).await?;
    let url: Url = format!("postgres://postgres:{password}@{host}:{port}/postgres?sslmode=disable").parse()?;
    let stop = format!("docker rm --force --volumes {}", container.id());
    std::mem::forget(container);
    // It reports that it is ready once before it restarts with the settings.
    eventually(std::time::Duration::from_mins(1), async || responds(&url).await.then_some(())).await;
    Ok((url, stop))
}
