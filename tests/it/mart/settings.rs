//! Processes with different configurations on one database: which settings the views have.

use tidegate::mart::{Refresh, Role, Settings, Views};

use super::{Mart, natural};
use crate::support::daemon::{Daemon, SOON, command};
use crate::support::world::Recipe;
use crate::support::{World, ago, eventually};

const ZONE: &str = "TIDEGATE__MART__TIMEZONE";
const WARNING: &str = "the views of the mart keep settings that another process applied";
const MADE: &str = "select string_agg(made_at::text, ',' order by name) from tidegate.mart_view";

fn of_zone(timezone: chrono_tz::Tz) -> Settings {
    Settings { timezone, ..Settings::default() }
}

fn lima() -> Settings {
    of_zone(chrono_tz::America::Lima)
}

fn tokyo() -> Settings {
    of_zone(chrono_tz::Asia::Tokyo)
}

impl Mart {
    /// The zones in the views with days.
    async fn zone(&self) -> Option<String> {
        self.text(
            "select string_agg(zone, ' ' order by zone)
            from unnest(array['America/Lima', 'Asia/Tokyo', 'Europe/Madrid']) as zone
            where exists (
                select from unnest(array['conversations', 'messages', 'survey_responses']) as view
                where pg_get_viewdef(to_regclass('mart.' || view)) like '%' || zone || '%'
            )",
        )
        .await
    }

    async fn end(&self, daemon: &str) {
        self.run(format!("delete from tidegate.instance where owner = '{daemon}'")).await;
    }
}

#[tokio::test]
async fn p12_the_daemon_that_started_last_decides_once_and_the_others_follow() {
    let mart = Mart::without_views().await;
    let (one, two) = (Views::of(Role::Daemon, "one"), Views::of(Role::Daemon, "two"));
    one.refresh(&mart.pool, &lima()).await;
    assert_eq!(mart.zone().await.as_deref(), Some("America/Lima"));
    two.refresh(&mart.pool, &tokyo()).await;
    assert_eq!(mart.zone().await.as_deref(), Some("Asia/Tokyo"));
    let made = mart.text(MADE).await;
    for _ in 0..3 {
        one.refresh(&mart.pool, &lima()).await;
        two.refresh(&mart.pool, &tokyo()).await;
    }
    assert_eq!(mart.text(MADE).await, made);

    mart.add_columns(natural).await;
    one.refresh(&mart.pool, &lima()).await;
    assert_ne!(mart.text(MADE).await, made, "it makes the views over new columns by the settings in force");
    assert_eq!(mart.zone().await.as_deref(), Some("Asia/Tokyo"));
    let made = mart.text(MADE).await;
    two.refresh(&mart.pool, &tokyo()).await;
    assert_eq!(mart.text(MADE).await, made);

    one.refresh(&mart.pool, &of_zone(chrono_tz::Europe::Madrid)).await;
    assert_eq!(mart.zone().await.as_deref(), Some("Europe/Madrid"), "its configuration changed");
    two.refresh(&mart.pool, &tokyo()).await;
    assert_eq!(mart.zone().await.as_deref(), Some("Europe/Madrid"));
    mart.end("one").await;
    two.refresh(&mart.pool, &tokyo()).await;
    assert_eq!(mart.zone().await.as_deref(), Some("Asia/Tokyo"), "the other daemon has ended");
}

#[tokio::test]
async fn p12_a_daemon_that_ends_before_others_look_leaves_no_view_with_its_settings() {
    for version in ["version", "'another'"] {
        let mart = Mart::without_views().await;
        mart.add_columns(natural).await;
        let own = Settings { materialize: true, ..lima() };
        let one = Views::of(Role::Daemon, "one");
        let pass = async || {
            one.refresh(&mart.pool, &own).await;
            one.store(&mart.pool, &own, Refresh::Due).await;
        };
        pass().await;
        let stored = "select string_agg(relation, ' ' order by relation) from mart.stored_relations";
        let before = mart.text(stored).await;
        assert!(before.is_some());

        Views::of(Role::Daemon, "two").refresh(&mart.pool, &tokyo()).await;
        assert_eq!(mart.zone().await.as_deref(), Some("Asia/Tokyo"));
        mart.run(format!("update tidegate.mart_view set version = {version}")).await;
        mart.end("two").await;
        if version == "version" {
            // Some views have to be made in any case.
            mart.run("alter table khoros.response drop column response_id cascade").await;
        }
        pass().await;
        assert_eq!(mart.zone().await, None, "{version}: views read tables again, and none computes days of Tokyo");
        assert_eq!(mart.text(stored).await, before, "{version}");
        assert_eq!(
            mart.text("select settings ->> 'timezone' from tidegate.mart_setting").await.unwrap(),
            "America/Lima"
        );
        let made = mart.text(MADE).await;
        pass().await;
        assert_eq!(mart.text(MADE).await, made, "{version}");
    }
}

