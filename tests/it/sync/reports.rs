//! Extra reports, and the settings of a stream in a job.

use std::collections::BTreeMap;

use simulator::lynn::Account;
use simulator::{Change, Edit, Options, Rows};

use super::ago;
use crate::support::World;
use crate::support::world::Recipe;

const REPORT: &str = "0e5a7a4c-1111-4222-8333-944445555666";

#[tokio::test(flavor = "multi_thread")]
async fn an_extra_report_gets_its_own_table_that_the_reader_role_may_read() {
    let account = Account {
        extra_reports: BTreeMap::from([("agent_breaks".to_owned(), REPORT.to_owned())]),
        ..Account::default()
    };
    let world = World::with(Recipe {
        options: Options { lynn: account, ..Recipe::default().options },
        connection: vec![format!("reports: {{ Agent Breaks: {REPORT} }}")],
        streams: "[agent_breaks]",
        start: ago(2).date_naive(),
        ..Recipe::default()
    })
    .await;
    let tasks = world.sync_ok().await;
    world.assert_truth("agent_breaks", ago(2), tasks[0].last_window_end.unwrap()).await;
    let mut reader = world.database.connect().await;
    sqlx::query("set role tidegate_reader").execute(&mut reader).await.unwrap();
    let rows: i64 = sqlx::query_scalar("select count(*) from lynn.agent_breaks").fetch_one(&mut reader).await.unwrap();
    assert!(rows > 250);
    let refused = sqlx::query("delete from lynn.agent_breaks").execute(&mut reader).await;
    assert!(refused.unwrap_err().to_string().contains("permission denied"));
    assert!(sqlx::query("select * from tidegate.run").execute(&mut reader).await.is_err());
    let comment: String = world.scalar("select obj_description('lynn.agent_breaks'::regclass)").await;
    assert!(comment.contains(REPORT), "{comment}");
    let added: i64 = world.scalar("select count(*) from tidegate.schema_change where change = 'add_table'").await;
    assert_eq!(added, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_the_job_identifies_rows() {
    let world = World::with(Recipe {
        streams: "[{ name: survey_result, key: [SessionId, date] }]",
        start: ago(2).date_naive(),
        job: vec!["lookback: 3d".to_owned()],
        ..Recipe::default()
    })
    .await;
    let day = || Rows::between("survey_result", ago(1), ago(0));
    world.control().lynn().edit(Edit::Duplicate { rows: day().every(50), copies: 1, distance: 0 }).unwrap();
    world.control().lynn().change(day().every(60).first(2), Change::Remove { field: "date".to_owned() }).unwrap();
    let first = world.sync().await;
    assert!(first[0].state == "held" && first[0].error.as_deref().unwrap().contains("2 records were refused"));
    let missing: Vec<String> = sqlx::query_scalar("select reason from tidegate.rejected_record")
        .fetch_all(&world.database.pool())
        .await
        .unwrap();
    assert!(missing.len() >= 2 && missing.iter().all(|reason| reason.contains("no key field `date`")), "{missing:?}");
    let doubles: i64 = world
        .scalar("select count(*) from (select from lynn.survey_result group by session_id, date having count(*) > 1) d")
        .await;
    assert_eq!(doubles, 0, "duplicates are one row where a key is known");
    // A changed row keeps its key: it is updated in place.
    let set = Change::Set { field: "comment".to_owned(), json: "\"corrected\"".to_owned() };
    world.control().lynn().change(day().every(7).first(5), set).unwrap();
    let second = world.sync().await;
    let task = &second[0];
    // Held, because records without a key were rejected again (promise 10).
    assert_eq!((task.state.as_str(), task.rows_inserted, task.rows_deleted), ("held", 0, 0), "{task:?}");
    assert!((4..=6).contains(&task.rows_updated), "{task:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_may_set_where_new_fields_are_stored() {
    let world = World::with(Recipe {
        streams: "[{ name: navigation_marks, columns: add }, { name: survey_result, columns: extra }]",
        start: ago(1).date_naive(),
        ..Recipe::default()
    })
    .await;
    let set = Change::Set { field: "newField".to_owned(), json: "7".to_owned() };
    world.control().lynn().change(Rows::since("navigation_marks", ago(1)), set).unwrap();
    world.sync_ok().await;
    let unset: i64 =
        world.scalar("select count(*) from lynn.navigation_marks where new_field is distinct from 7").await;
    assert_eq!(unset, 0);
    let kept: i64 = world.scalar("select count(*) from lynn.survey_result where _extra ? 'SessionId'").await;
    let all: i64 = world.scalar("select count(*) from lynn.survey_result").await;
    assert!(kept == all && all >= 250, "{kept} of {all}");
    let columns: i64 =
        world.scalar("select count(*) from tidegate.table_column where table_name = 'survey_result'").await;
    assert_eq!(columns, 0);
}
