//! How the daemon keeps its memory bounded (promise 6).

use crate::support::daemon::Daemon;
use crate::support::world::Recipe;
use crate::support::{World, ago};

#[tokio::test(flavor = "multi_thread")]
async fn p6_all_threads_allocate_from_one_arena_unless_the_environment_says_otherwise() {
    let world = World::with(Recipe { start: ago(1).date_naive(), ..Recipe::default() }).await;
    for (env, arenas) in [(&[][..], "1"), (&[("MALLOC_ARENA_MAX", "3")][..], "3")] {
        let daemon = Daemon::start_with(&world, env).await;
        let environment = std::fs::read(format!("/proc/{}/environ", daemon.id())).unwrap();
        let wanted = format!("MALLOC_ARENA_MAX={arenas}");
        assert!(environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes()), "{wanted}");
        daemon.terminate().await;
    }
}
