//! The questions in `deploy/bi/questions`.

use std::fs;
use std::path::Path;

use sqlx::{AssertSqlSafe, Executor as _};

use super::{Mart, natural};

/// The files, by name, and their statements.
pub fn questions() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/bi/questions");
    let mut found: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(path).unwrap()))
        .collect();
    found.sort();
    found
}

async fn assert_an_analyst_can_ask(mart: &Mart) {
    let mut analyst = mart.session_as("tidegate_analyst").await;
    for (name, statement) in questions() {
        let outcome = analyst.fetch_all(AssertSqlSafe(statement.trim_end().trim_end_matches(';').to_owned())).await;
        assert!(outcome.is_ok(), "{name}: {}", outcome.unwrap_err());
    }
}

#[tokio::test]
async fn an_analyst_can_ask_each_question() {
    let mart = Mart::new().await;
    mart.add_columns(natural).await;
    mart.fill(5, false).await;
    mart.refresh().await;
    let questions = questions();
    assert!((1..=12).all(|number| questions.iter().any(|(name, _)| name.starts_with(&format!("{number:02}_")))));
    assert_an_analyst_can_ask(&mart).await;
}

#[tokio::test]
async fn a_share_of_nothing_is_null_and_not_an_error() {
    let mart = Mart::new().await;
    mart.add_columns(natural).await;
    mart.fill(5, false).await;
    // The calendar begins with the year before the first day that is read.
    mart.run(
        "truncate lexer.mention_sla_export;
        update lexer.user_summary set responded_to = 0, broke_sla = 0;
        insert into tidegate.stream (connection, stream, table_schema, table_name, anchor, timezone, slice)
        values ('acme', 'user_summary', 'lexer', 'user_summary', '2024-02-01', 'UTC', '1d')",
    )
    .await;
    mart.refresh().await;
    let empty = "select count(*) from mart.service_levels inner join mart.calendar using (day) where measured = 0";
    assert!(mart.count(empty).await > 0);
    assert_an_analyst_can_ask(&mart).await;
}

#[test]
fn a_question_is_one_statement_without_casts_and_unions() {
    for (name, statement) in questions() {
        assert!(statement.starts_with("-- "), "{name} begins with the question");
        let sql: String = statement.lines().filter(|line| !line.starts_with("--")).collect::<Vec<_>>().join("\n");
        assert_eq!(sql.matches(';').count(), 1, "{name}");
        for word in ["::", "cast(", "union", "tidegate.", "_connection"] {
            assert!(!sql.contains(word), "{name}: {word}");
        }
    }
}
