//! Two daemons with different configured quotas for one credential.

use crate::support::daemon::{Daemon, SOON, command};
use crate::support::{World, eventually};

const REQUESTS: &str = "select coalesce(max(extract(epoch from per)), 0)::bigint from tidegate.quota_limit where name = 'requests' and amount = 10000";
const DIFFER: &str = "different quotas are configured for one credential";

#[tokio::test(flavor = "multi_thread")]
async fn p2_two_daemons_with_different_quotas_use_the_stricter_one_and_both_warn_once() {
    let world = World::new().await;
    let longer = [("TIDEGATE__CONNECTIONS__ACME__QUOTAS__REQUESTS__PER", "25s")];
    let tight = Daemon::start_with(&world, &longer).await;
    // A daemon states its limits at its start, before any run.
    eventually(SOON, async || (world.scalar::<i64>(REQUESTS).await == 25).then_some(())).await;
    let wide = Daemon::start(&world).await;
    wide.says(DIFFER).await;
    assert_eq!(world.scalar::<i64>(REQUESTS).await, 25, "the last one does not win");
    let checked = command(&world, &[], &["check"]).await;
    assert!(checked.status.success());
    assert!(String::from_utf8(checked.stderr).unwrap().contains(DIFFER));
    for (daemon, states, other) in [(&wide, "10s", "25s"), (&tight, "25s", "10s")] {
        daemon.says(DIFFER).await;
        let said = daemon.said();
        let warning = said.lines().find(|line| line.contains(DIFFER)).unwrap();
        for part in [
            format!(r#"states="{{ limit: 10000, per: {states} }}""#),
            format!(r#"other_states="{{ limit: 10000, per: {other} }}""#),
            r#"in_force="{ limit: 10000, per: 25s }""#.to_owned(),
        ] {
            assert!(warning.contains(&part), "{part}: {warning}");
        }
    }
    assert_eq!(wide.said().matches(DIFFER).count(), 1);
    tight.terminate().await;
    wide.says("resolved: one credential no longer has different quotas").await;
    eventually(SOON, async || (world.scalar::<i64>(REQUESTS).await == 10).then_some(())).await;
    drop(wide);
}
