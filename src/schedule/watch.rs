//! Reports when the configuration may have changed: on SIGHUP, or when its files change.
//!
//! The caller loads and checks the configuration, and keeps the old one if the new one is wrong. Files are watched
//! through system notifications, which arrive at once but miss changes on a network file system or in a replaced
//! folder, so the files are also compared every few seconds. Both lead to the same comparison, and only a difference is
//! reported: reading the files is not a change, nor is an editor's temporary file.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep, timeout};

/// The folder of job files in a configuration folder.
const JOBS_FOLDER: &str = "jobs";
/// Writing counts as finished when nothing has happened for this long…
const QUIET: Duration = Duration::from_millis(300);
/// …or when it has continued for this long.
const RESTLESS_MAX: Duration = Duration::from_secs(3);
/// How often the files are compared without a notification.
const POLL: Duration = Duration::from_secs(10);
/// Maximum number of files examined in one folder; a configuration has a few dozen.
const FILES_MAX: usize = 10_000;

/// Why the configuration should be loaded again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// SIGHUP: reload, changed or not.
    Signal,
    /// Files were changed, added, removed or replaced.
    Files,
}

/// Watches a configuration file or folder.
#[derive(Debug)]
pub struct ConfigWatch {
    path: PathBuf,
    hangup: Signal,
    /// Receives a unit for each notification. Holds one, since further ones add nothing.
    stirred: mpsc::Receiver<()>,
    /// Kept for its thread. `None` if system notifications are not available.
    watcher: Option<RecommendedWatcher>,
    poll: Interval,
    seen: FilesDigest,
}

/// Identifies a state of the files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilesDigest(BTreeMap<PathBuf, FileDigest>);

/// Real path, inode, size and times of a file. A ConfigMap update only swaps a symbolic link, hence the real path and
/// inode.
type FileDigest = (PathBuf, u64, u64, (i64, i64), (i64, i64));

impl FilesDigest {
    /// Of the configuration file or folder `path`, as it is now.
    pub fn of(path: &Path) -> Self {
        files_digest(path)
    }
}

impl ConfigWatch {
    /// Starts to watch `path`. Later changes are reported.
    ///
    /// Fails only if the process cannot listen for SIGHUP. Without file notifications it falls back to comparing and
    /// logs a warning.
    pub fn start(path: &Path) -> io::Result<Self> {
        let hangup = signal(SignalKind::hangup())?;
        let (sender, stirred) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading is not a change. An error may hide one.
            if event.is_ok_and(|event| event.kind.is_access()) {
                return;
            }
            let _full_is_fine = sender.try_send(());
        })
        .inspect_err(|error| {
            tracing::warn!(%error, poll_secs = POLL.as_secs(), "no file notifications: configuration files are polled");
        })
        .ok();
        let mut poll = interval(POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut watch = Self { path: path.to_owned(), hangup, stirred, watcher, poll, seen: FilesDigest::default() };
        watch.listen();
        watch.seen = files_digest(path);
        Ok(watch)
    }

    /// The files from which on changes are reported.
    pub const fn seen(&self) -> &FilesDigest {
        &self.seen
    }

    /// Waits for the next change. Dropping the future loses nothing.
    pub async fn changed(&mut self) -> Change {
        loop {
            tokio::select! {
                received = self.hangup.recv() => {
                    if received.is_some() {
                        return Change::Signal;
                    }
                    // The runtime is shutting down; the poll below paces the loop.
                    self.poll.tick().await;
                }
                Some(()) = self.stirred.recv() => self.settle().await,
                _ = self.poll.tick() => {}
            }
            let now = self.look().await;
            if now != self.seen {
                self.seen = now;
                self.listen();
                return Change::Files;
            }
        }
    }

    /// Waits until the files have not changed for a moment.
    async fn settle(&mut self) {
        let stirred = &mut self.stirred;
        let quiet = async {
            while let Ok(Some(())) = timeout(QUIET, stirred.recv()).await {
                // One pending notification stands for all; this avoids spinning through a burst.
                sleep(QUIET / 10).await;
            }
        };
        let _still_restless = timeout(RESTLESS_MAX, quiet).await;
    }

    /// Registers the folders (again): a folder that was deleted and created again has lost its watch.
    fn listen(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        for folder in folders(&self.path) {
            // Folders, not files: after an editor writes a new file and renames it, a file watch would still be on the
            // old one.
            let _was_not_watched = watcher.unwatch(&folder);
            if let Err(error) = watcher.watch(&folder, RecursiveMode::NonRecursive) {
                tracing::debug!(%error, folder = %folder.display(), "the folder is polled only");
            }
        }
    }

    async fn look(&self) -> FilesDigest {
        let path = self.path.clone();
        // A network file system can hang, and the event loop must not. If the thread itself fails, nothing has changed.
        tokio::task::spawn_blocking(move || files_digest(&path)).await.unwrap_or_else(|_| self.seen.clone())
    }
}