#[tokio::test]
async fn p12_a_view_of_another_version_stays_and_an_outdated_one_of_this_version_does_not() {
    let mart = Mart::without_views().await;
    let one = Views::of(Role::Daemon, "one");
    one.refresh(&mart.pool, &lima()).await;
    let made_by = async |version: &str| {
        mart.run(format!(
            "begin;
            set local search_path to pg_catalog;
            do $$ begin execute format(
                'create or replace view mart.conversations as select * from (%s) as another',
                rtrim(pg_get_viewdef('mart.conversations'::regclass), ';')
            ); end $$;
            update tidegate.mart_view
            set made_from = 'another', version = {version}, definition = md5(pg_get_viewdef('mart.conversations'::regclass))
            where name = 'conversations';
            commit"
        ))
        .await;
    };
    let is_there = "select (pg_get_viewdef('mart.conversations'::regclass) like '%another%')::text";
    made_by("'another'").await;
    for _ in 0..2 {
        one.refresh(&mart.pool, &lima()).await;
        assert_eq!(mart.text(is_there).await.unwrap(), "true");
    }
    one.refresh(&mart.pool, &of_zone(chrono_tz::Europe::Madrid)).await;
    assert_eq!(mart.text(is_there).await.unwrap(), "false", "it has the previous settings");

    // As if a command had read the columns, then waited for its turn, and ended.
    made_by("version").await;
    one.refresh(&mart.pool, &of_zone(chrono_tz::Europe::Madrid)).await;
    assert_eq!(mart.text(is_there).await.unwrap(), "false", "nobody else would make it anew");
}

#[tokio::test]
async fn a_revision_is_not_used_again_after_the_settings_were_deleted() {
    let mart = Mart::without_views().await;
    let revision = "select revision from tidegate.mart_setting";
    let one = Views::of(Role::Daemon, "one");
    one.refresh(&mart.pool, &lima()).await;
    let before = mart.count(revision).await;
    mart.run("delete from tidegate.mart_setting").await;
    Views::of(Role::Daemon, "two").refresh(&mart.pool, &tokyo()).await;
    assert!(mart.count(revision).await > before);
    mart.end("two").await;
    one.refresh(&mart.pool, &lima()).await;
    assert_eq!(mart.zone().await.as_deref(), Some("America/Lima"));
}

#[tokio::test]
async fn p12_a_command_leaves_the_settings_of_a_running_daemon_alone_and_migrate_applies_its_own() {
    let mart = Mart::without_views().await;
    let command = async |settings: Settings| {
        let views = Views::default();
        views.refresh(&mart.pool, &settings).await;
        views.refresh(&mart.pool, &settings).await;
        mart.zone().await.unwrap()
    };
    assert_eq!(command(lima()).await, "America/Lima", "there is no daemon");
    let daemon = Views::of(Role::Daemon, "one");
    daemon.refresh(&mart.pool, &tokyo()).await;
    assert_eq!(command(lima()).await, "Asia/Tokyo");
    mart.add_columns(natural).await;
    assert_eq!(command(lima()).await, "Asia/Tokyo");

    Views::of(Role::Migrate, "migrate").refresh(&mart.pool, &lima()).await;
    assert_eq!(mart.zone().await.as_deref(), Some("America/Lima"));
    daemon.refresh(&mart.pool, &tokyo()).await;
    assert_eq!(mart.zone().await.as_deref(), Some("America/Lima"));
    assert_eq!(command(tokyo()).await, "America/Lima", "the daemon has taken them over");

    mart.end("one").await;
    assert_eq!(command(tokyo()).await, "Asia/Tokyo");
}

