//! A table that somebody drops.

use crate::support::world::Recipe;
use crate::support::{World, ago};

/// Days that are called complete although the table has fewer rows of them than were read.
const FALSE_DAYS: &str = "
    select count(*)
    from mart.day_status as status
    where
        status.state = 'complete'
        and status.rows <> (
            select count(*) from lynn.navigation_marks
            where (_window_start at time zone 'UTC')::date = status.day
        )";

#[tokio::test(flavor = "multi_thread")]
async fn p11_a_table_that_was_dropped_is_not_complete_until_its_slices_are_read_again() {
    let world = World::with(Recipe { start: ago(4).date_naive(), ..Recipe::default() }).await;
    world.sync_ok().await;
    let complete = "select count(*) from mart.day_status where state = 'complete'";
    assert_eq!((world.scalar::<i64>(complete).await, world.scalar::<i64>(FALSE_DAYS).await), (4, 0));
    sqlx::raw_sql("drop table lynn.navigation_marks cascade").execute(&world.database.pool()).await.unwrap();
    for _ in 0..2 {
        world.sync_ok().await;
        assert_eq!(world.scalar::<i64>(FALSE_DAYS).await, 0);
    }
    assert_eq!(world.scalar::<i64>(complete).await, 4);
    let before_today = format!("_window_start < '{}'", ago(0));
    let rows = world.rows_where("navigation_marks", &before_today).await;
    assert_eq!(rows, world.truth("navigation_marks", ago(4), ago(0)));
}
