//! Folders, files, links and ports that are not ours: none is trusted, and none is damaged.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::geteuid;
use tidegate::postgres::{Embedded, Error};

use super::{configure, keep, kept, open_folder, start};
use crate::support::ServerFolder;
use crate::support::daemon::{Daemon, tidegate};

/// Listens on `port`, asks every client for a plain-text password, and collects what is sent.
fn impostor(port: u16) -> Arc<Mutex<Vec<u8>>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    let gathered = Arc::<Mutex<Vec<u8>>>::default();
    let heard = Arc::clone(&gathered);
    std::thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            client.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
            client.write_all(b"R\0\0\0\x08\0\0\0\x03").ok();
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = client.read(&mut buffer) {
                heard.lock().unwrap().extend_from_slice(&buffer[..length]);
            }
        }
    });
    gathered
}

#[tokio::test]
async fn an_impostor_on_the_last_port_receives_nothing() {
    let folder = open_folder();
    let data_dir = folder.path().join("postgres");
    let server = start(&data_dir).await.unwrap();
    server.stop().await;
    let port = || fs::read_to_string(data_dir.join("port")).unwrap().trim().parse::<u16>().unwrap();
    let config = configure(folder.path(), &data_dir);
    let command = async |words: &[&str]| {
        let args = [&["--config", config.to_str().unwrap()], words].concat();
        let output = tidegate(folder.path(), &[], &args).output().await.unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
    };

    // Each start leaves another port, since the last one is taken.
    let mut heard = vec![impostor(port())];
    command(&["migrate"]).await;
    heard.push(impostor(port()));
    for words in [&["status"][..], &["runs"], &["quota"], &["cursors"]] {
        command(words).await;
    }
    let args = ["--config", config.to_str().unwrap(), "run"];
    let daemon = Daemon::watch(tidegate(folder.path(), &[], &args).spawn().unwrap());
    daemon.says("daemon started").await;
    command(&["status"]).await;
    let (status, _, said) = daemon.terminate().await;
    assert!(status.success(), "{said}");
    for gathered in heard {
        let gathered = gathered.lock().unwrap();
        assert!(gathered.is_empty(), "{}", String::from_utf8_lossy(&gathered));
    }
}

