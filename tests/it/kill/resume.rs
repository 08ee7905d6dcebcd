//! After a kill, reading resumes after the last checkpoint: only pages under way are requested twice.

use std::collections::BTreeMap;

use simulator::lynn::CursorShape;
use simulator::{Match, Point};

use super::points::committed_pages;
use super::{MARKS, expire_leases, midnight, reached, succeeds, world};
use crate::support::{Process, World};

/// How often each page was requested, by window and page. The open slice's window differs from run to run.
fn asked(world: &World) -> BTreeMap<(String, u32), usize> {
    let mut asked = BTreeMap::new();
    for call in world.control().stats().reports {
        assert_eq!(call.status, 200, "a lastDocument that changed on its way is refused");
        *asked.entry((call.start_date, call.page)).or_default() += 1;
    }
    asked
}

async fn resumed_after_the_checkpoint(shape: CursorShape) {
    let world = world(2, 250, 100, "[navigation_marks]", &["lookback: 0s"]).await;
    world.control().shape(|reports| reports.cursor = shape);
    let hold = world.control().hold_after(Match::report(MARKS).page(3), 1, Point::BeforeResponse);
    let mut process = Process::start(&world.config_path(), &["sync"], &[]);
    reached(&hold, &mut process).await;
    committed_pages(&world, 2).await;
    let cursor: String = world.scalar("select cursor from tidegate.slice where cursor is not null").await;
    process.kill();
    hold.release();

    expire_leases(&world.database).await;
    succeeds(Process::start(&world.config_path(), &["sync"], &[])).await;
    let asked = asked(&world);
    let twice: Vec<_> = asked.iter().filter(|(_, times)| **times > 1).collect();
    let pages: Vec<u32> = asked.keys().map(|(_, page)| *page).collect();
    assert_eq!(pages, [1, 2, 3, 1, 2, 3, 1], "{asked:?}");
    assert_eq!(twice.len(), 1, "only the page under way is asked for again: {asked:?}; the cursor was {cursor}");
    assert_eq!((twice[0].0.1, *twice[0].1), (3, 2));
    let last_document =
        world.control().stats().reports.iter().filter(|call| call.page == 3).all(|call| call.last_document);
    assert!(last_document);
    assert_eq!(world.control().stats().tokens_minted, 2, "one for each process");
    world.assert_truth(MARKS, midnight(-2), midnight(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_restart_resumes_after_the_last_checkpoint_with_the_exact_cursor() {
    for shape in [CursorShape::Array, CursorShape::Number, CursorShape::Text, CursorShape::Object] {
        resumed_after_the_checkpoint(shape).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_run_that_is_taken_over_reads_no_finished_slice_again() {
    // Everything is within the lookback: only the run knows what it has read.
    let world = world(2, 250, 100, "[navigation_marks]", &["lookback: 10d"]).await;
    world.sync().await;
    let before = asked(&world).values().sum::<usize>();
    let hold = world.control().hold_after(Match::report(MARKS).page(2), 1, Point::MidBody);
    let run = world.enqueue(tidegate::schedule::ByHand::Manual).await;
    let mut killed = Process::start(&world.config_path(), &["run"], &[]);
    reached(&hold, &mut killed).await;
    committed_pages(&world, 1).await;
    killed.kill();
    hold.release();
    expire_leases(&world.database).await;
    let _daemon = Process::start(&world.config_path(), &["run"], &[]);
    super::zombie::run_ends(&world, run).await;
    let after = asked(&world).values().sum::<usize>();
    assert_eq!(after - before, 7 + 1, "three pages of two days, one of today, and one page asked for twice");
    world.assert_truth(MARKS, midnight(-2), midnight(1)).await;
}