#[tokio::test]
async fn settings_are_stored_as_they_are_and_unknown_ones_of_a_newer_version_are_replaced() {
    let mart = Mart::without_views().await;
    let mut settings = Settings { materialize: true, ..tokyo() };
    settings.columns.insert(("khoros.conversation".to_owned(), "status".to_owned()), "a\"b".to_owned());
    settings.channels.insert(("lynn".to_owned(), "26".to_owned()), "whatsapp".to_owned());
    Views::of(Role::Daemon, "one").refresh(&mart.pool, &settings).await;
    let stored = mart.text("select settings::text from tidegate.mart_setting").await.unwrap();
    let expected = r#"{"fields": {"khoros.conversation": {"status": "a\"b"}}, "channels": {"lynn": {"26": "whatsapp"}}, "timezone": "Asia/Tokyo", "materialize": true}"#;
    assert_eq!(stored, expected);
    let revision = "select revision from tidegate.mart_setting";
    let before = mart.count(revision).await;
    Views::of(Role::Daemon, "two").refresh(&mart.pool, &settings).await;
    assert_eq!(mart.count(revision).await, before, "they are equal");

    mart.run("update tidegate.mart_setting set settings = settings || '{\"later\": 1}'").await;
    Views::default().refresh(&mart.pool, &lima()).await;
    assert_eq!(mart.zone().await.as_deref(), Some("America/Lima"));
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_a_sync_with_another_zone_keeps_the_zone_of_the_daemon_and_says_so_once() {
    let world = World::with(Recipe::of_undocumented_report()).await;
    let zone = "select coalesce(pg_get_viewdef(to_regclass('mart.conversations')) like '%America/Lima%', false)";
    let daemon = Daemon::start_with(&world, &[(ZONE, "America/Lima")]).await;
    eventually(SOON, async || world.scalar::<bool>(zone).await.then_some(())).await;
    let output = command(&world, &[], &["sync"]).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert_eq!(said.matches(WARNING).count(), 1, "{said}");
    assert!(
        said.contains("in force: mart.timezone: America/Lima; in this configuration: mart.timezone: UTC"),
        "{said}"
    );
    assert!(world.scalar::<bool>(zone).await);
    let read: i64 = world.scalar("select count(*) from mart.conversations where started_at is not null").await;
    assert!(read > 0, "the views follow the columns that the run added");
    let (_, _, said) = daemon.terminate().await;
    assert!(!said.contains(WARNING), "{said}");

    assert!(command(&world, &[], &["sync"]).await.status.success());
    assert!(!world.scalar::<bool>(zone).await, "the daemon has ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_two_daemons_with_different_zones_do_not_replace_the_views_in_turn() {
    let world = World::with(Recipe { start: ago(1).date_naive(), ..Recipe::default() }).await;
    let is = async |zone: &str| -> bool {
        let sql = format!(
            "select coalesce(pg_get_viewdef(to_regclass('mart.conversations')) like '%{zone}%', false)
            and (select count(*) > 15 from tidegate.mart_view)"
        );
        world.scalar(&sql).await
    };
    let one = Daemon::start_with(&world, &[(ZONE, "America/Lima")]).await;
    let applied = "select settings ->> 'timezone' from tidegate.mart_setting";
    eventually(SOON, async || is("America/Lima").await.then_some(())).await;
    let two = Daemon::start_with(&world, &[(ZONE, "Asia/Tokyo")]).await;
    eventually(SOON, async || is("Asia/Tokyo").await.then_some(())).await;
    let revision: i64 = world.scalar("select revision from tidegate.mart_setting").await;
    // The views are compared every 30 s.
    eventually(SOON * 2, async || one.said().contains(WARNING).then_some(())).await;
    let said = one.said();
    assert!(
        said.contains("in force: mart.timezone: Asia/Tokyo; in this configuration: mart.timezone: America/Lima"),
        "{said}"
    );
    assert!(is("Asia/Tokyo").await);
    assert_eq!(world.scalar::<String>(applied).await, "Asia/Tokyo");
    assert_eq!(world.scalar::<i64>("select revision from tidegate.mart_setting").await, revision);
    assert!(!two.said().contains(WARNING), "{}", two.said());

    let output = command(&world, &[(ZONE, "America/Lima")], &["mart"]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("days are those of Asia/Tokyo\n\nthe views have the settings that "), "{text}");
    let said = "the fields below follow this configuration, not the settings in force\n\nTABLE ";
    assert!(text.contains(said), "{text}");
    let line = text.lines().find(|line| line.starts_with("mart.timezone")).unwrap();
    assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["mart.timezone", "Asia/Tokyo", "America/Lima"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_the_views_of_a_daemon_that_ran_for_seconds_become_those_of_the_one_that_runs() {
    let world = World::with(Recipe { start: ago(1).date_naive(), ..Recipe::default() }).await;
    let is = async |zone: &str| -> bool {
        let views = ["conversations", "messages", "survey_responses"];
        let has =
            views.map(|view| format!("coalesce(pg_get_viewdef(to_regclass('mart.{view}')) like '%{zone}%', false)"));
        world.scalar(&format!("select {}", has.join(" and "))).await
    };
    let one = Daemon::start_with(&world, &[(ZONE, "America/Lima")]).await;
    eventually(SOON, async || is("America/Lima").await.then_some(())).await;
    let two = Daemon::start_with(&world, &[(ZONE, "Asia/Tokyo")]).await;
    eventually(SOON, async || is("Asia/Tokyo").await.then_some(())).await;
    two.terminate().await;
    // The views are compared every 30 s.
    eventually(SOON * 2, async || is("America/Lima").await.then_some(())).await;
    let applied = "select settings ->> 'timezone' from tidegate.mart_setting";
    assert_eq!(world.scalar::<String>(applied).await, "America/Lima");
    let said = one.said();
    assert!(!said.contains("another version of Tidegate"), "{said}");
}