/// The folders whose entries are configuration.
fn folders(path: &Path) -> Vec<PathBuf> {
    if path.is_dir() {
        let jobs = path.join(JOBS_FOLDER);
        return if jobs.is_dir() { vec![path.to_owned(), jobs] } else { vec![path.to_owned()] };
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    vec![parent.map_or_else(|| PathBuf::from("."), Path::to_owned)]
}

fn files_digest(path: &Path) -> FilesDigest {
    let is_yaml = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
    let files: Vec<PathBuf> = if path.is_dir() {
        folders(path)
            .iter()
            .filter_map(|folder| fs::read_dir(folder).ok())
            .flat_map(|entries| entries.take(FILES_MAX).filter_map(Result::ok).map(|entry| entry.path()))
            .filter(is_yaml)
            .collect()
    } else {
        vec![path.to_owned()]
    };
    let digests = files
        .into_iter()
        .filter_map(|file| {
            let metadata = fs::metadata(&file).ok()?;
            let real = fs::canonicalize(&file).ok()?;
            let times = ((metadata.mtime(), metadata.mtime_nsec()), (metadata.ctime(), metadata.ctime_nsec()));
            Some((file, (real, metadata.ino(), metadata.len(), times.0, times.1)))
        })
        .collect();
    FilesDigest(digests)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    /// Long enough for the poll; notifications are much faster.
    const PATIENCE: Duration = Duration::from_secs(30);
    /// Longer than the quiet time: a change not reported by then was not noticed.
    const SILENCE: Duration = Duration::from_millis(1_500);

    fn folder() -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("jobs")).unwrap();
        fs::write(folder.path().join("tidegate.yaml"), "jobs: {}").unwrap();
        fs::write(folder.path().join("jobs/a.yaml"), "jobs: {}").unwrap();
        folder
    }

    /// Waits for a change of the files. Ignores the SIGHUP that another test sends to this process.
    async fn changed(watch: &mut ConfigWatch) -> Option<Change> {
        let files = async { while watch.changed().await != Change::Files {} };
        timeout(PATIENCE, files).await.ok().map(|()| Change::Files)
    }

    #[tokio::test]
    async fn a_file_that_is_written_renamed_into_place_added_or_removed_is_a_change() {
        let folder = folder();
        let jobs = folder.path().join("jobs");
        let mut watch = ConfigWatch::start(folder.path()).unwrap();

        fs::write(jobs.join("a.yaml"), "jobs: { b: {} }").unwrap();
        assert_eq!(changed(&mut watch).await, Some(Change::Files));

        fs::write(jobs.join(".a.yaml.swp~"), "jobs: {}").unwrap();
        fs::rename(jobs.join(".a.yaml.swp~"), jobs.join("a.yaml")).unwrap();
        assert_eq!(changed(&mut watch).await, Some(Change::Files));

        fs::write(jobs.join("b.yaml"), "").unwrap();
        assert_eq!(changed(&mut watch).await, Some(Change::Files));

        fs::remove_file(jobs.join("b.yaml")).unwrap();
        assert_eq!(changed(&mut watch).await, Some(Change::Files));
    }

    #[tokio::test]
    async fn a_change_before_the_watch_begins_can_be_told_from_its_digest() {
        let folder = folder();
        let loaded = FilesDigest::of(folder.path());
        assert_eq!(*ConfigWatch::start(folder.path()).unwrap().seen(), loaded);
        fs::write(folder.path().join("jobs/b.yaml"), "jobs: { b: {} }").unwrap();
        assert_ne!(*ConfigWatch::start(folder.path()).unwrap().seen(), loaded);
    }

    #[tokio::test]
    async fn reading_and_unrelated_files_are_not_a_change() {
        let folder = folder();
        let mut watch = ConfigWatch::start(folder.path()).unwrap();
        fs::read(folder.path().join("tidegate.yaml")).unwrap();
        fs::write(folder.path().join("jobs/.a.yaml.swp"), "x").unwrap();
        let files = async { while watch.changed().await != Change::Files {} };
        assert_eq!(timeout(SILENCE, files).await.ok(), None);
    }

    #[tokio::test]
    async fn a_config_map_that_swaps_its_link_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        for version in ["..1", "..2"] {
            fs::create_dir(path.join(version)).unwrap();
            fs::write(path.join(version).join("tidegate.yaml"), "jobs: {}").unwrap();
        }
        symlink("..1", path.join("..data")).unwrap();
        symlink("..data/tidegate.yaml", path.join("tidegate.yaml")).unwrap();
        let mut watch = ConfigWatch::start(path).unwrap();

        symlink("..2", path.join("..data_tmp")).unwrap();
        fs::rename(path.join("..data_tmp"), path.join("..data")).unwrap();
        assert_eq!(changed(&mut watch).await, Some(Change::Files));
    }

    #[tokio::test]
    async fn a_single_file_is_watched_through_its_folder() {
        let folder = folder();
        let file = folder.path().join("tidegate.yaml");
        let mut watch = ConfigWatch::start(&file).unwrap();
        fs::write(folder.path().join("new"), "jobs: { c: {} }").unwrap();
        fs::rename(folder.path().join("new"), &file).unwrap();
        assert_eq!(changed(&mut watch).await, Some(Change::Files));
    }

    #[tokio::test]
    async fn a_jobs_folder_that_is_created_again_is_still_watched() {
        let folder = folder();
        let jobs = folder.path().join("jobs");
        let mut watch = ConfigWatch::start(folder.path()).unwrap();
        fs::remove_dir_all(&jobs).unwrap();
        assert_eq!(changed(&mut watch).await, Some(Change::Files));
        fs::create_dir(&jobs).unwrap();
        fs::write(jobs.join("a.yaml"), "jobs: {}").unwrap();
        assert_eq!(changed(&mut watch).await, Some(Change::Files));
        fs::write(jobs.join("a.yaml"), "jobs: { d: {} }").unwrap();
        assert_eq!(changed(&mut watch).await, Some(Change::Files));
    }

    #[tokio::test]
    async fn a_hangup_is_a_change_by_itself() {
        let folder = folder();
        let mut watch = ConfigWatch::start(folder.path()).unwrap();
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::HUP).unwrap();
        assert_eq!(timeout(PATIENCE, watch.changed()).await.ok(), Some(Change::Signal));
    }
}
