//! The Grafana dashboard on Postgres alone: its queries run with the rights of a reader, and show what is stored.

use std::path::Path;

use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use super::Mart;

const BOARD: &str = "deploy/grafana/tidegate-postgres.json";

const FILL: &str = "
insert into tidegate.stream (connection, stream, table_schema, table_name, anchor, timezone, slice, wanted_from, jobs) values
('acme', 'users', 'lynn', 'users', '2026-01-01', 'UTC', '1d', now() - interval '9 days', '{daily}'),
('other', 'users', 'lynn', 'users', '2026-01-01', 'UTC', '1d', now() - interval '9 days', '{daily}');
insert into tidegate.slice (connection, stream, window_start, window_end, read_until, finished_at)
select connection, stream, date_trunc('day', now(), 'UTC') - days * interval '1 day', date_trunc('day', now(), 'UTC') - (days - 1) * interval '1 day',
    date_trunc('day', now(), 'UTC') - (days - 1) * interval '1 day', now()
from tidegate.stream cross join generate_series(4, 6) as days;
update tidegate.stream set needs_operator = true, last_error = 'refused';
insert into tidegate.schema_change (table_schema, table_name, column_name, connection, change) values
('lynn', 'users', 'new', 'acme', 'add_column');";

fn board() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(BOARD);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The query as Grafana sends it, for the connection `acme` and all time.
fn sent(query: &str) -> String {
    let sent = query
        .replace("$__timeFrom()", "'2000-01-01T00:00:00Z'")
        .replace("$__timeTo()", "'2100-01-01T00:00:00Z'")
        .replace("${connection:sqlstring}", "'acme'");
    assert!(!sent.contains('$'), "{sent}");
    sent
}

async fn rows(session: &mut PgConnection, query: &str) -> Vec<sqlx::postgres::PgRow> {
    let found = sqlx::query(AssertSqlSafe(query.to_owned())).fetch_all(session).await;
    found.unwrap_or_else(|error| panic!("{query}: {error}"))
}

#[tokio::test]
async fn p11_every_query_of_the_dashboard_runs_as_a_reader_and_shows_what_is_stored() {
    let mart = Mart::new().await;
    mart.run(FILL).await;
    let board = board();
    for role in ["tidegate_reader", "tidegate_analyst"] {
        let mut session = mart.session_as(role).await;
        let variables = board["templating"]["list"].as_array().unwrap();
        let connections = variables.iter().find(|variable| variable["name"] == "connection").unwrap();
        let connections = rows(&mut session, &sent(connections["query"].as_str().unwrap())).await;
        let connections: Vec<String> = connections.iter().map(|row| row.get(0)).collect();
        assert_eq!(connections, ["acme", "other"]);
        for panel in board["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row") {
            let title = panel["title"].as_str().unwrap();
            for target in panel["targets"].as_array().unwrap() {
                let found = rows(&mut session, &sent(target["rawSql"].as_str().unwrap())).await;
                // No vendor has reported totals, and nothing computed when the stream is late.
                let is_empty = ["Vendor's totals that differ", "Next expected"].contains(&title);
                assert_eq!(found.is_empty(), is_empty, "{title}");
                if panel["type"] == "state-timeline" {
                    days(&found, panel);
                }
            }
        }
    }
}

/// A state for each day, with a text for each of its numbers.
fn days(found: &[sqlx::postgres::PgRow], panel: &Value) {
    let columns: Vec<&str> = found[0].columns().iter().map(sqlx::Column::name).collect();
    assert_eq!(columns, ["time", "metric", "value"]);
    assert!(found.iter().all(|row| row.get::<String, _>("metric") == "acme lynn.users"));
    let states: Vec<i32> = found.iter().map(|row| row.get("value")).collect();
    assert_eq!(states.iter().filter(|state| **state == 0).count(), 3, "three days are complete: {states:?}");
    let texts = panel["fieldConfig"]["defaults"]["mappings"][0]["options"].as_object().unwrap();
    assert!(states.iter().all(|state| texts.contains_key(&state.to_string())), "{states:?}");
    for (number, state) in ["complete", "partial", "missing", "held"].into_iter().enumerate() {
        assert_eq!(texts[&number.to_string()]["text"], state);
    }
}
