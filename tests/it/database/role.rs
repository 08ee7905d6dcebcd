//! Roles of the server of the tests.

use super::execute;
use crate::support::TestDatabase;

/// A login of one test. [`remove`](Self::remove) it after its databases.
pub struct Role {
    pub name: String,
}

impl Role {
    /// With `attributes` such as `superuser`.
    pub async fn create(attributes: &str) -> Self {
        // A capital letter, so that a statement is wrong unless it quotes the name.
        let name = format!("Role_{:016x}", rand::random::<u64>());
        let mut admin = TestDatabase::superuser().await;
        execute(&mut admin, format!("create role \"{name}\" login password 'x' {attributes}")).await;
        Self { name }
    }

    /// Where `database` is, for this login.
    pub fn url(&self, database: &TestDatabase) -> String {
        let mut url: url::Url = database.url().parse().unwrap();
        url.set_username(&self.name).unwrap();
        url.set_password(Some("x")).unwrap();
        url.into()
    }

    pub async fn remove(self) {
        let mut admin = TestDatabase::superuser().await;
        execute(&mut admin, format!("drop role \"{}\"", self.name)).await;
    }
}
