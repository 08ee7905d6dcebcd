//! Only the database's clock counts: a daemon on a machine with a wrong clock works like any other (promise 8).

use std::path::Path;
use std::time::Duration;

use simulator::{Action, Match, Quota};
use tidegate::schedule::ByHand;

use crate::support::daemon::{Daemon, SOON};
use crate::support::world::Recipe;
use crate::support::{World, ago, eventually};

const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

#[tokio::test(flavor = "multi_thread")]
async fn p8_a_daemon_with_a_wrong_clock_waits_correctly_and_claims_nothing_too_early() {
    if !Path::new(LIBRARY).exists() || std::env::var_os("FAKETIME").is_some() {
        println!("skipped: no faketime here, or the clock is shifted already");
        return;
    }
    for shift in ["-300", "+600", "-2"] {
        let world = World::with(Recipe { start: ago(1).date_naive(), ..Recipe::default() }).await;
        let out = Action::OutOfQuota { quota: Quota::Calls, replenished_in: "00:02:00".to_owned(), retry_after: None };
        world.control().next(Match::report("navigation_marks").page(2), out);
        let env = [
            ("LD_PRELOAD", LIBRARY),
            ("FAKETIME", shift),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
        ];
        let daemon = Daemon::start_with(&world, &env).await;
        let run = world.enqueue(ByHand::Manual).await;
        let of_run = |what: &str| format!("select {what} from tidegate.run where id = {run}");
        eventually(SOON, async || (world.scalar::<String>(&of_run("state")).await == "waiting").then_some(())).await;
        let wait: f64 = world.scalar(&of_run("extract(epoch from due_at - clock_timestamp())::float8")).await;
        assert!((80.0..125.0).contains(&wait), "{shift}: {wait}");
        // No worker reads it meanwhile.
        let claims: i64 = world.scalar(&of_run("fence")).await;
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert_eq!(world.scalar::<i64>(&of_run("fence")).await, claims, "{shift}");
        for sql in [
            "update tidegate.quota_limit set blocked_until = now() - interval '1 second' where blocked_until is not null",
            "update tidegate.task set waiting_until = now() where state = 'waiting'",
            "update tidegate.run set due_at = now() where state = 'waiting'",
        ] {
            sqlx::query(sql).execute(&world.database.pool()).await.unwrap();
        }
        eventually(SOON, async || (world.scalar::<String>(&of_run("state")).await == "succeeded").then_some(())).await;
        let claims: i64 = world.scalar(&of_run("fence")).await;
        assert!(claims <= 4, "{shift}: {claims}");
        let told = daemon.said().matches("the clock of this machine differs").count();
        assert_eq!(told, 1, "{shift}: {}", daemon.said());
        let skew = daemon.metric("tidegate_clock_skew_seconds").await.unwrap();
        assert!((skew - shift.parse::<f64>().unwrap()).abs() < 1.0, "{shift}: {skew}");
        daemon.kill().await;
    }
}
