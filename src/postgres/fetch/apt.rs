//! apt with the system's sources, keys and preferences, but with its own lists and cache.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::make_folder;
use super::packages::{Failure, LOCAL_WITHIN, run};
use crate::postgres::binaries::MAJOR_MIN;

/// Timeout for the lists, about 10 MB.
const UPDATE_WITHIN: Duration = Duration::from_mins(5);
/// Timeout for the packages, about 30 MB.
const DOWNLOAD_WITHIN: Duration = Duration::from_mins(10);

/// Read after the system's own settings. It removes hooks that would change the system's folders, and leaves out lists
/// of translations, icons and the like.
const CONFIGURATION: &str = r#"
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear Acquire::IndexTargets::deb::DEP-11;
#clear Acquire::IndexTargets::deb::DEP-11-icons;
#clear Acquire::IndexTargets::deb::DEP-11-icons-small;
#clear Acquire::IndexTargets::deb::DEP-11-icons-hidpi;
#clear Acquire::IndexTargets::deb::DEP-11-icons-large;
#clear Acquire::IndexTargets::deb::DEP-11-icons-large-hidpi;
#clear Acquire::IndexTargets::deb::Contents-deb;
#clear Acquire::Languages;
Acquire::Languages { "none"; };
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
APT::Get::AllowUnauthenticated "false";
APT::Get::Show-User-Simulation-Note "false";
APT::Update::Error-Mode "any";
"#;

/// Prefixes of packages that are not downloaded. The server does not need the large ones: the just-in-time compiler,
/// which Tidegate disables, scripts for cluster administration, locale sources, and a program of a library that it
/// uses. The C library must be the system's own, since it works only with its own loader.
const NOT_TAKEN: [&str; 11] = [
    "libc6",
    "libc-bin",
    "libllvm",
    "libz3-",
    "perl",
    "libperl",
    "postgresql-common",
    "postgresql-client-common",
    "locales",
    "libc-l10n",
    "openssl",
];

/// apt with the system's sources, and with lists and a cache below a folder of Tidegate.
pub(super) struct Apt {
    options: Vec<OsString>,
    lists: PathBuf,
    packages: PathBuf,
}

impl Apt {
    /// `settings` are additional apt settings, such as `Dir::Etc::sourcelist=…`.
    pub(super) fn new(building: &Path, settings: &[String]) -> Result<Self, Failure> {
        let (state, cache, packages) = (building.join("state"), building.join("cache"), building.join("packages"));
        let lists = state.join("lists");
        for folder in [building, &lists.join("partial"), &cache.join("archives/partial"), &packages] {
            make_folder(folder).map_err(Failure::broken("make", folder))?;
        }
        let configuration = building.join("apt.conf");
        fs::write(&configuration, CONFIGURATION).map_err(Failure::broken("write", &configuration))?;
        let mut options = vec!["-q".into(), "-c".into(), configuration.into_os_string()];
        let folders = [("Dir::State", &state), ("Dir::Cache", &cache)];
        let folders = folders.map(|(name, folder)| format!("{name}={}", folder.display()));
        // The system's record of installed packages, which need not be downloaded.
        let status = "Dir::State::status=/var/lib/dpkg/status".to_owned();
        for setting in folders.iter().chain([&status]).chain(settings) {
            options.extend(["-o".into(), setting.into()]);
        }
        Ok(Self { options, lists, packages })
    }

    async fn run(&self, program: &str, arguments: &[String], within: Duration) -> Result<String, Failure> {
        let arguments = self.options.iter().cloned().chain(arguments.iter().map(OsString::from));
        run(program, arguments, &self.packages, within).await
    }

