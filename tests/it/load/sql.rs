//! The generated SQL, word for word, and how Postgres goes about it.

use sqlx::AssertSqlSafe;
use tidegate::load::merge::MergeSql;

use super::plant::{Plant, numbered, whole};

async fn statements(plant: &Plant, latest_wins: bool) -> String {
    let claim = plant.claim().await;
    let reader = plant.resumed(&claim, whole(0)).await;
    let sql = MergeSql::new(&reader.loader.table, latest_wins);
    let named = [
        ("create_stage", &sql.create_stage),
        ("clear_stage", &sql.clear_stage),
        ("drop_shared", &sql.drop_shared),
        ("present_before", &sql.present_before),
        ("present_among", &sql.present_among),
        ("seen_before", &sql.seen_before),
        ("rename_staged", &sql.rename_staged),
        ("merge", &sql.merge),
        ("note_seen", &sql.note_seen),
        ("delete_unstaged", &sql.delete_unstaged),
        ("delete_unseen", &sql.delete_unseen),
    ];
    let text: Vec<String> = named.iter().map(|(name, sql)| format!("-- {name}\n{sql};\n")).collect();
    text.join("\n")
}

#[tokio::test]
async fn the_sql_of_a_documented_table_is_this() {
    let plant = Plant::documented().await;
    insta::assert_snapshot!(statements(&plant, false).await);
}

#[tokio::test]
async fn the_sql_of_a_table_that_grew_and_has_a_key_is_this() {
    let plant = Plant::new().await;
    plant.read(whole(0), &[vec![r#"{"id":1,"say \"hi\"":"x","at":"2024-03-01T00:00:00Z"}"#.to_owned()]]).await;
    insta::assert_snapshot!(statements(&plant, true).await);
}

#[tokio::test]
async fn what_vanished_is_found_without_comparing_every_row_with_every_other() {
    let plant = Plant::new().await;
    plant.read(whole(0), &[numbered(0..500)]).await;
    let claim = plant.claim().await;
    let reader = plant.resumed(&claim, whole(0)).await;
    let sql = MergeSql::new(&reader.loader.table, false);
    let mut session = plant.database.connect().await;
    sqlx::raw_sql(AssertSqlSafe(sql.create_stage.clone())).execute(&mut session).await.unwrap();
    for (statement, values) in [
        (sql.delete_unstaged, "'acme', timestamptz '2024-03-01Z', timestamptz '2024-03-02Z'"),
        (sql.delete_unseen, "'acme', timestamptz '2024-03-01Z', timestamptz '2024-03-02Z', bigint '1'"),
    ] {
        let mut statement = statement;
        for (number, value) in (1..).zip(values.split(", ")) {
            statement = statement.replace(&format!("${number}"), value);
        }
        let plan: Vec<String> =
            sqlx::query_scalar(AssertSqlSafe(format!("explain {statement}"))).fetch_all(&mut session).await.unwrap();
        assert!(plan.iter().any(|line| line.contains("Anti Join")), "{}", plan.join("\n"));
        assert!(!plan.iter().any(|line| line.contains("SubPlan")), "{}", plan.join("\n"));
    }
}
