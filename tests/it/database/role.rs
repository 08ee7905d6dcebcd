//! Roles of the test server.

use std::time::Duration;

use sqlx::AssertSqlSafe;

use super::execute;
use crate::support::TestDatabase;

/// Lets a role use the control tables, for [`Role::change`].
pub const USES_TABLES: &str =
    "grant usage on schema tidegate to ROLE; grant all on all tables in schema tidegate to ROLE";

/// A login role of one test. Call [`remove`](Self::remove) after dropping its databases.
pub struct Role {
    pub name: String,
}

impl Role {
    /// `attributes` are SQL, such as `superuser`.
    pub async fn create(attributes: &str) -> Self {
        // A capital letter, so that a statement is wrong unless it quotes the name.
        let name = format!("Role_{:016x}", rand::random::<u64>());
        let mut admin = TestDatabase::superuser().await;
        execute(&mut admin, format!("create role \"{name}\" login password 'x' {attributes}")).await;
        Self { name }
    }

    /// The URL of `database` for this login.
    pub fn url(&self, database: &TestDatabase) -> String {
        let mut url: url::Url = database.url().parse().unwrap();
        url.set_username(&self.name).unwrap();
        url.set_password(Some("x")).unwrap();
        url.into()
    }

    /// Executes SQL on `database` in which `ROLE` is this role.
    pub async fn change(&self, database: &TestDatabase, sql: &str) {
        let sql = sql.replace("ROLE", &format!("\"{}\"", self.name));
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&database.pool()).await.unwrap();
    }

    /// Works once its databases are dropped, which takes a moment on a busy machine.
    pub async fn remove(self) {
        let mut admin = TestDatabase::superuser().await;
        let sql = format!("drop role \"{}\"", self.name);
        for _ in 0..40 {
            if sqlx::raw_sql(AssertSqlSafe(sql.clone())).execute(&mut admin).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        // A database that remained is removed by a later run; its role owns nothing else.
    }
}
