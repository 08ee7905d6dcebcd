//! How the daemon keeps its memory bounded (promise 6).

use std::fmt::Write as _;
use std::time::Duration;

use simulator::lynn::Volume;
use tidegate::schedule::{ByHand, enqueue_manual};

use crate::support::daemon::{Daemon, SOON};
use crate::support::world::Recipe;
use crate::support::{World, ago, eventually};

const CONNECTIONS: usize = 200;
/// With HTTP clients of its own, each connection kept about 240 KiB.
const GROWTH_MAX_KIB: u64 = 24 << 10;
/// Idle connections to the vendor's host.
const SOCKETS_MAX: usize = 4;
const RUNS_MAX: Duration = Duration::from_mins(3);

/// Runs these jobs once, to their end.
async fn run(world: &World, jobs: &[String]) {
    let config = world.config();
    let mut connection = world.database.connect().await;
    for job in jobs {
        enqueue_manual(&mut connection, &config.jobs[job.as_str()], &["navigation_marks"], ByHand::Manual)
            .await
            .unwrap();
    }
    eventually(RUNS_MAX, async || {
        let open: i64 = world.scalar("select count(*) from tidegate.run where finished_at is null").await;
        (open == 0).then_some(())
    })
    .await;
    let others: i64 = world.scalar("select count(*) from tidegate.run where state <> 'succeeded'").await;
    assert_eq!(others, 0);
}

/// The open TCP connections to a port of this machine.
fn sockets_to(port: u16) -> usize {
    let port = format!(":{port:04X}");
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let is_open_to = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.get(2).is_some_and(|remote| remote.ends_with(&port)) && fields.get(3) == Some(&"01")
    };
    table.lines().filter(is_open_to).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_memory_and_sockets_do_not_grow_with_each_connection_that_has_run() {
    let mut recipe = Recipe { start: ago(1).date_naive(), ..Recipe::default() };
    recipe.options.volume = Volume::Exactly(5);
    let world = World::with(recipe).await;
    let start = ago(1).date_naive();
    world.edit_config(|text| {
        let (head, rest) = text.split_once("connections:\n").unwrap();
        let (acme, jobs) = rest.split_once("jobs:\n").unwrap();
        let (mut connections, mut jobs) = (acme.to_owned(), jobs.to_owned());
        for number in 0..CONNECTIONS {
            connections += &acme.replacen("  acme:", &format!("  c{number}:"), 1);
            let keys = format!("    connection: c{number}\n    streams: [navigation_marks]\n    start: {start}\n");
            let _ = write!(jobs, "  j{number}:\n{keys}");
        }
        format!("{head}connections:\n{connections}jobs:\n{jobs}")
    });
    let daemon = Daemon::start(&world).await;
    run(&world, &["lynn".to_owned()]).await;
    let before = daemon.resident_kib();
    let jobs: Vec<String> = (0..CONNECTIONS).map(|number| format!("j{number}")).collect();
    run(&world, &jobs).await;
    let grown = daemon.resident_kib().saturating_sub(before);
    assert!(grown < GROWTH_MAX_KIB, "{grown} KiB more than {before} KiB");
    let vendor: url::Url = world.simulator.base_url().parse().unwrap();
    let port = vendor.port().unwrap();
    eventually(SOON, async || (sockets_to(port) <= SOCKETS_MAX).then_some(())).await;
    daemon.kill().await;
}

#[cfg(target_env = "gnu")]
#[tokio::test(flavor = "multi_thread")]
async fn p6_the_allocator_keeps_little_unless_the_environment_says_otherwise() {
    let world = World::with(Recipe { start: ago(1).date_naive(), ..Recipe::default() }).await;
    for (env, wanted) in [
        (&[][..], &["MALLOC_ARENA_MAX=1", "MALLOC_MMAP_THRESHOLD_=1048576", "MALLOC_TRIM_THRESHOLD_=1048576"][..]),
        (
            &[("MALLOC_TRIM_THRESHOLD_", "5")][..],
            &["MALLOC_ARENA_MAX=1", "MALLOC_MMAP_THRESHOLD_=1048576", "MALLOC_TRIM_THRESHOLD_=5"][..],
        ),
        (&[("MALLOC_ARENA_MAX", "3")][..], &["MALLOC_ARENA_MAX=3"][..]),
    ] {
        let daemon = Daemon::start_with(&world, env).await;
        let environment = std::fs::read_to_string(format!("/proc/{}/environ", daemon.id())).unwrap();
        let mut set: Vec<&str> = environment.split('\0').filter(|variable| variable.starts_with("MALLOC_")).collect();
        set.sort_unstable();
        assert_eq!(set, wanted);
        daemon.terminate().await;
    }
}
