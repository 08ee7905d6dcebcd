//! The text of the generated SQL, and how Postgres plans it.

use sqlx::AssertSqlSafe;
use tidegate::catalogue::Mode;
use tidegate::load::sql::{Merge, MergeSql};
use tidegate::store::distribution::Distribution;

use super::modes::{everything, list, plant};
use super::plant::{Plant, numbered, whole};

async fn statements(plant: &Plant, latest_wins: bool) -> String {
    let claim = plant.claim().await;
    let reader = plant.resumed(&claim, whole(0)).await;
    let sql = MergeSql::new(&reader.loader.table, latest_wins);
    let (vanish, duplicates) = (sql.vanish.clone().unwrap(), sql.duplicates.clone());
    let shared =
        sql.shared.iter().flat_map(|shared| [("shared.find", &shared.find), ("shared.delete", &shared.delete)]);
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
        .chain(shared)
        .chain(duplicates)
        .chain(merge(&sql.merge))
        .chain([
            ("note_seen", &sql.note_seen),
            ("vanish.unstaged", &vanish.unstaged),
            ("vanish.unseen", &vanish.unseen),
        ])
        .collect();
    shown(&named)
}

fn merge(merge: &Merge) -> Vec<(&'static str, &String)> {
    match merge {
        Merge::Joined(merge) => vec![("merge", merge)],
        Merge::Apart(apart) => {
            vec![("merge.insert", &apart.insert), ("merge.update", &apart.update), ("merge.staged", &apart.staged)]
        }
    }
}

fn shown(named: &[(&str, &String)]) -> String {
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

/// What differs for a table that is distributed.
#[tokio::test]
async fn the_sql_that_writes_to_distributed_tables() {
    let plants = [
        (Plant::documented().await.in_form(Distribution::Citus), false),
        (list().await.in_form(Distribution::Citus), true),
    ];
    let mut text = Vec::new();
    for (plant, latest_wins) in plants {
        let claim = plant.claim().await;
        let reader = plant.resumed(&claim, whole(0)).await;
        let sql = MergeSql::new(&reader.loader.table, latest_wins);
        assert!(sql.replace.is_none());
        let links = sql.links.iter().flat_map(|links| links.write.iter().map(|statement| ("links.write", statement)));
        let named: Vec<(&str, &String)> = merge(&sql.merge).into_iter().chain(links).collect();
        text.push(shown(&named).replace(&sql.stage, "pg_temp.stage"));
    }
    insta::assert_snapshot!(text.join("\n"));
}

#[tokio::test]
async fn the_sql_of_child_rows() {
    let plant = list().await;
    let claim = plant.claim().await;
    let reader = plant.resumed(&claim, everything()).await;
    let sql = MergeSql::new(&reader.loader.table, true);
    let links = &sql.links[0];
    let written = links.write.iter().map(|statement| ("write", statement));
    let named: Vec<(&str, &String)> =
        [("count", &links.count), ("delete", &links.delete)].into_iter().chain(written).collect();
    insta::assert_snapshot!(shown(&named).replace(&sql.stage, "pg_temp.stage"));
}

/// Citus refuses statements that change rows with a function that is not immutable and is given a column.
#[tokio::test]
async fn the_identity_of_a_row_is_computed_with_immutable_functions() {
    let plant = plant(Mode::ReplaceWindow, &["name", "at", "id", "count"]).await;
    let claim = plant.claim().await;
    let reader = plant.resumed(&claim, whole(0)).await;
    let seen = MergeSql::new(&reader.loader.table, true).count_seen.unwrap();
    let (_, identity) = seen.lines().find_map(|line| line.split_once("seen.row_key = ")).unwrap();
    let identity = identity.replace("present.", "");
    // Only immutable expressions can be indexed.
    let index = format!("create index on modes.entity (({identity}))");
    sqlx::raw_sql(AssertSqlSafe(index)).execute(&plant.pool).await.unwrap();
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
