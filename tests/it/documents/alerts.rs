//! The alerts and dashboards of `deploy/`: they name metrics that exist, each alert is documented and tested, and no
//! panel has a line for every stream.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::document;
use super::markdown::{Block, blocks, without_each_row};
use super::metrics::{exported, scrape};

const RULES: &str = "deploy/prometheus/tidegate.rules.yml";
const TESTS: [&str; 2] = ["deploy/prometheus/tidegate.rules.test.yml", "deploy/prometheus/tidegate.down.test.yml"];
const BOARD: &str = "deploy/grafana/tidegate.json";
/// A label, which has the form of a metric's name.
const LABEL: &str = "tidegate_job";
/// What Prometheus adds to the name of a histogram.
const SUFFIXES: [&str; 3] = ["_bucket", "_count", "_sum"];

/// The alerts of the rules with their severity. The format of the file is its own: one key per line.
fn alerts(rules: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut last = None;
    for line in rules.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("- alert: ") {
            last = Some(name.to_owned());
        } else if let Some((_, severity)) = line.split_once("{ severity: ") {
            found.insert(last.take().unwrap(), severity.trim_end_matches(" }").to_owned());
        }
    }
    assert_eq!(found.len(), rules.matches("- alert: ").count());
    found
}

/// The alerts in the table of docs/metrics.md with their severity.
fn documented(text: &str) -> BTreeMap<String, String> {
    let table = blocks(text).into_iter().find_map(|block| match block {
        Block::Table(table) if table.header[0] == "alert" => Some(table),
        _ => None,
    });
    let rows = table.unwrap().rows.into_iter();
    rows.map(|row| (row[0].trim_matches('`').to_owned(), row[1].trim_matches('`').to_owned())).collect()
}

#[test]
fn every_alert_is_documented_and_its_test_lets_it_fire_and_be_silent() {
    let rules = document(RULES);
    let alerts = alerts(&rules);
    assert!(
        alerts.len() > 10 && alerts.values().all(|severity| matches!(&**severity, "page" | "ticket")),
        "{alerts:?}"
    );
    let text = document("docs/metrics.md");
    assert_eq!(documented(&text), alerts, "docs/metrics.md (left) and {RULES} (right)");
    let of_alerts = text.split_once("\n## Alerts\n").unwrap().1;
    for (row, without) in without_each_row(of_alerts) {
        assert_ne!(documented(&without), alerts, "nobody misses: {row}");
    }
    for part in rules.split("- alert: ").skip(1) {
        assert!(part.contains("summary: \"") && part.contains("action: \""), "{part}");
    }
    let (mut fires, mut silent) = (BTreeSet::new(), BTreeSet::new());
    for line in TESTS.map(document).join("\n").lines() {
        if let Some((_, rest)) = line.split_once("alertname: ") {
            match rest.split_once(", exp_alerts: []") {
                Some((name, _)) => silent.insert(name.to_owned()),
                None => fires.insert(rest.to_owned()),
            };
        }
    }
    let all: BTreeSet<String> = alerts.into_keys().collect();
    assert_eq!(fires, all, "tests in which an alert fires");
    assert!(silent.is_superset(&all), "tests in which it does not: {silent:?}");
}

/// The queries of a dashboard's panels, with the panel's title.
fn queries(board: &str, key: &str) -> Vec<(String, String)> {
    let board: Value = serde_json::from_str(board).unwrap();
    let mut found = Vec::new();
    for panel in board["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            found.push((panel["title"].as_str().unwrap().to_owned(), target[key].as_str().unwrap().to_owned()));
        }
    }
    assert!(!found.is_empty());
    found
}

#[tokio::test]
async fn rules_tests_and_dashboard_name_metrics_that_are_exported() {
    let known = exported(&scrape().await);
    let texts = [(RULES, document(RULES)), ("the tests", TESTS.map(document).join("\n")), (BOARD, document(BOARD))];
    for (path, text) in texts {
        let mut named = BTreeSet::new();
        for word in text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            if word.starts_with("tidegate_") && word != LABEL {
                let family = SUFFIXES.iter().find_map(|suffix| word.strip_suffix(suffix)).unwrap_or(word);
                let (kind, _) = known.get(family).unwrap_or_else(|| panic!("{path}: {word}"));
                assert_eq!(family != word, kind == "histogram", "{path}: {word} of a {kind}");
                named.insert(family);
            }
        }
        assert!(named.len() > 10, "{path}: {named:?}");
        if path == BOARD {
            let shown = |metric: &&String| !named.contains(metric.as_str());
            let hidden: Vec<_> = known.keys().filter(shown).collect();
            assert!(hidden.is_empty(), "not on the dashboard: {hidden:?}");
        }
    }
}

/// A panel: its id, and the left, right, upper and lower end of its place.
type Place = (i64, [i64; 4]);

#[test]
fn every_panel_has_an_id_and_a_place_of_its_own() {
    for path in [BOARD, "deploy/grafana/tidegate-postgres.json"] {
        let board: Value = serde_json::from_str(&document(path)).unwrap();
        let place = |panel: &Value| -> Place {
            let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_i64().unwrap());
            (panel["id"].as_i64().unwrap(), [x, x + w, y, y + h])
        };
        let places: Vec<Place> = board["panels"].as_array().unwrap().iter().map(place).collect();
        let ids: BTreeSet<i64> = places.iter().map(|(id, _)| *id).collect();
        assert_eq!(ids.len(), places.len(), "{path}: two panels have the same id");
        for (one, [left, right, top, bottom]) in &places {
            for (other, [other_left, other_right, other_top, other_bottom]) in &places {
                let is_apart = right <= other_left || other_right <= left || bottom <= other_top || other_bottom <= top;
                assert!(one == other || is_apart, "{path}: the panels {one} and {other} overlap");
            }
        }
    }
}

#[test]
fn no_panel_has_a_line_for_every_stream_or_connection() {
    let board = document(BOARD);
    for (title, query) in queries(&board, "expr") {
        let many = ["connection", "stream", "tidegate_job"];
        let groups = query.split("by (").skip(1).filter_map(|rest| rest.split(')').next());
        let outermost = groups.into_iter().next().unwrap_or_default();
        if many.iter().any(|label| outermost.split(", ").any(|part| part == *label)) {
            assert!(query.starts_with("topk(") || query.starts_with("sum("), "{title}: {query}");
        }
        assert!(query.contains("job=\"$job\""), "{title}: of all installations: {query}");
    }
}
