//! Where the cluster and its socket are: private folders, long paths, links, and clusters of earlier versions.

use super::*;

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
async fn a_cluster_of_an_earlier_version_is_used_unchanged() {
    let folder = open_folder();
    let path = folder.path().join("cluster");
    let user = ServerUser::choose(&path).unwrap();
    let bin = programs::find_or_fetch(user.as_ref()).await.unwrap();
    let password = "0123abcd";
    cluster::make(&path, &bin, user.as_ref(), &Secret::new(password), &["--no-sync"]).await.unwrap();
    fs::write(folder.path().join("pgpass"), format!("127.0.0.1:*:*:tidegate:{password}\n")).unwrap();

    let server = start(folder.path()).await.unwrap();
    assert_eq!(password_of(server.url().expose()), password);
    assert!(is_superuser(&server).await);
    keep(&server, 1).await;
    let line = server.psql_line();
    let output = Command::new("sh").args(["-c", &format!("{line} -w -Atc 'select n from kept'")]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "1", "{output:?}");
    server.stop().await;

    fs::remove_file(folder.path().join("pgpass")).unwrap();
    let server = start(folder.path()).await.unwrap();
    assert_ne!(password_of(server.url().expose()), password);
    assert_eq!(kept(&server).await, [1]);
    assert_eq!(server.superuser_url().expose(), server.url().expose());
    server.stop().await;
}
