//! Obtains the Postgres programs if the machine has none.
//!
//! On Debian and Ubuntu they come from the distribution's packages, whose signatures apt checks ([`packages`]). On
//! other systems, or if the distribution lacks the wanted version, they come from an archive of prebuilt programs
//! ([`archive`]). Neither needs root. A failure of apt is an error: the archive is not signed, so it does not replace
//! packages that apt refuses.
//!
//! The programs are unpacked once into a cache folder, and get their final name there only when they are complete.

mod apt;
mod archive;
mod packages;
mod scripts;

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use self::packages::Failure;
use super::binaries::{self, Error, MAJOR_MIN, PgBin, Places};
use super::process::POLL;
use super::{ServerUser, data_dir, files};

/// Names the cache folder, which several data folders may share.
pub const CACHE_VARIABLE: &str = "TIDEGATE_PG_CACHE";
/// The cache folder's name if the variable is not set.
pub const CACHE_NAME: &str = "postgres-binaries";

/// How long to wait for another process that obtains the programs: longer than all its timeouts together.
const TURN_WITHIN: Duration = Duration::from_mins(30);

/// The programs of this machine, otherwise those in the cache, otherwise new ones in the cache. `wanted` is the major
/// version of the cluster they are for. Another version is returned if the machine has only that.
/// The cache is the folder that `TIDEGATE_PG_CACHE` names, otherwise `own_cache`. If `user` is given, this process is
/// root, and a folder that another user can change or that `user` cannot enter is not used.
pub async fn find_or_fetch(own_cache: &Path, wanted: Option<u32>, user: Option<&ServerUser>) -> Result<PgBin, Error> {
    let places = Places::of_this_machine().await;
    let found = binaries::find(&places, wanted).await?;
    let is_decided = |bin: &PgBin| places.only.is_some() || wanted.is_none_or(|wanted| wanted == bin.major);
    if let Some(bin) = found.as_ref().filter(|bin| is_decided(bin)) {
        return Ok(bin.clone());
    }
    let cache = choose_cache(std::env::var_os(CACHE_VARIABLE), own_cache, user);
    match (cached(&cache, wanted).await, found) {
        (Some(bin), _) | (None, Some(bin)) => Ok(bin),
        (None, None) => fetch(&cache, wanted).await,
    }
}

/// The programs of version `wanted`, or of the newest available version, from `cache`. Obtains them first if they are
/// missing, even if the machine has them elsewhere.
pub async fn fetch(cache: &Path, wanted: Option<u32>) -> Result<PgBin, Error> {
    // No source has older versions. With newer ones, the caller can at least report the mismatch.
    let wanted = wanted.filter(|wanted| *wanted >= MAJOR_MIN);
    let missing =
        |fetch: String| Error::Missing { looked: "`pg_config` and the usual system folders".to_owned(), fetch };
    let turn = take_turn(cache).await.map_err(missing)?;
    if let Some(bin) = cached(cache, wanted).await {
        return Ok(bin);
    }
    match packages::obtain(cache, wanted).await {
        Ok(()) => {}
        Err(Failure::Broken(reason)) => return Err(missing(reason)),
        Err(Failure::NotOffered(packages)) => archive::obtain(cache, wanted)
            .await
            .map_err(|archive| missing(format!("{packages}; and from an archive: {archive}")))?,
    }
    drop(turn);
    let unusable = || missing(format!("the programs unpacked into {} do not run on this machine", cache.display()));
    cached(cache, wanted).await.ok_or_else(unusable)
}

/// The programs obtained earlier, newest version first.
async fn cached(cache: &Path, wanted: Option<u32>) -> Option<PgBin> {
    for prefix in [packages::PREFIX, archive::PREFIX] {
        for folder in binaries::newest_first(cache, prefix, "bin") {
            if let Some(found) = binaries::usable(&folder).await
                && wanted.is_none_or(|wanted| wanted == found.major)
            {
                return Some(found);
            }
        }
    }
    None
}

