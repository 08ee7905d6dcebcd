//! The database as users have it: logins with few privileges, other encodings, newer versions, role settings, poolers.

mod cancelled;
mod claims;
mod fitness;
mod list;
mod lists;
mod pooler;
pub mod role;
mod settings;
mod silent;

use std::process::Output;

use sqlx::{AssertSqlSafe, PgConnection};

use crate::support::daemon;
use crate::support::{TestDatabase, World, ago};

/// A world with a few days of one report.
async fn small_world() -> World {
    let recipe = crate::support::world::Recipe { start: ago(2).date_naive(), ..Default::default() };
    World::with(recipe).await
}

/// Runs a command on the world's configuration and another database.
async fn command_at(world: &World, url: &str, args: &[&str]) -> Output {
    daemon::command(world, &[("TIDEGATE__DATABASE__URL", url)], args).await
}

#[track_caller]
fn expect(output: &Output, code: i32) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{stdout}\n{stderr}");
    (stdout, stderr)
}

/// What `check --json` says about the database: its error, hint and statements.
async fn finding(world: &World, url: &str) -> (String, String, Vec<String>) {
    let (document, _) = expect(&command_at(world, url, &["check", "--json"]).await, 1);
    let document: serde_json::Value = serde_json::from_str(&document).unwrap();
    let database = &document["database"];
    assert_eq!(database["state"], "failed", "{document}");
    let statements = database["statements"].as_array().cloned().unwrap_or_default();
    (
        database["error"].as_str().unwrap().to_owned(),
        database["hint"].as_str().unwrap().to_owned(),
        statements.iter().map(|statement| statement.as_str().unwrap().to_owned()).collect(),
    )
}

async fn execute(connection: &mut PgConnection, sql: impl Into<String>) {
    sqlx::raw_sql(AssertSqlSafe(sql.into())).execute(connection).await.unwrap();
}

/// Executes `statements` in `database` as a superuser.
async fn as_administrator(database: &TestDatabase, statements: &[String]) {
    let mut connection = database.connect().await;
    for statement in statements {
        execute(&mut connection, statement.clone()).await;
    }
}

async fn count(database: &TestDatabase, query: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(query.to_owned())).fetch_one(&database.pool()).await.unwrap()
}