    /// Downloads the lists. After an error there may still be lists: one of several sources may have failed.
    pub(super) async fn update(&self) -> Result<(), Failure> {
        self.run("apt-get", &["update".to_owned()], UPDATE_WITHIN).await?;
        // Older versions of apt succeed when they are offline.
        let has_lists = fs::read_dir(&self.lists).is_ok_and(|entries| {
            entries.flatten().any(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
        });
        if has_lists {
            Ok(())
        } else {
            Err(Failure::Broken("`apt-get update` could not fetch any package list".to_owned()))
        }
    }

    /// The usable major versions, newest first.
    pub(super) async fn offered(&self) -> Result<Vec<u32>, Failure> {
        let names = self.run("apt-cache", &["pkgnames".to_owned(), "postgresql-".to_owned()], LOCAL_WITHIN).await?;
        let majors = majors_of(&names);
        if majors.is_empty() {
            return Ok(majors);
        }
        let names = majors.iter().map(|major| format!("postgresql-{major}"));
        let arguments: Vec<String> = ["policy".to_owned()].into_iter().chain(names).collect();
        let policy = self.run("apt-cache", &arguments, LOCAL_WITHIN).await?;
        Ok(majors.into_iter().filter(|major| has_candidate(&policy, &format!("postgresql-{major}"))).collect())
    }

    /// Downloads Postgres and the libraries that the system lacks. Returns the files.
    pub(super) async fn download(&self, major: u32) -> Result<Vec<PathBuf>, Failure> {
        let programs = [format!("postgresql-{major}"), format!("postgresql-client-{major}")];
        let arguments = ["install", "--simulate", "--no-install-recommends"].map(str::to_owned);
        let arguments: Vec<String> = arguments.into_iter().chain(programs.iter().cloned()).collect();
        let simulation = self.run("apt-get", &arguments, LOCAL_WITHIN).await?;
        // The programs may be installed but unusable.
        let needed: BTreeSet<String> = to_install(&simulation).map(str::to_owned).chain(programs).collect();
        let arguments: Vec<String> = ["download".to_owned()].into_iter().chain(needed).collect();
        self.run("apt-get", &arguments, DOWNLOAD_WITHIN).await?;
        let entries = fs::read_dir(&self.packages).map_err(Failure::broken("read", &self.packages))?;
        let paths = entries.flatten().map(|entry| entry.path());
        Ok(paths.filter(|path| path.extension().is_some_and(|extension| extension == "deb")).collect())
    }
}

/// The numbers in the names `postgresql-N`, highest first.
fn majors_of(names: &str) -> Vec<u32> {
    let numbers = names.lines().filter_map(|line| line.trim().strip_prefix("postgresql-")?.parse().ok());
    let majors: BTreeSet<u32> = numbers.filter(|major| *major >= MAJOR_MIN).collect();
    majors.into_iter().rev().collect()
}

/// Whether `apt-cache policy` names an installable version of the package.
fn has_candidate(policy: &str, package: &str) -> bool {
    let mut lines = policy.lines().skip_while(|line| line.strip_suffix(':') != Some(package)).skip(1);
    lines
        .by_ref()
        .take_while(|line| line.starts_with(' '))
        .find_map(|line| line.trim().strip_prefix("Candidate:"))
        .is_some_and(|version| version.trim() != "(none)")
}

/// The packages that `apt-get install --simulate` would install or upgrade, without the excluded ones.
fn to_install(simulation: &str) -> impl Iterator<Item = &str> {
    simulation
        .lines()
        .filter_map(|line| line.strip_prefix("Inst ")?.split_whitespace().next())
        .filter(|name| !NOT_TAKEN.iter().any(|prefix| name.starts_with(prefix)) && !name.ends_with("-perl"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::postgres::binaries;
    use crate::postgres::fetch::packages::{TOOLS, remove};

    #[test]
    fn versions_are_the_numbers_of_packages_highest_first() {
        let names = "postgresql-15\npostgresql-9\npostgresql-13\npostgresql-17\npostgresql-15-cron\npostgresql-common\n\
                     postgresql-9.6\npostgresql-100\n";
        assert_eq!(majors_of(names), [100, 17, 15]);
        assert_eq!(majors_of(""), Vec::<u32>::new());
    }

    #[test]
    fn only_a_package_with_a_candidate_can_be_installed() {
        let policy = "postgresql-17:\n  Installed: (none)\n  Candidate: (none)\n  Version table:\n\
                      postgresql-15:\n  Installed: (none)\n  Candidate: 15.20-0+deb12u1\n  Version table:\n     \
                      15.20-0+deb12u1 500\n";
        assert!(has_candidate(policy, "postgresql-15"));
        assert!(!has_candidate(policy, "postgresql-17"));
        assert!(!has_candidate(policy, "postgresql-1"));
        assert!(!has_candidate("", "postgresql-15"));
    }

    #[test]
    fn packages_to_install_or_upgrade_are_used_except_the_compiler_and_the_scripts() {
        let simulation = "Reading package lists...\nThe following NEW packages will be installed:\n  libpq5\n\
            Inst libicu72 (72.1-3 Debian:12.5/stable [amd64])\n\
            Inst libpq5 [15.1] (15.20-0+deb12u1 Debian-Security:12/stable-security [amd64]) []\n\
            Inst libc6 [2.36-8] (2.36-9 Debian:12.5/stable [amd64])\n\
            Inst libllvm14 (1:14.0.6-12 Debian:12.5/stable [amd64])\nInst perl (5.36 Debian [amd64])\n\
            Inst libjson-perl (4.10000-1 Debian:12.5/stable [all])\nInst zlib1g (1:1.2 Debian [amd64])\n\
            Inst postgresql-common (248 Debian [all])\nConf libicu72 (72.1-3 Debian:12.5/stable [amd64])\n";
        assert_eq!(to_install(simulation).collect::<Vec<_>>(), ["libicu72", "libpq5", "zlib1g"]);
    }

    #[tokio::test]
    async fn lists_without_a_signature_are_not_used() {
        if !TOOLS.into_iter().all(binaries::is_on_path) {
            println!("skipped: this system has no apt-get");
            return;
        }
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let (source, sources) = (root.path().join("source"), root.path().join("sources.list"));
        fs::create_dir(&source).unwrap();
        let package = "Package: postgresql-99\nVersion: 99.1\nArchitecture: all\nFilename: ./p.deb\nSize: 1\n\
                       Description: forged\nMaintainer: none <none@example.com>\n";
        fs::write(source.join("Packages"), package).unwrap();
        fs::write(source.join("Release"), "Origin: Debian\n").unwrap();
        let offered = async |line: String| {
            let building = root.path().join("building");
            remove(&building).unwrap();
            fs::write(&sources, line).unwrap();
            let settings =
                [format!("Dir::Etc::sourcelist={}", sources.display()), "Dir::Etc::sourceparts=-".to_owned()];
            let apt = Apt::new(&building, &settings).unwrap();
            (apt.update().await, apt.offered().await.unwrap())
        };
        let (updated, majors) = offered(format!("deb file:{} ./\n", source.display())).await;
        let Err(Failure::Broken(said)) = updated else { panic!("{updated:?}") };
        assert!(said.contains("`apt-get update` failed") && said.contains("not signed"), "{said}");
        assert!(!majors.contains(&99), "{majors:?}");
        // The same source is accepted when marked as trusted, so only the signature was missing.
        let (updated, majors) = offered(format!("deb [trusted=yes] file:{} ./\n", source.display())).await;
        assert!(majors.contains(&99), "{updated:?} {majors:?}");
    }
}
