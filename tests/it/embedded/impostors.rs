//! Programs and variables that pretend to belong to the server.

use super::*;

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
async fn variables_of_postgres_programs_have_no_effect() {
    let folder = open_folder();
    let data_dir = folder.path().join("postgres");
    let config = configure(folder.path(), &data_dir);
    let env = [
        ("PGOPTIONS", "-c no_such_setting=1"),
        ("PGHOST", "192.0.2.1"),
        ("PGHOSTADDR", "192.0.2.1"),
        ("PGPORT", "1"),
        ("PGUSER", "nobody"),
        ("PGPASSWORD", "none"),
        ("PGDATABASE", "nothing"),
        ("PGSSLMODE", "verify-full"),
        ("PGSSLROOTCERT", "/nonexistent"),
        ("PGAPPNAME", "another"),
    ];
    for word in ["migrate", "status"] {
        let args = ["--config", config.to_str().unwrap(), word];
        let output = tidegate(folder.path(), &env, &args).output().await.unwrap();
        assert!(output.status.success(), "{word}: {output:?}");
    }
}
