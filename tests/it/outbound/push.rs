//! `tidegate push`: what it sends, prints and refuses.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use simulator::lynn::outbound::{TEMPLATE_ID, TaskResponse};

use super::super::support::world::Recipe;
use super::{add_customers, command, push, push_world, push_world_with, received, states};

#[tokio::test(flavor = "multi_thread")]
async fn rows_become_records_in_batches_and_are_not_sent_twice() {
    let world = push_world(25, 10).await;
    let pushed = push(&world, &[]).await;
    assert_eq!((pushed.code, pushed.said.as_str()), (0, ""), "{pushed:?}");
    assert_eq!(received(&world), (1..=25).collect::<Vec<i64>>());
    assert_eq!(pushed.document["rows"]["sent"], 25);
    let states: Vec<&Value> =
        pushed.document["batches"].as_array().unwrap().iter().map(|batch| &batch["state"]).collect();
    assert_eq!(states, ["done", "done", "done"]);
    let loads = world.control().outbound().loads();
    assert_eq!(loads.iter().map(|load| load.records.len()).collect::<Vec<_>>(), [10, 10, 5]);
    assert_eq!((loads[0].campaign_id.as_str(), loads[0].template_id.as_str()), ("101", TEMPLATE_ID));
    let record = serde_json::to_value(&loads[0].records[0]).unwrap();
    let expected = json!({ "Name": "Customer 1", "Phone": "+56991", "Tags": "", "Due Date": "02/01/2026" });
    assert_eq!(record, expected, "null is an empty text, and every value is a text");

    add_customers(&world, 26, 27).await;
    let again = push(&world, &[]).await;
    assert_eq!((again.code, &again.document["rows"]["sent_before"]), (0, &25.into()), "{again:?}");
    assert_eq!(received(&world), (1..=27).collect::<Vec<i64>>());
    let stats = world.control().stats();
    assert_eq!((stats.unexpected.as_slice(), stats.violations.as_slice()), (&[][..], &[][..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_id_that_is_written_empty_is_sent_empty() {
    let world = push_world(3, 2).await;
    world.edit_config(|text| text.replace("campaign_id: \"101\"", "campaign_id: \"\""));
    let dry = command(&world, &[], &["push", "renewals", "--dry-run"]).await;
    let text = String::from_utf8(dry.stdout).unwrap();
    assert!(text.contains("campaign \"\", template"), "{text}");
    let pushed = push(&world, &[]).await;
    assert_eq!((pushed.code, &pushed.document["campaign_id"]), (0, &"".into()), "{pushed:?}");
    assert_eq!(received(&world), [1, 2, 3]);
    assert!(world.control().outbound().loads().iter().all(|load| load.campaign_id.is_empty()));
    assert_eq!(states(&world).await, vec!["done"; 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_sends_nothing_and_shows_rows_only_on_request() {
    let world = push_world(25, 10).await;
    let dry = push(&world, &["--dry-run"]).await;
    assert_eq!(
        (dry.code, &dry.document["batches"], &dry.document["rows"]["new"]),
        (0, &3.into(), &25.into()),
        "{dry:?}"
    );
    assert_eq!(dry.document["template_id"], TEMPLATE_ID);
    assert!(dry.document.get("first_rows").is_none());
    let text = command(&world, &[], &["push", "renewals", "--dry-run"]).await;
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("rows 25: 25 would be sent, in 3 batches of up to 10; 0 sent before"), "{text}");
    assert!(text.contains("campaign 101") && text.contains("Due Date (due)") && text.contains("nothing was sent"));
    assert!(!text.contains("Customer") && !text.contains("+5699"), "no row content: {text}");
    let shown = command(&world, &[], &["push", "renewals", "--dry-run", "--show-rows"]).await;
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("Name: Customer 5") && !shown.contains("Customer 6"), "{shown}");
    let alone = command(&world, &[], &["push", "renewals", "--show-rows"]).await;
    assert_eq!(alone.status.code(), Some(2));

    assert!(world.control().stats().calls.is_empty(), "not even a login");
    let traces = "select (select count(*) from tidegate.push_batch) + (select count(*) from tidegate.quota_ledger)";
    assert_eq!(world.scalar::<i64>(traces).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_ten_thousand_rows_are_sent_within_the_quota() {
    let options = Recipe::default().options.limit("requests", 10, Duration::from_secs(1));
    let world = push_world_with(10_000, 500, options, &[]).await;
    let begun = Instant::now();
    let pushed = push(&world, &[]).await;
    assert_eq!(pushed.code, 0, "{pushed:?}");
    assert_eq!(received(&world), (1..=10_000).collect::<Vec<i64>>());
    assert_eq!(world.control().outbound().records(), 10_000);
    assert_eq!(states(&world).await, vec!["done"; 20]);
    let stats = world.control().stats();
    assert_eq!((stats.calls["add_campaign_data"], stats.violation_count), (20, 0));
    assert!(begun.elapsed() >= Duration::from_secs(3), "20 loads and 20 questions at 10 a second");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_task_may_be_named_in_any_way_or_not_at_all() {
    for (response, state) in [(TaskResponse::Text, "done"), (TaskResponse::Nothing, "sent")] {
        let world = push_world(3, 2).await;
        world.control().outbound().shape(|shape| shape.task_response = response);
        let pushed = push(&world, &[]).await;
        assert_eq!(pushed.code, 0, "{pushed:?}");
        assert_eq!(states(&world).await, vec![state; 2]);
        assert_eq!(push(&world, &[]).await.document["rows"]["sent_before"], 3);
        assert_eq!(received(&world), [1, 2, 3]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_with_the_same_key_go_once() {
    let world = push_world(6, 10).await;
    world.edit_config(|text| text.replace("key: [id]", "key: [due, tags]").replace("Tags: tags", "Tags: phone"));
    let pushed = push(&world, &[]).await;
    assert_eq!(pushed.code, 1, "null is not a key");
    assert!(pushed.said.contains("error: a row has no value in `tags`, which identifies it; nothing was sent"));
    sqlx::query("update public.renewals set tags = 'x', due = date '2026-02-01' + (id % 2)::int")
        .execute(&world.database.pool())
        .await
        .unwrap();
    let pushed = push(&world, &[]).await;
    assert_eq!((pushed.code, &pushed.document["rows"]["repeated"]), (0, &4.into()), "{pushed:?}");
    assert_eq!(received(&world), [1, 2], "the first of each");
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_what_does_not_fit_the_query_is_named_before_anything_is_sent() {
    let world = push_world(3, 2).await;
    let original = std::fs::read_to_string(world.config_path().join("tidegate.yaml")).unwrap();
    for (old, new, code, said) in [
        (
            "Phone: phone",
            "Phone: phon",
            2,
            "error: jobs.renewals.push.columns.Phone: the query has no column `phon`; did you mean `phone`?\n",
        ),
        (
            "key: [id]",
            "key: [id, customer]",
            2,
            "error: jobs.renewals.push.key[1]: the query has no column `customer`; known here: id, name, phone, tags, \
             due\n",
        ),
        (
            "public.renewals order",
            "public.renewal order",
            2,
            "error: jobs.renewals.push.query: Postgres refuses it: relation \"public.renewal\" does not exist\n",
        ),
        (
            "select id, name",
            "select id, name as phone, name",
            2,
            "error: jobs.renewals.push.columns.Phone: the query has two columns `phone`; rename one of them\n",
        ),
        (
            "order by id;",
            "; delete from public.renewals",
            2,
            "error: jobs.renewals.push.query: Postgres refuses it: syntax error at or near \";\"\n",
        ),
        (
            "select id, name",
            "select id, (name::int)::text as name",
            1,
            "error: the query fails (22P02)\nhint: run the query by itself to see why; nothing was sent\n",
        ),
        (
            "select id, name",
            "select id, nextval('tidegate.run_id_seq')::text as name",
            1,
            "error: the query fails (25006)\n",
        ),
    ] {
        assert!(original.contains(old));
        world.edit_config(|_| original.replace(old, new));
        for more in [&[][..], &["--dry-run"]] {
            let pushed = push(&world, more).await;
            assert_eq!(pushed.code, code, "{new}: {pushed:?}");
            assert!(pushed.said.starts_with(said), "{new}: {}", pushed.said);
            assert!(!pushed.said.contains("Customer"), "no row content: {}", pushed.said);
        }
    }
    assert!(world.control().stats().calls.is_empty());
    assert_eq!(world.scalar::<i64>("select count(*) from public.renewals").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_query_reads_what_the_databases_user_may() {
    let world = push_world(3, 2).await;
    let role = format!("push_test_{:016x}", rand::random::<u64>());
    let pool = world.database.pool();
    let made = format!(
        "create role {role} login password 'x'; grant usage on schema tidegate, public to {role};
        grant select on all tables in schema tidegate, public to {role};
        revoke select on public.renewals from {role};"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(made)).execute(&pool).await.unwrap();
    let mut url: url::Url = world.database.url().parse().unwrap();
    url.set_username(&role).unwrap();
    url.set_password(Some("x")).unwrap();
    let env = [("TIDEGATE__DATABASE__URL", url.as_str())];
    let output = command(&world, &env, &["push", "renewals", "--dry-run"]).await;
    let said = String::from_utf8(output.stderr).unwrap();
    let gone = format!("drop owned by {role}; drop role {role}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(gone)).execute(&pool).await.unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    let denied = "jobs.renewals.push.query: Postgres refuses it: permission denied for table renewals";
    assert!(said.contains(denied), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_push_runs_a_job_that_sends_and_it_runs_no_other() {
    let world = push_world(3, 2).await;
    let run = async |args: &[&str]| {
        let output = command(&world, &[], args).await;
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let sends = "error: the job `renewals` sends rows and reads nothing: run `tidegate push renewals`\n";
    for args in [
        &["sync", "renewals"][..],
        &["plan", "renewals"],
        &["backfill", "renewals", "--from", "2026-01-01", "--to", "2026-01-02"],
        &["cursors", "reset", "renewals", "--yes"],
    ] {
        assert_eq!(run(args).await, (2, sends.to_owned()), "{args:?}");
    }
    let reads = "error: the job `lynn` has no `push` section, so it sends nothing: run `tidegate sync lynn`\n";
    assert_eq!(run(&["push", "lynn"]).await, (2, reads.to_owned()));
    assert_eq!(run(&["push", "renewal"]).await.0, 2);
    assert_eq!(run(&["sync"]).await.0, 0, "and leaves it out when nothing is named");
    assert!(received(&world).is_empty());

    assert_eq!(push(&world, &[]).await.code, 0);
    let status = command(&world, &[], &["status"]).await;
    let status = String::from_utf8(status.stdout).unwrap();
    assert!(status.contains("Pushes\n") && status.contains("renewals  done"), "{status}");
    let check = command(&world, &[], &["check", "--offline"]).await;
    assert!(String::from_utf8(check.stdout).unwrap().contains("none: `tidegate push` sends its rows"));
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_no_row_and_no_secret_is_printed_logged_or_kept() {
    let world = push_world(5, 2).await;
    let env = [("TIDEGATE__LOG__LEVEL", "trace")];
    let output = command(&world, &env, &["push", "renewals"]).await;
    assert!(output.status.success());
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let kept =
        "select coalesce(string_agg(b::text || r::text, ' '), '') from tidegate.push_batch b, tidegate.push_row r";
    said += &world.scalar::<String>(kept).await;
    let account = simulator::lynn::Account::default();
    for secret in ["Customer 1", "+5699", account.access_token.as_str(), account.access_token_secret.as_str(), "eyJhb"]
    {
        assert!(!said.contains(secret), "{secret}: {said}");
    }
}
