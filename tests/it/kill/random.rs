//! Kills at random instants of a run, while the vendor's data change.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use simulator::{Action, Change, Edit, Fault, Match, Rows};
use tidegate::schedule::ByHand;

use super::{assert_counted, assert_tidy, expire_leases, midnight, succeeds, world};
use crate::support::random::seed;
use crate::support::{Process, World};

const KILLS: u32 = 40;
const STREAMS: [&str; 3] = ["menu_detail", "navigation_marks", "survey_result"];

#[tokio::test(flavor = "multi_thread")]
async fn p1_kills_at_random_instants_lose_and_duplicate_nothing() {
    let mut dice = StdRng::seed_from_u64(seed());
    // The vendor deletes random rows, sometimes more than a fifth of a slice.
    let world =
        world(3, 120, 50, "[menu_detail, navigation_marks, survey_result]", &["lookback: 10d", "hold_below: 0%"]).await;
    // Enough time in every state.
    let slow = Fault::new(Match::endpoint("execute_report"), Action::Delay { ms: 10 }).times(u32::MAX);
    world.control().mischief(slow);
    let mut runs = 0;
    for _ in 0..KILLS {
        let open = "select count(*) from tidegate.run where state in ('queued', 'waiting', 'running')";
        if world.scalar::<i64>(open).await == 0 {
            change_something(&world, &mut dice);
            world.enqueue(ByHand::Manual).await;
            runs += 1;
        }
        let process = Process::start(&world.config_path(), &["run"], &[]);
        tokio::time::sleep(Duration::from_millis(dice.random_range(150..1200))).await;
        process.kill();
        expire_leases(&world.database).await;
    }
    let overtaken: i64 = world.scalar("select max(fence) from tidegate.run").await;
    println!("{runs} runs, one of them was claimed {overtaken} times");
    // Nothing changed since the last run began: a slice under way has no page from before.
    succeeds(Process::start(&world.config_path(), &["sync"], &[])).await;
    for stream in STREAMS {
        world.assert_truth(stream, midnight(-3), midnight(1)).await;
        assert_counted(&world.database, stream).await;
    }
    assert_tidy(&world.database).await;
}

/// Rows are deleted, changed, added or duplicated.
fn change_something(world: &World, dice: &mut StdRng) {
    let control = world.control();
    for report in STREAMS {
        let rows = Rows::between(report, midnight(-3), midnight(0)).every(dice.random_range(5..30));
        match dice.random_range(0..4) {
            0 => control.lynn().vanish(rows).map(drop).unwrap(),
            1 => control
                .lynn()
                .edit(Edit::Duplicate { rows, copies: 1, distance: dice.random_range(0..60) })
                .map(drop)
                .unwrap(),
            2 => {
                let json = format!("\"value {}\"", dice.random_range(0..1000));
                control.lynn().change(rows, Change::Set { field: "markValue".to_owned(), json }).map(drop).unwrap();
            }
            _ => {
                for _ in 0..dice.random_range(1..40) {
                    let at = midnight(-3) + chrono::TimeDelta::seconds(dice.random_range(0..3 * 86_400));
                    control.lynn().insert(report, at).unwrap();
                }
            }
        }
    }
}
