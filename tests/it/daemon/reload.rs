//! A changed configuration is applied without a restart, or is refused and changes nothing.

use std::sync::Arc;

use rustix::process::Signal;
use serde_json::Value;
use tidegate::worker::Accounts;

use crate::support::daemon::{Daemon, SOON};
use crate::support::{World, ago, eventually};

fn jobs(status: &Value) -> Vec<(String, bool)> {
    let jobs = status["jobs"].as_array().unwrap();
    jobs.iter().map(|job| (job["job"].as_str().unwrap().to_owned(), job["paused"].as_bool().unwrap())).collect()
}

async fn until_jobs_are(daemon: &Daemon, wanted: &[(&str, bool)]) {
    let wanted: Vec<_> = wanted.iter().map(|(name, paused)| ((*name).to_owned(), *paused)).collect();
    eventually(SOON, async || (jobs(&daemon.status().await) == wanted).then_some(())).await;
}

/// Waits for so many events of refused configurations, of which the newest says this, and for the page of events.
async fn assert_refused(world: &World, daemon: &Daemon, least: i64, says: &str) {
    eventually(SOON, async || {
        let of_kind = "from tidegate.event where kind = 'reload_refused'";
        let count: i64 = world.scalar(&format!("select count(*) {of_kind}")).await;
        let newest: String =
            world.scalar(&format!("select coalesce(max(summary), '') {of_kind} and summary like '%{says}%'")).await;
        (count >= least && newest.contains("is refused: ") && newest.contains("tidegate.yaml:")).then_some(())
    })
    .await;
    let shown = async || daemon.get("/events?kind=reload_refused").await.1.contains(says).then_some(());
    eventually(SOON, shown).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_changed_file_is_applied_and_a_faulty_one_refused() {
    let world = World::new().await;
    let daemon = Daemon::start(&world).await;
    until_jobs_are(&daemon, &[("lynn", false)]).await;

    let start = ago(9).date_naive();
    let more = format!(
        "  more:\n    connection: acme\n    streams: [show_error]\n    start: {start}\n    schedule: \"* * * * * *\"\n"
    );
    world.edit_config(|text| text + &more);
    until_jobs_are(&daemon, &[("lynn", false), ("more", false)]).await;
    let cancelled = r#"tidegate_runs_total{tidegate_job="more",outcome="cancelled"}"#;
    assert_eq!(daemon.metric(cancelled).await, Some(0.0), "its metrics exist from the start");
    let runs = "select count(*) from tidegate.run where job = 'more'";
    eventually(SOON, async || (world.scalar::<i64>(runs).await > 0).then_some(())).await;

    world.edit_config(|text| text + "    paused: true\n");
    until_jobs_are(&daemon, &[("lynn", false), ("more", true)]).await;
    let idle = "select count(*) from tidegate.run where finished_at is null";
    eventually(SOON, async || (world.scalar::<i64>(idle).await == 0).then_some(())).await;
    let paused_at = world.scalar::<i64>(runs).await;

    world.edit_config(|text| text.replace("paused: true", "pawsed: true"));
    eventually(SOON, async || (daemon.status().await["reload_refused"] == true).then_some(())).await;
    until_jobs_are(&daemon, &[("lynn", false), ("more", true)]).await;
    assert_eq!(daemon.get("/readyz").await.0, 200, "the previous configuration is in force");
    let said = daemon.said();
    assert!(said.contains("stays in force") && said.contains("pawsed"), "{said}");
    let line = std::fs::read_to_string(world.folder.path().join("tidegate.yaml"))
        .unwrap()
        .lines()
        .position(|line| line.contains("pawsed"))
        .unwrap()
        + 1;
    let place = format!("tidegate.yaml:{line}: jobs.more.pawsed: ");
    // The page is read every few seconds.
    eventually(SOON, async || daemon.get("/").await.1.contains(&place).then_some(())).await;
    assert_refused(&world, &daemon, 1, &place).await;
    // By this name, the check for problems finds the event of a process that refused its configuration.
    let of_process = "select exists (
            select from tidegate.event
            inner join tidegate.instance on event.actor = instance.owner
            where event.kind = 'reload_refused' and instance.config_refused
        )";
    eventually(SOON, async || world.scalar::<bool>(of_process).await.then_some(())).await;
    // The same by a signal, with another fault.
    world.edit_config(|text| text.replace("pawsed: true", "pawsed: true\n    start_at: x"));
    daemon.signal(Signal::HUP);
    assert_refused(&world, &daemon, 2, "2 faults").await;
    world.edit_config(|text| text.replace("\n    start_at: x", ""));

    world.edit_config(|text| text.replace("pawsed: true", "paused: true"));
    eventually(SOON, async || (daemon.status().await["reload_refused"] == false).then_some(())).await;
    assert_eq!(world.scalar::<i64>(runs).await, paused_at, "a paused job does not fire");

    let before = daemon.said().matches("configuration reloaded").count();
    daemon.signal(Signal::HUP);
    eventually(SOON, async || (daemon.said().matches("configuration reloaded").count() > before).then_some(())).await;
    assert!(daemon.said().contains("Signal"));
    let (status, ..) = daemon.terminate().await;
    assert!(status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_configuration_with_a_missing_secret_file_is_applied_when_the_file_exists() {
    let world = World::new().await;
    let secret = simulator::lynn::Account::default().access_token_secret;
    let daemon = Daemon::start(&world).await;
    let file = world.folder.path().join("secret");
    world.edit_config(|text| text.replace(&secret, &format!("${{file:{}}}", file.display())));
    eventually(SOON, async || (daemon.status().await["reload_refused"] == true).then_some(())).await;
    std::fs::write(&file, &secret).unwrap();
    eventually(SOON, async || (daemon.status().await["reload_refused"] == false).then_some(())).await;
    let said = daemon.kill().await;
    assert_eq!(said.matches("stays in force").count(), 1, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_job_file_and_a_new_credential_are_applied() {
    let world = World::new().await;
    let account = simulator::lynn::Account::default();
    world.edit_config(|text| text.replace(&account.access_token_secret, "not-the-secret"));
    let daemon = Daemon::start(&world).await;
    let jobs = world.folder.path().join("jobs");
    std::fs::create_dir(&jobs).unwrap();
    let start = ago(9).date_naive();
    let job = format!(
        "jobs:\n  filed:\n    connection: acme\n    streams: [show_error]\n    start: {start}\n    \
         schedule: \"* * * * * *\"\n"
    );
    std::fs::write(jobs.join("filed.yaml"), job).unwrap();
    let failed = "select count(*) from tidegate.run where job = 'filed' and state = 'failed'";
    let begun = std::time::Instant::now();
    eventually(SOON * 2, async || {
        assert!(begun.elapsed() < SOON, "{}", daemon.said());
        (world.scalar::<i64>(failed).await > 0).then_some(())
    })
    .await;
    world.edit_config(|text| text.replace("not-the-secret", &account.access_token_secret));
    let succeeded = "select count(*) from tidegate.run where job = 'filed' and state = 'succeeded'";
    eventually(SOON, async || (world.scalar::<i64>(succeeded).await > 0).then_some(())).await;
    assert!(!daemon.kill().await.contains("not-the-secret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_that_open_a_connection_at_once_share_it() {
    let world = World::new().await;
    let (pool, config) = (world.database.pool(), world.config());
    let accounts = Accounts::default();
    let opening = (0..8).map(|_| accounts.get(&pool, "me", &config.connections["acme"]));
    let opened: Vec<_> = futures_util::future::join_all(opening).await.into_iter().map(Result::unwrap).collect();
    assert!(opened.iter().all(|account| Arc::ptr_eq(account, &opened[0])));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_began_before_a_reload_does_not_bring_back_the_old_credential() {
    let world = World::new().await;
    let (pool, before) = (world.database.pool(), world.config());
    world.edit_config(|text| text.replace("access_token: ", "access_token: changed-"));
    let after = world.config();
    let (old, new) = (&before.connections["acme"], &after.connections["acme"]);
    assert_ne!(old.identity(), new.identity());
    assert_eq!(new.identity(), world.config().connections["acme"].identity());
    let accounts = Accounts::default();
    let first = accounts.get(&pool, "me", old).await.unwrap();
    assert!(Arc::ptr_eq(&first, &accounts.get(&pool, "me", old).await.unwrap()));
    accounts.forget().await;
    let of_old_run = accounts.get(&pool, "me", old).await.unwrap();
    let of_new_run = accounts.get(&pool, "me", new).await.unwrap();
    assert!(!Arc::ptr_eq(&of_old_run, &of_new_run));
    assert!(Arc::ptr_eq(&of_new_run, &accounts.get(&pool, "me", new).await.unwrap()));
    // Hashes of configurations are compared between processes.
    assert!(!format!("{after:?}").contains("0x"), "{after:?}");
    assert_eq!(after.digest(), world.config().digest());
}