#[tokio::test]
async fn a_wrong_pid_file_is_not_an_obstacle() {
    let folder = open_folder();
    let server = start(folder.path()).await.unwrap();
    keep(&server, 1).await;
    let cluster = server.cluster_dir().to_owned();
    server.stop().await;
    let mut stranger = Command::new("sleep");
    if geteuid().is_root() {
        // The process of the server's own user, for which the server would trust the file.
        let metadata = fs::metadata(&cluster).unwrap();
        stranger.uid(metadata.uid()).gid(metadata.gid());
    }
    let mut stranger = stranger.arg("300").spawn().unwrap();
    let reused = format!("{}\n{}\n1700000000\n5432\n\n127.0.0.1\n  1 1\nready   \n", stranger.id(), cluster.display());
    let port = fs::read_to_string(folder.path().join("port")).unwrap();
    let socket_lock = cluster.join(format!(".s.PGSQL.{}.lock", port.trim()));
    for lie in ["", "\0\0\0\0", "not a number\n", "999999999\n", &reused] {
        fs::write(cluster.join("postmaster.pid"), lie).unwrap();
        fs::write(&socket_lock, lie).unwrap();
        let server = start(folder.path()).await.unwrap_or_else(|error| panic!("{lie:?}: {error}"));
        assert_eq!(kept(&server).await, [1]);
        server.stop().await;
    }
    assert!(stranger.try_wait().unwrap().is_none(), "an unrelated process is left alone");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[tokio::test]
async fn unusable_settings_are_refused_with_the_place_and_the_remedy() {
    let folder = open_folder();
    let cluster = folder.path().join("cluster");
    fs::create_dir(&cluster).unwrap();
    fs::write(cluster.join("notes.txt"), "mine").unwrap();
    let refusal = start(folder.path()).await.unwrap_err();
    assert!(matches!(refusal, Error::NotACluster { .. }), "{refusal}");
    assert_eq!(fs::read_to_string(cluster.join("notes.txt")).unwrap(), "mine");

    fs::write(cluster.join("PG_VERSION"), "9\n").unwrap();
    let refusal = start(folder.path()).await.unwrap_err().to_string();
    assert!(refusal.contains("made by PostgreSQL 9"), "{refusal}");
    assert!(refusal.contains("install postgresql-9"), "{refusal}");

    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let refusal = start(&file.join("postgres")).await.unwrap_err().to_string();
    assert!(refusal.contains(file.to_str().unwrap()), "{refusal}");
}

#[tokio::test]
async fn links_in_the_data_folder_are_not_followed() {
    let folder = open_folder();
    let data_dir = folder.path().join("postgres");
    fs::create_dir(&data_dir).unwrap();
    let victim = folder.path().join("victim");
    fs::write(&victim, "mine").unwrap();
    for name in ["pgpass.new", "port.new", "cluster.building"] {
        symlink(&victim, data_dir.join(name)).unwrap();
    }
    let server = start(&data_dir).await.unwrap();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "mine");
    assert!(fs::symlink_metadata(data_dir.join("pgpass")).unwrap().is_file());
    server.stop().await;

    for name in ["lock", "server.log", "pgpass", "port"] {
        let path = data_dir.join(name);
        let kept = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        symlink(&victim, &path).unwrap();
        let refusal = start(&data_dir).await.unwrap_err();
        assert!(matches!(refusal, Error::NotRegular { .. }), "{name}: {refusal}");
        let refusal = refusal.to_string();
        assert!(refusal.contains(path.to_str().unwrap()) && refusal.contains("remove it"), "{refusal}");
        assert_eq!(fs::read_to_string(&victim).unwrap(), "mine", "{name}");
        fs::remove_file(&path).unwrap();
        fs::write(&path, kept).unwrap();
    }
    let server = start(&data_dir).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn root_with_a_private_folder_gets_a_cluster_elsewhere() {
    if !geteuid().is_root() {
        println!("skipped: only root's server runs as another user");
        return;
    }
    // Mode 0700, as root's home has.
    let folder = ServerFolder::new(0o700);
    let data_dir = folder.path().join("data/postgres");
    let server = start(&data_dir).await.unwrap();
    keep(&server, 1).await;
    let elsewhere = server.cluster_dir().to_owned();
    assert!(!elsewhere.starts_with(folder.path()));
    assert_eq!(fs::read_link(data_dir.join("cluster")).unwrap(), elsewhere);
    server.stop().await;

    let server = start(&data_dir).await.unwrap();
    assert_eq!(kept(&server).await, [1]);
    server.stop().await;
    fs::remove_dir_all(elsewhere.parent().unwrap()).unwrap();
}

#[tokio::test]
async fn a_long_path_has_its_socket_elsewhere() {
    let folder = open_folder();
    let data_dir = folder.path().join("a long, \"odd\" name ".repeat(4)).join("postgres");
    let server = start(&data_dir).await.unwrap();
    keep(&server, 1).await;
    let socket = PathBuf::from(fs::read_to_string(data_dir.join("socket")).unwrap().trim());
    let metadata = fs::symlink_metadata(&socket).unwrap();
    assert!(metadata.is_dir());
    assert_eq!(metadata.mode() & 0o777, 0o700);
    assert_eq!(metadata.uid(), fs::metadata(server.cluster_dir()).unwrap().uid());
    let line = server.psql_line();
    let output = Command::new("sh").args(["-c", &format!("{line} -Atc 'select n from kept'")]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "1", "{output:?}");
    let beside = Embedded::attach(&data_dir).await.unwrap();
    assert_eq!(kept(&beside).await, [1]);
    server.stop().await;

    // The state after a restart of the machine.
    fs::remove_dir_all(&socket).unwrap();
    let server = start(&data_dir).await.unwrap();
    assert_eq!(kept(&server).await, [1]);
    assert!(socket.is_dir(), "it is created again");
    server.stop().await;

    // A folder of another user, or a link, is not used.
    fs::remove_dir_all(&socket).unwrap();
    symlink(folder.path(), &socket).unwrap();
    assert!(matches!(Embedded::attach(&data_dir).await, Err(Error::NotRunning { .. })));
    let server = start(&data_dir).await.unwrap();
    assert_eq!(kept(&server).await, [1]);
    let other = PathBuf::from(fs::read_to_string(data_dir.join("socket")).unwrap().trim());
    assert_ne!(other, socket);
    server.stop().await;
    fs::remove_file(socket).unwrap();
    fs::remove_dir_all(other).unwrap();
}