/// Waits for the lock on `cache`, which is created if missing. The system releases the lock when this process ends.
async fn take_turn(cache: &Path) -> Result<File, String> {
    let failed = |error: &dyn std::error::Error| format!("cannot use the folder {}: {error}", cache.display());
    make_folder(cache).map_err(|error| failed(&error))?;
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true).mode(0o600);
    let file = files::open(&cache.join("lock"), &mut options, true).map_err(|error| failed(&error))?;
    let deadline = Instant::now() + TURN_WITHIN;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(failed(&error)),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => sleep(POLL).await,
            Err(TryLockError::WouldBlock) => {
                let minutes = TURN_WITHIN.as_secs() / 60;
                return Err(format!("another process has been filling {} for {minutes} min", cache.display()));
            }
        }
    }
}

/// Creates a folder that every user may enter, regardless of the umask: the server may run as another user.
fn make_folder(path: &Path) -> std::io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o755).create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

fn choose_cache(named: Option<OsString>, own: &Path, user: Option<&ServerUser>) -> PathBuf {
    let named = named.filter(|named| !named.is_empty()).and_then(|named| std::path::absolute(named).ok());
    let Some(user) = user else { return named.unwrap_or_else(|| own.to_owned()) };
    let fits = |folder: &PathBuf| user.blocked_at(folder).is_none() && only_root_changes(folder);
    let elsewhere = Path::new(data_dir::ROOM_ELSEWHERE).join(CACHE_NAME);
    named.into_iter().chain([own.to_owned()]).find(fits).unwrap_or(elsewhere)
}

/// Whether only root can replace `path`. Root runs programs from the cache and unpacks files into it.
fn only_root_changes(path: &Path) -> bool {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    path.ancestors().filter_map(|folder| fs::metadata(folder).ok()).all(|metadata| {
        // In a sticky folder such as /tmp, others cannot rename what belongs to root.
        let (shared, sticky) = (metadata.mode() & 0o022 != 0, metadata.mode() & 0o1000 != 0);
        metadata.uid() == 0 && (!shared || sticky)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[tokio::test]
    async fn cached_programs_are_used_again_without_the_network() {
        let Some(there) = binaries::find(&Places::of_this_machine().await, None).await.unwrap() else {
            println!("skipped: needs the Postgres programs to put into the cache");
            return;
        };
        for prefix in [packages::PREFIX, archive::PREFIX] {
            let cache = tempfile::tempdir().unwrap();
            let folder = cache.path().join(format!("{prefix}{}", there.major));
            fs::create_dir(&folder).unwrap();
            symlink(&there.dir, folder.join("bin")).unwrap();
            assert_eq!(fetch(cache.path(), Some(there.major)).await.unwrap(), there);
            assert_eq!(fetch(cache.path(), None).await.unwrap(), there);
            assert_eq!(cached(cache.path(), Some(there.major + 1)).await, None);
        }
    }

    #[test]
    fn the_named_cache_comes_first_and_root_uses_only_one_of_its_own() {
        let (named, own) = (Path::new("/nonexistent/named"), Path::new("/nonexistent/own"));
        let name = || Some(named.as_os_str().to_owned());
        assert_eq!(choose_cache(name(), own, None), named);
        assert_eq!(choose_cache(Some(OsString::new()), own, None), own);
        assert_eq!(choose_cache(None, own, None), own);

        let user = ServerUser { name: "u".to_owned(), uid: 4_000_000, gid: 4_000_000 };
        assert_eq!(choose_cache(name(), own, Some(&user)), named);
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let open = root.path().join("cache");
        assert_eq!(choose_cache(Some(open.clone().into()), own, Some(&user)), own, "anybody could change it");
        assert_eq!(
            choose_cache(Some(open.into()), root.path(), Some(&user)),
            Path::new("/var/lib/tidegate/postgres-binaries")
        );
    }
}
