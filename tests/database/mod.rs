//! A fresh, migrated database per test, on the server of `TEST_DATABASE_URL`.

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};

/// A database of this test's own, dropped at its end.
pub struct Database {
    pub pool: PgPool,
    name: String,
}

impl Database {
    pub async fn fresh() -> Self {
        let server = server();
        let name = format!("tidegate_{}", uuid::Uuid::from_u128(rand::random()).simple());
        let mut admin = PgConnection::connect_with(&server).await.unwrap();
        sqlx::query(AssertSqlSafe(format!("create database {name}"))).execute(&mut admin).await.unwrap();
        let pool = PgPoolOptions::new().max_connections(20).connect_with(server.database(&name)).await.unwrap();
        sqlx::migrate!("./migrations").run(&pool).await.unwrap();
        Self { pool, name }
    }

    pub async fn drop(self) {
        self.pool.close().await;
        let mut admin = PgConnection::connect_with(&server()).await.unwrap();
        sqlx::query(AssertSqlSafe(format!("drop database {} with (force)", self.name)))
            .execute(&mut admin)
            .await
            .unwrap();
    }
}

fn server() -> PgConnectOptions {
    std::env::var("TEST_DATABASE_URL").expect("TEST_DATABASE_URL names a Postgres server").parse().unwrap()
}
