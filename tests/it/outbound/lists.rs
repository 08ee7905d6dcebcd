//! The lists: they are read as a whole, in any likely form, and changes are applied.

use std::time::Duration;

use simulator::lynn::outbound::{ListShape, listed};
use simulator::{Action, Change, Fault, Match, Rows, Vendor};

use super::super::support::ago;
use super::super::support::world::Recipe;
use super::{command, rows, sync, truth, world, world_with};

#[tokio::test(flavor = "multi_thread")]
async fn p1_lists_of_any_form_contain_what_the_vendor_lists() {
    for (lists, posted) in [(ListShape::Bare, false), (ListShape::Wrapped, true)] {
        let verbs = if posted { "methods: { get_campaigns: POST, get_contacts: POST }" } else { "methods: {}" };
        let world = world_with("[campaigns, contacts]", Recipe::default().options, &[verbs]).await;
        world.control().outbound().shape(|shape| (shape.lists, shape.lists_are_posted) = (lists, posted));
        for again in [false, true] {
            let tasks = sync(&world).await;
            for task in &tasks {
                let listed = truth(&world, &task.stream);
                assert_eq!(rows(&world, &task.stream).await, listed, "{}", task.stream);
                let unchanged = if again { listed.len() } else { 0 };
                assert_eq!(task.rows_unchanged, i64::try_from(unchanged).unwrap(), "{}", task.stream);
            }
        }
        assert_eq!(rows(&world, "contacts").await.len(), 40);
        let stats = world.control().stats();
        assert_eq!((stats.calls["get_campaigns"], stats.calls["get_contacts"]), (2, 2));
        assert_eq!((stats.tokens_minted, stats.calls.get("create_token")), (2, None), "of its own family");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_a_list_that_shrinks_sharply_or_is_empty_marks_nothing_until_it_is_released() {
    let world = world("[contacts]").await;
    sync(&world).await;
    let (from, to) = listed();
    let data = world.control().outbound().data();
    let gone = "_deleted_at is not null";
    // 20 of 40, then none.
    for every in [2, 1] {
        data.late(Rows::between("contacts", from, to).every(every)).unwrap();
        let task = world.sync().await.remove(0);
        assert_eq!((task.state.as_str(), task.rows_deleted), ("held", 0), "{task:?}");
        assert_eq!((rows(&world, "contacts").await.len(), world.rows_where("contacts", gone).await.len()), (40, 0));
    }
    let output = command(&world, &[], &["held"]).await;
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("the list") && said.contains("none of 40 rows"), "{said}");
    assert!(command(&world, &[], &["held", "release", "lynn", "--stream", "contacts"]).await.status.success());
    sync(&world).await;
    assert_eq!((rows(&world, "contacts").await.len(), world.rows_where("contacts", gone).await.len()), (0, 40));
    // If all rows are marked, a reading cannot remove any; a record that is listed again is unmarked.
    sync(&world).await;
    data.release_late();
    sync(&world).await;
    assert_eq!(rows(&world, "contacts").await.len(), 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_rows_that_left_the_list_are_marked_and_changed_rows_are_as_last_listed() {
    let world = world("[contacts]").await;
    sync(&world).await;
    let (from, to) = listed();
    let data = world.control().outbound().data();
    let all = || Rows::between("contacts", from, to);
    data.vanish(all().every(8)).unwrap();
    data.late(all().every(9)).unwrap();
    data.insert("contacts", from + chrono::TimeDelta::days(30)).unwrap();
    data.change(all().every(7), Change::Set { field: "fullName".into(), json: "\"renamed\"".into() }).unwrap();
    data.change(all().every(5), Change::Set { field: "newField".into(), json: "{\"a\":1}".into() }).unwrap();
    data.change(all().every(6), Change::StringToObject { field: "channel".into() }).unwrap();
    sync(&world).await;
    let gone = world.rows_where("contacts", "_deleted_at is not null").await.len();
    assert_eq!((gone, rows(&world, "contacts").await.len()), (5 + 4, 40 - 9 + 1));
    let renamed: i64 =
        world.scalar("select count(*) from lynn.contacts where full_name = 'renamed' and _deleted_at is null").await;
    assert_eq!(renamed, 5 + 1, "the one that is new is concerned by every edit");
    let kept: i64 = world.scalar("select count(*) from lynn.contacts where new_field_a = 1").await;
    assert_eq!(kept, 7 + 1, "a new field gets a column, flattened");

    data.release_late();
    sync(&world).await;
    assert_eq!(rows(&world, "contacts").await.len(), 40 - 5 + 1, "who is listed again is there again");
    let twice: i64 = world.scalar("select count(*) - count(distinct id) from lynn.contacts").await;
    assert_eq!(twice, 0, "an id is one row, whatever else changes");
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_both_families_of_a_credential_share_its_quota_and_none_of_its_tokens() {
    let options = Recipe::default().options.limit("requests", 1, Duration::from_millis(100)).limit(
        "create_token",
        2,
        Duration::from_secs(1),
    );
    let world = world_with("[campaigns, contacts]", options, &[]).await;
    world.edit_config(|text| {
        let (head, jobs) = text.split_once("jobs:\n").unwrap();
        let (before, acme) = head.split_once("  acme:\n").unwrap();
        let other: Vec<&str> =
            acme.lines().filter(|line| !line.contains("enabled_streams") && !line.contains("polling")).collect();
        let other = other.join("\n").replace("lynn_outbound", "lynn_reporting");
        let start = ago(0).date_naive();
        format!(
            "{before}  acme:\n{acme}  reports:\n{other}\njobs:\n{jobs}  marks:\n    connection: reports\n    \
             streams: [navigation_marks, survey_result]\n    start: {start}\n"
        )
    });
    let output = command(&world, &[], &["sync"]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(world.scalar::<i64>("select count(*) from tidegate.quota_ledger").await, 1);
    let stats = world.control().stats();
    assert_eq!((stats.violations.as_slice(), stats.unexpected.as_slice()), (&[][..], &[][..]));
    assert_eq!((stats.calls["create_token"], stats.calls["outbound_create_token"]), (1, 1));
    assert!(stats.limits["requests"].counted >= 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_expires_is_renewed_once_and_faults_that_pass_are_sat_out() {
    let world = world("[campaigns, contacts]").await;
    sync(&world).await;
    world.control().expire_tokens();
    let control = world.control();
    for action in [Action::TokenExpired, Action::Status { status: 503 }, Action::Cut, Action::HtmlWith200] {
        control.mischief(Fault::new(Match::report("contacts"), action));
    }
    sync(&world).await;
    assert_eq!(control.pending(), 0);
    assert_eq!(rows(&world, "contacts").await, truth(&world, "contacts"));
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_an_unexpected_429_is_waited_for() {
    let world = world("[contacts]").await;
    let wording = simulator::Wording::Text;
    world.control().next(Match::report("contacts"), Action::TooMany { seconds: 1, wording, header: false });
    let begun = std::time::Instant::now();
    sync(&world).await;
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!(rows(&world, "contacts").await.len(), 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_without_an_id_is_a_row_by_its_content() {
    let world = world("[campaigns]").await;
    let (from, to) = listed();
    let data = world.control().data(Vendor::LynnOutbound);
    data.change(Rows::between("campaigns", from, to), Change::Remove { field: "campaignId".into() }).unwrap();
    sync(&world).await;
    sync(&world).await;
    assert_eq!(rows(&world, "campaigns").await, truth(&world, "campaigns"));
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_a_response_without_a_body_is_an_empty_list() {
    let world = world("[campaigns, contacts, dnd_contacts]").await;
    for (list, action, times) in [("campaigns", Action::NoContent, 1), ("contacts", Action::EmptyBody, 2)] {
        world.control().mischief(Fault::new(Match::report(list), action).times(times));
    }
    // One contact in forty has no fields, which is not an error.
    world.control().next(Match::endpoint("get_dnd_contact"), Action::NoContent);
    sync(&world).await;
    assert_eq!(world.control().pending(), 0);
    assert!(rows(&world, "campaigns").await.is_empty() && !rows(&world, "dnd_contacts").await.is_empty());
    sync(&world).await;
    for list in ["campaigns", "contacts"] {
        assert_eq!(rows(&world, list).await, truth(&world, list), "{list}: no trace remains");
    }
}
