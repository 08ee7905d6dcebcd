//! The text of the generated SQL, and how Postgres plans it.

use sqlx::AssertSqlSafe;
use tidegate::load::sql::MergeSql;

use super::plant::{Plant, numbered, whole};

async fn statements(plant: &Plant, latest_wins: bool) -> String {
    let claim = plant.claim().await;
    let reader = plant.resumed(&claim, whole(0)).await;
    let sql = MergeSql::new(&reader.loader.table, latest_wins);
    let (vanish, duplicates) = (sql.vanish.unwrap(), sql.duplicates);
    let duplicates = duplicates.iter().flat_map(|duplicates| {
        [
            ("present_before", &duplicates.present_before),
            ("present_among", &duplicates.present_among),
            ("seen_before", &duplicates.seen_before),
            ("rename_staged", &duplicates.rename_staged),
        ]
    });
    let named: Vec<(&str, &String)> = [("create_stage", &sql.create_stage), ("clear_stage", &sql.clear_stage)]
        .into_iter()
        .chain(sql.drop_shared.as_ref().map(|sql| ("drop_shared", sql)))
        .chain(duplicates)
        .chain([
            ("merge", &sql.merge),
            ("note_seen", &sql.note_seen),
            ("vanish.unstaged", &vanish.unstaged),
            ("vanish.unseen", &vanish.unseen),
        ])
        .collect();
    let text: Vec<String> = named.iter().map(|(name, sql)| format!("-- {name}\n{sql};\n")).collect();
    text.join("\n")
}

#[tokio::test]
async fn the_sql_of_a_documented_table() {
    let plant = Plant::documented().await;
    insta::assert_snapshot!(statements(&plant, false).await);
}

#[tokio::test]
async fn the_sql_of_a_table_that_grew_and_has_a_key() {
    let plant = Plant::new().await;
    plant.read(whole(0), &[vec![r#"{"id":1,"say \"hi\"":"x","at":"2024-03-01T00:00:00Z"}"#.to_owned()]]).await;
    insta::assert_snapshot!(statements(&plant, true).await);
}

#[tokio::test]
async fn vanished_rows_are_found_with_an_anti_join() {
    let plant = Plant::new().await;
    plant.read(whole(0), &[numbered(0..500)]).await;
    let claim = plant.claim().await;
    let reader = plant.resumed(&claim, whole(0)).await;
    let sql = MergeSql::new(&reader.loader.table, false);
    let vanish = sql.vanish.unwrap();
    let mut session = plant.database.connect().await;
    sqlx::raw_sql(AssertSqlSafe(sql.create_stage.clone())).execute(&mut session).await.unwrap();
    for (statement, values) in [
        (vanish.unstaged, "'acme', timestamptz '2024-03-01Z', timestamptz '2024-03-02Z', bigint '7'"),
        (vanish.unseen, "'acme', timestamptz '2024-03-01Z', timestamptz '2024-03-02Z', bigint '7', bigint '1'"),
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
