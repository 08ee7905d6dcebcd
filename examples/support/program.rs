//! The daemon's binary, for every example that runs it.

use std::path::PathBuf;
use std::process::Command;

use anyhow::ensure;

/// `TIDEGATE_BIN`, or the binary next to the example, rebuilt, since `cargo run --example` does not build it.
pub fn binary() -> anyhow::Result<PathBuf> {
    let path = if let Some(path) = std::env::var_os("TIDEGATE_BIN") {
        PathBuf::from(path)
    } else {
        if let Some(cargo) = std::env::var_os("CARGO") {
            let mut build = Command::new(cargo);
            build.args(["build", "--quiet", "--bin", "tidegate", "--manifest-path"]);
            build.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
            if !cfg!(debug_assertions) {
                build.arg("--release");
            }
            ensure!(build.status()?.success(), "the daemon could not be built");
        }
        std::env::current_exe()?.with_file_name("../tidegate")
    };
    ensure!(path.is_file(), "{} is missing: build it with the same profile, or set TIDEGATE_BIN", path.display());
    Ok(path.canonicalize()?)
}
