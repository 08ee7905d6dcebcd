//! The daemon's binary, for every example that runs it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::ensure;

/// What the names of variables begin with that `cargo run` sets for the program.
const PASSED_ON: [&str; 4] = ["CARGO_PKG_", "CARGO_MANIFEST_", "OUT_DIR", "SQLX_OFFLINE"];

/// `TIDEGATE_BIN`, or the binary next to the example, rebuilt, since `cargo run --example` does not build it.
pub fn binary() -> anyhow::Result<PathBuf> {
    let path = if let Some(path) = std::env::var_os("TIDEGATE_BIN") {
        PathBuf::from(path)
    } else {
        // target/PROFILE/examples/NAME
        let example = std::env::current_exe()?;
        let profile = example.ancestors().nth(2).and_then(Path::file_name).and_then(OsStr::to_str);
        if let Some(cargo) = std::env::var_os("CARGO") {
            let mut build = Command::new(cargo);
            build.args(["build", "--quiet", "--bin", "tidegate", "--manifest-path"]);
            build.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
            // `cargo run` sets them for this program. With them, cargo would build crates anew that read them, and
            // everything that depends on these.
            for (name, _) in std::env::vars_os() {
                if PASSED_ON.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
                    build.env_remove(name);
                }
            }
            match profile {
                None | Some("debug") => {}
                Some(profile) => {
                    build.args(["--profile", profile]);
                }
            }
            ensure!(build.status()?.success(), "the daemon could not be built");
        }
        example.with_file_name("../tidegate")
    };
    ensure!(path.is_file(), "{} is missing: build it with the same profile, or set TIDEGATE_BIN", path.display());
    Ok(path.canonicalize()?)
}
