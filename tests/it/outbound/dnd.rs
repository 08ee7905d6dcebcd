//! The blacklist, which is read contact by contact.

use std::collections::BTreeMap;

use serde_json::Value;
use simulator::lynn::outbound::listed;
use simulator::{Action, Match, Point, Rows};

use super::super::support::world::Recipe;
use super::{LONG, Process, World, eventually, fails, reached, rows, sync, truth, world, world_with};

/// What the vendor has on its blacklist: contact and campaign.
fn blacklist(world: &World) -> Vec<(String, String)> {
    let of = |row: String| -> (String, String) {
        let row: BTreeMap<String, Value> = serde_json::from_str(&row).unwrap();
        (row["contact_id"].as_str().unwrap().to_owned(), row["campaign_id"].to_string())
    };
    let mut pairs: Vec<_> = truth(world, "dnd_contacts").into_iter().map(of).collect();
    pairs.sort();
    pairs
}

async fn found(world: &World) -> Vec<(String, String)> {
    let of = |row: String| -> (String, String) {
        let row: BTreeMap<String, Value> = serde_json::from_str(&row).unwrap();
        (row["contact_id"].as_str().unwrap().to_owned(), row["campaign_id"].as_str().unwrap().to_owned())
    };
    let mut pairs: Vec<_> = rows(world, "dnd_contacts").await.into_iter().map(of).collect();
    pairs.sort();
    pairs
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_every_contact_is_requested_once_and_its_entries_are_rows() {
    let world = world("[dnd_contacts]").await;
    sync(&world).await;
    assert_eq!(found(&world).await, blacklist(&world));
    assert_eq!(found(&world).await.len(), 28);
    let stats = world.control().stats();
    assert_eq!((stats.calls["get_contacts"], stats.calls["get_dnd_contact"]), (1, 40));
    let category: i64 = world.scalar("select count(*) from lynn.dnd_contacts where category is not null").await;
    assert_eq!(category, 28, "what the vendor says of an entry is kept");

    // One entry is removed, and a contact is removed with both of its entries.
    let (from, to) = listed();
    let data = world.control().outbound().data();
    data.vanish(Rows::between("dnd_contacts", from, to).first(1)).unwrap();
    data.vanish(Rows::between("contacts", from, to).every(4).first(1)).unwrap();
    sync(&world).await;
    let gone: i64 = world.scalar("select count(*) from lynn.dnd_contacts where _deleted_at is not null").await;
    assert_eq!(gone, 1 + 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_killed_reading_continues_with_the_contact_at_which_it_stopped() {
    let world = world("[dnd_contacts]").await;
    let hold = world.control().hold_after(Match::endpoint("get_dnd_contact"), 15, Point::BeforeResponse);
    let mut process = Process::start(&world.config_path(), &["sync"], &[]);
    reached(&hold, &mut process).await;
    // The previous page may still be loading.
    eventually(LONG, async || {
        let query = "select coalesce(max(reading_pages), 0) from tidegate.slice";
        (world.scalar::<i32>(query).await == 16).then_some(())
    })
    .await;
    process.kill();
    hold.release();
    sqlx::query("update tidegate.run set lease_until = clock_timestamp() - interval '1 ms'")
        .execute(&world.database.pool())
        .await
        .unwrap();
    sync(&world).await;
    let stats = world.control().stats();
    assert_eq!(
        (stats.calls["get_contacts"], stats.calls["get_dnd_contact"]),
        (2, 41),
        "only the held call is repeated"
    );
    assert_eq!(found(&world).await, blacklist(&world));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contact_that_disappears_during_the_reading_is_omitted() {
    let world = world("[dnd_contacts]").await;
    let (from, to) = listed();
    let hold = world.control().hold_after(Match::endpoint("get_dnd_contact"), 0, Point::BeforeResponse);
    let control = world.control();
    let vanishing = tokio::spawn(async move {
        hold.reached().await;
        control.outbound().data().vanish(Rows::between("contacts", from, to).every(20)).unwrap();
        hold.release();
    });
    sync(&world).await;
    vanishing.await.unwrap();
    let stats = world.control().stats();
    assert!(stats.calls["get_contacts"] > 1, "a 404 is looked into");
    let left: Vec<_> = truth(&world, "contacts");
    assert_eq!(left.len(), 38);
    let listed = |(contact, _): &(String, String)| left.iter().any(|row| row.contains(contact.as_str()));
    let expected: Vec<_> = blacklist(&world).into_iter().filter(listed).collect();
    let found: Vec<_> = found(&world).await.into_iter().filter(listed).collect();
    assert_eq!(found, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_404_for_a_listed_contact_is_an_error_and_not_an_empty_blacklist() {
    let world = world("[dnd_contacts]").await;
    world.control().next(Match::endpoint("get_dnd_contact"), Action::Status { status: 404 });
    let (error, hint) = fails(&world).await;
    assert_eq!(error, "the vendor does not serve the report (status 404)");
    assert!(hint.contains("`paths`"), "{hint}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_contact_in_the_path_one_call_lists_all() {
    let path = "paths: { get_dnd_contacts: \"/api/LynnService/GetDnDContact/{tenant}\" }";
    let world = world_with("[dnd_contacts]", Recipe::default().options, &[path]).await;
    sync(&world).await;
    assert_eq!(found(&world).await, blacklist(&world));
    let stats = world.control().stats();
    assert_eq!((stats.calls.get("get_contacts"), stats.calls["get_dnd_contact"]), (None, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_may_be_nothing_but_ids_of_campaigns() {
    let world = world("[dnd_contacts]").await;
    world.control().outbound().shape(|shape| shape.dnd_is_ids = true);
    sync(&world).await;
    assert_eq!(found(&world).await, blacklist(&world));
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_entries_that_cannot_be_distinguished_fail_the_list_with_the_reason() {
    for (body, said) in [
        (
            r#"[{"contactId":"somebody-else","campaignId":1}]"#,
            "the blacklist of another contact than the requested one",
        ),
        (r#"[{"category":"x"}]"#, "a blacklist with an entry that names no campaign or no contact"),
        ("[null]", "a blacklist with an entry that names no campaign or no contact"),
    ] {
        let world = world("[dnd_contacts]").await;
        let response = Action::Json { status: 200, body: body.to_owned() };
        world.control().mischief(simulator::Fault::new(Match::endpoint("get_dnd_contact"), response).times(9).after(3));
        let (error, _) = fails(&world).await;
        assert!(error.contains(said), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contact_without_an_id_is_reported_with_the_setting_to_change() {
    let field = "contact_id_field: createdAt";
    let world = world_with("[dnd_contacts]", Recipe::default().options, &["contact_id_field: extension"]).await;
    let (error, _) = fails(&world).await;
    assert!(error.contains("40 of 40 contacts have no id: set `contact_id_field`"), "{error}");
    world.edit_config(|text| text.replace("contact_id_field: extension", field));
    let (error, _) = fails(&world).await;
    assert!(error.contains("status 404"), "asked for by another id: {error}");
}
