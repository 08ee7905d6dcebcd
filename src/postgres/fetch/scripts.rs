//! A script for each program of the unpacked packages, in the folder `bin` next to them.
//!
//! Postgres finds its other files relative to its programs, but the shared libraries of other packages through
//! `LD_LIBRARY_PATH`, which the scripts set. The rest of the code, and `psql` command lines, use the scripts as the
//! programs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::make_folder;
use super::packages::Failure;

/// The folder in the tree that the packages are unpacked into.
pub(super) const ROOT: &str = "root";

/// Creates the folder `bin` with a script for each program.
pub(super) fn add(tree: &Path, major: u32) -> Result<(), Failure> {
    let postgres = Path::new(ROOT).join(format!("usr/lib/postgresql/{major}"));
    // Without this file, the server knows that it has no just-in-time compiler, whose library was left out.
    let compiler = tree.join(&postgres).join("lib/llvmjit.so");
    if compiler.exists() {
        fs::remove_file(&compiler).map_err(Failure::broken("remove", &compiler))?;
    }
    let programs = postgres.join("bin");
    let bin = tree.join("bin");
    make_folder(&bin).map_err(Failure::broken("make", &bin))?;
    let libraries = library_folders(tree);
    let entries = fs::read_dir(tree.join(&programs)).map_err(Failure::broken("read", &tree.join(&programs)))?;
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = bin.join(&name);
        fs::write(&path, script(&libraries, &programs.join(&name)))
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)))
            .map_err(Failure::broken("write", &path))?;
    }
    Ok(())
}

/// The folders with shared libraries, relative to the tree, such as `root/usr/lib/x86_64-linux-gnu`.
fn library_folders(tree: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for parent in ["usr/lib", "lib"].map(|parent| Path::new(ROOT).join(parent)) {
        let Ok(entries) = fs::read_dir(tree.join(&parent)) else { continue };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        folders.extend(names.filter(|name| name.contains("-linux-")).map(|name| parent.join(name)));
        folders.push(parent);
    }
    folders.sort();
    folders
}

/// A script that runs `program` with the libraries. All paths are relative to the tree, so that it can be moved. They
/// come from file names in packages and contain no character that a shell interprets.
fn script(libraries: &[PathBuf], program: &Path) -> String {
    let folders: Vec<String> = libraries.iter().map(|folder| format!("$tree/{}", folder.display())).collect();
    format!(
        "#!/bin/sh\ntree=${{0%/bin/*}}\nLD_LIBRARY_PATH=\"{}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}\"\n\
         export LD_LIBRARY_PATH\nexec \"$tree/{}\" \"$@\"\n",
        folders.join(":"),
        program.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::fetch::packages::{LOCAL_WITHIN, run};

    #[tokio::test]
    async fn a_script_runs_its_program_with_the_libraries_of_its_tree() {
        let root = tempfile::tempdir().unwrap();
        let tree = root.path().join("a folder's \"tree\"");
        let programs = tree.join("root/usr/lib/postgresql/15/bin");
        for folder in
            [&programs, &tree.join("root/usr/lib/x86_64-linux-gnu"), &tree.join("root/usr/lib/postgresql/15/lib")]
        {
            fs::create_dir_all(folder).unwrap();
        }
        fs::write(tree.join("root/usr/lib/postgresql/15/lib/llvmjit.so"), "").unwrap();
        let program = programs.join("postgres");
        fs::write(&program, "#!/bin/sh\necho \"$0|$LD_LIBRARY_PATH|$1|$#\"\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        add(&tree, 15).unwrap();
        assert!(!tree.join("root/usr/lib/postgresql/15/lib/llvmjit.so").exists());

        let moved = root.path().join("moved");
        fs::rename(&tree, &moved).unwrap();
        let said = run(moved.join("bin/postgres"), ["two words"], root.path(), LOCAL_WITHIN).await.unwrap();
        let shown = moved.display();
        let libraries = format!("{shown}/root/usr/lib:{shown}/root/usr/lib/x86_64-linux-gnu");
        assert_eq!(said.trim(), format!("{shown}/root/usr/lib/postgresql/15/bin/postgres|{libraries}|two words|1"));
    }
}
