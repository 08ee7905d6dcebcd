//! Changed rows of a large slice, which are replaced without staging where nothing can be lost by it.

use sqlx::AssertSqlSafe;
use tidegate::load::sql::MergeSql;

use super::fingerprints::read;
use super::plant::{Plant, whole};

/// Enough rows for fingerprints to be stored.
const MANY: u32 = 1_100;

fn page(rest: impl Fn(u32) -> String) -> [Vec<String>; 1] {
    [(0..MANY).map(|id| format!(r#"{{"id":{id},{}}}"#, rest(id))).collect()]
}

impl Plant {
    async fn execute(&self, statement: &str) {
        sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&self.pool).await.unwrap();
    }

    /// Rows whose value is `value`.
    async fn with_value(&self, value: u32) -> i64 {
        self.count(&format!("select count(*) from lynn.survey_result where v = {value}")).await
    }
}

async fn loaded() -> Plant {
    let plant = Plant::new().await.keyed(&["id"]);
    read(&plant, whole(0), &page(|_| r#""v":0"#.to_owned()), 1).await;
    plant
}

#[tokio::test]
async fn p4_values_of_a_column_that_somebody_added_stay_when_rows_change() {
    let plant = loaded().await;
    plant
        .execute("alter table lynn.survey_result add column remark text; update lynn.survey_result set remark = id")
        .await;
    let progress = read(&plant, whole(0), &page(|_| r#""v":1"#.to_owned()), 1).await;
    assert_eq!((progress.rows_updated, plant.with_value(1).await), (i64::from(MANY), i64::from(MANY)));
    let kept = "select count(*) from lynn.survey_result where remark = id::text";
    assert_eq!(plant.count(kept).await, i64::from(MANY));
}

#[tokio::test]
async fn p4_a_trigger_and_a_foreign_key_see_updates_when_rows_change() {
    let plant = loaded().await;
    plant
        .execute(
            "create table public.follow_up (
                connection text, day timestamptz, id bigint,
                foreign key (connection, day, id) references lynn.survey_result on delete cascade
            );
            insert into public.follow_up select _connection, _window_start, id from lynn.survey_result limit 5;
            create table public.seen (operation text);
            create function public.see() returns trigger language plpgsql as
                'begin insert into public.seen values (tg_op); return null; end';
            create trigger see after insert or update or delete on lynn.survey_result
                for each row execute function public.see()",
        )
        .await;
    let progress = read(&plant, whole(0), &page(|_| r#""v":1"#.to_owned()), 1).await;
    assert_eq!((progress.rows_updated, plant.with_value(1).await), (i64::from(MANY), i64::from(MANY)));
    assert_eq!(plant.count("select count(*) from public.follow_up").await, 5);
    assert_eq!(plant.count("select count(*) from public.seen where operation = 'UPDATE'").await, i64::from(MANY));
    assert_eq!(plant.count("select count(*) from public.seen").await, i64::from(MANY));
}

#[tokio::test]
async fn p4_a_row_with_equal_values_in_another_spelling_is_not_rewritten() {
    let plant = Plant::new().await.keyed(&["id"]);
    read(&plant, whole(0), &page(|_| r#""v":0,"o":[{"a":1,"b":2}]"#.to_owned()), 1).await;
    let before = plant.traces(whole(0)).await;
    let again = page(|id| if id == 7 { r#""v":1,"o":[]"# } else { r#""v":0,"o":[{"b":2,"a":1}]"# }.to_owned());
    let progress = read(&plant, whole(0), &again, 1).await;
    assert_eq!((progress.rows_updated, progress.rows_unchanged), (1, i64::from(MANY) - 1));
    let after = plant.traces(whole(0)).await;
    assert_eq!(before.iter().filter(|(key, trace)| after.get(*key) == Some(trace)).count(), MANY as usize - 1);
}

#[tokio::test]
async fn p4_a_changed_row_that_somebody_replaced_by_another_is_loaded_and_the_other_deleted() {
    let plant = loaded().await;
    // The number of rows is the same, so that fingerprints are still trusted.
    plant.execute("update lynn.survey_result set id = 9999 where id = 7").await;
    let progress = read(&plant, whole(0), &page(|_| r#""v":1"#.to_owned()), 1).await;
    assert_eq!((progress.rows_updated, progress.rows_inserted, progress.rows_deleted), (i64::from(MANY) - 1, 1, 1));
    assert_eq!(plant.with_value(1).await, i64::from(MANY));
    assert_eq!(plant.count("select count(*) from lynn.survey_result").await, i64::from(MANY));
}

#[tokio::test]
async fn changed_rows_are_found_by_their_places_while_a_table_has_no_statistics() {
    let plant = loaded().await;
    plant
        .execute(
            "alter table lynn.survey_result set (autovacuum_enabled = off);
            insert into lynn.survey_result (_connection, _window_start, id, v, _run_id, _loaded_at)
            select 'acme', '2024-03-01Z', 10000 + n, 0, 1, now() from generate_series(1, 20000) as n",
        )
        .await;
    let claim = plant.claim().await;
    let reader = plant.resumed(&claim, whole(0)).await;
    let replace = MergeSql::new(&reader.loader.table, false).replace.unwrap();
    for statement in [replace.each, replace.in_order] {
        let values = ["'acme'", "timestamptz '2024-03-01Z'", "array[1, 2, 3]", "3"];
        let statement = (1..).zip(values).fold(statement, |text, (at, value)| text.replace(&format!("${at}"), value));
        let plan = format!("explain {statement}");
        let plan: Vec<String> = sqlx::query_scalar(AssertSqlSafe(plan)).fetch_all(&plant.pool).await.unwrap();
        assert!(plan.iter().any(|line| line.contains("Tid Scan on survey_result")), "{plan:#?}");
    }
}

#[tokio::test]
async fn p4_changed_rows_are_replaced_wherever_their_keys_lie() {
    type Spelling = fn(u32) -> String;
    // Numbers, texts, and keys of two columns.
    let spellings: [(&[&str], Spelling); 3] = [
        (&["id"], |id| format!(r#""id":{id}"#)),
        (&["id"], |id| format!(r#""id":"{}""#, [id % 7, id].map(|part| part.to_string()).join("Ä"))),
        (&["group", "id"], |id| format!(r#""group":"g{}","id":{id}"#, id % 3)),
    ];
    for (key, spelling) in spellings {
        let plant = Plant::new().await.keyed(key);
        let page = |value: fn(u32) -> u32| {
            [(0..MANY).map(|id| format!(r#"{{{},"v":{}}}"#, spelling(id), value(id))).collect::<Vec<_>>()]
        };
        read(&plant, whole(0), &page(|_| 0), 1).await;
        // Neighbours, every tenth, all.
        for (value, changed) in [
            ((|id| u32::from((200..500).contains(&id))) as fn(u32) -> u32, 300),
            (|id| if id.is_multiple_of(10) { 2 } else { u32::from((200..500).contains(&id)) }, MANY / 10),
            (|_| 3, MANY),
        ] {
            let progress = read(&plant, whole(0), &page(value), 1).await;
            assert_eq!((progress.rows_updated, progress.rows_deleted), (i64::from(changed), 0), "{key:?}");
            let rows: Vec<u32> = plant.rows(whole(0)).await.iter().map(|row| row["v"].parse().unwrap()).collect();
            let (mut rows, mut expected) = (rows, (0..MANY).map(value).collect::<Vec<_>>());
            rows.sort_unstable();
            expected.sort_unstable();
            assert_eq!(rows, expected);
        }
    }
}
