//! The values that the program knows are those that the tables accept.

use std::collections::BTreeSet;

use tidegate::store::{push, run};

use crate::support::TestDatabase;

#[tokio::test]
async fn states_and_kinds_are_those_of_the_tables() {
    let database = TestDatabase::create().await;
    for (constraint, known) in [
        ("run_kind_check", &run::KINDS[..]),
        ("run_state_check", &run::STATES),
        ("push_batch_state_check", &push::STATES),
    ] {
        let accepted: Vec<String> = sqlx::query_scalar(
            "select (regexp_matches(pg_get_constraintdef(oid), '''([^'']*)''::text', 'g'))[1]
            from pg_constraint
            where conname = $1 and connamespace = 'tidegate'::regnamespace",
        )
        .bind(constraint)
        .fetch_all(&database.pool())
        .await
        .unwrap();
        let accepted: BTreeSet<&str> = accepted.iter().map(String::as_str).collect();
        assert_eq!(accepted, known.iter().copied().collect(), "{constraint}");
    }
}
