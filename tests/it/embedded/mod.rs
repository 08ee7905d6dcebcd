//! The embedded Postgres, with real servers that are really killed.

mod account;
mod folder;
mod life;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Pid;
use sqlx::{Connection, Executor, PgConnection};
use tidegate::postgres::{Embedded, Error};
use tokio_util::sync::CancellationToken;

use crate::support::ServerFolder;

/// Far longer than any step here takes, even on a busy machine.
const LONG: Duration = Duration::from_mins(1);

/// A folder that every user can traverse, since the server does not run as root.
fn open_folder() -> ServerFolder {
    ServerFolder::new(0o755)
}

async fn start(data_dir: &Path) -> Result<Embedded, Error> {
    Embedded::start(data_dir, &CancellationToken::new()).await
}

async fn connect(server: &Embedded) -> PgConnection {
    PgConnection::connect(server.url().expose()).await.unwrap()
}

/// The password in a URL of the server.
fn password_of(url: &str) -> String {
    url::Url::parse(url).unwrap().password().unwrap().to_owned()
}

async fn show(connection: &mut PgConnection, setting: &str) -> String {
    sqlx::query_scalar("select current_setting($1)").bind(setting).fetch_one(connection).await.unwrap()
}

async fn keep(server: &Embedded, number: i64) {
    let mut connection = connect(server).await;
    connection.execute("create table if not exists kept (n bigint)").await.unwrap();
    sqlx::query("insert into kept values ($1)").bind(number).execute(&mut connection).await.unwrap();
}

async fn kept(server: &Embedded) -> Vec<i64> {
    sqlx::query_scalar("select n from kept order by n").fetch_all(&mut connect(server).await).await.unwrap()
}

fn postmaster_pid(cluster: &Path) -> Pid {
    let text = fs::read_to_string(cluster.join("postmaster.pid")).unwrap();
    Pid::from_raw(text.lines().next().unwrap().parse().unwrap()).unwrap()
}

/// A configuration that contains only the data folder.
fn configure(folder: &Path, data_dir: &Path) -> PathBuf {
    let path = folder.join("tidegate.yaml");
    let text = format!("embedded: {{ data_dir: \"{}\" }}\nserver: {{ listen: 127.0.0.1:0 }}\n", data_dir.display());
    fs::write(&path, text).unwrap();
    path
}
