//! Tells cargo to build again when a migration changes, and the query macros to use the cache in `.sqlx`.

use std::env;

fn main() {
    // Migrations are compiled in.
    println!("cargo:rerun-if-changed=migrations");

    // Without this, a DATABASE_URL in the environment or in a `.env` file, which is the usual place to name the
    // warehouse, would make the macros ask that database while they compile. `.ci/sqlx-cache` sets the variable to
    // false and renews the cache.
    println!("cargo:rerun-if-env-changed=SQLX_OFFLINE");
    if env::var_os("SQLX_OFFLINE").is_none() {
        println!("cargo:rustc-env=SQLX_OFFLINE=true");
    }
}
