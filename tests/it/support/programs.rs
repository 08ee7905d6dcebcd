//! The Postgres programs, obtained by the tests if necessary.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Once;

use tidegate::postgres::ServerUser;
use tidegate::postgres::binaries::{Error, PgBin};
use tidegate::postgres::fetch::{self, CACHE_NAME, CACHE_VARIABLE};

/// The machine's programs, otherwise those in the cache below `target`, which are obtained if missing.
pub async fn find_or_fetch(user: Option<&ServerUser>) -> Result<PgBin, Error> {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join(CACHE_NAME);
    fetch::find_or_fetch(&cache, None, user).await
}

/// Obtains the programs if they are missing. A test that starts servers calls this first, so that a download does not
/// count as part of a start. An error is ignored here; the test meets it again.
pub fn prepare() {
    static DONE: Once = Once::new();
    DONE.call_once(|| {
        // A separate thread, since the caller may be inside any kind of runtime.
        let prepared = std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let user = ServerUser::choose(Path::new("/nonexistent")).unwrap();
            if let Err(error) = runtime.block_on(find_or_fetch(user.as_ref())) {
                println!("{error}");
            }
        });
        prepared.join().unwrap();
    });
}

/// The variables that locate the programs, for a process without any other environment.
pub fn env() -> Option<(&'static str, OsString)> {
    Some((CACHE_VARIABLE, std::env::var_os(CACHE_VARIABLE)?))
}
