//! What the vendors report about their remaining quota, if they have a call for that.

use futures_util::future::join_all;
use serde::Serialize;
use serde_json::Value;
use sqlx::PgPool;

use super::by_hand::{self, Failure};
use super::failure;
use super::output::Table;
use super::show;
use crate::connector::Connection;
use crate::text::plain;

/// Maximum number of values of one response in a table; `--json` shows all of them.
const VALUES_MAX: usize = 40;

/// The result of asking the vendor of one connection.
#[derive(Debug, Serialize)]
pub(super) struct VendorQuota {
    connection: String,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Debug, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
enum Outcome {
    /// What the vendor returned, without values that may be secrets.
    Responded {
        response: Value,
    },
    /// The vendor has no such call.
    NoCall {
        vendor: &'static str,
    },
    Failed {
        error: String,
        hint: String,
    },
}

/// Asks the vendor of every connection, once each.
pub(super) async fn ask(pool: &PgPool, connections: &[&Connection]) -> Vec<VendorQuota> {
    let asked = connections.iter().map(async |connection| {
        let response = by_hand::call(pool, connection, async |source, session| source.ask_quota(session).await).await;
        let outcome = match response {
            Ok(Some(response)) => Outcome::Responded { response },
            Ok(None) => Outcome::NoCall { vendor: connection.vendor().name() },
            Err(Failure { error, hint }) => Outcome::Failed { error, hint },
        };
        VendorQuota { connection: connection.name.clone(), outcome }
    });
    Box::pin(join_all(asked)).await
}

/// Writes the failures to standard error. Returns whether there were any.
pub(super) fn report_failures(asked: &[VendorQuota]) -> bool {
    let mut failed = false;
    for VendorQuota { connection, outcome } in asked {
        if let Outcome::Failed { error, hint } = outcome {
            failed = true;
            failure::say(&format!("error: {}: {}\nhint: {}\n", plain(connection), plain(error), plain(hint)));
        }
    }
    failed
}

pub(super) fn table(asked: &[VendorQuota]) -> String {
    let mut table = Table::new().left(&["CONNECTION", "THE VENDOR SAYS", "VALUE"]);
    for VendorQuota { connection, outcome } in asked {
        let mut row = |name: String, value: String| table.row([connection.clone(), name, value]);
        match outcome {
            Outcome::Responded { response } => {
                let mut values = Vec::new();
                flatten("", response, &mut values);
                let more = values.len().saturating_sub(VALUES_MAX);
                values.into_iter().take(VALUES_MAX).for_each(|(name, value)| row(name, value));
                if more > 0 {
                    row(show::NOTHING.to_owned(), format!("and {more} more values; see `--json`"));
                }
            }
            Outcome::NoCall { vendor } => {
                row(show::NOTHING.to_owned(), format!("nothing: {vendor} has no call for the remaining quota"));
            }
            Outcome::Failed { error, .. } => row(show::NOTHING.to_owned(), format!("nothing: {error}")),
        }
    }
    table.show()
}

/// Every value with the path to it.
fn flatten(path: &str, value: &Value, values: &mut Vec<(String, String)>) {
    let below = |part: &str| if path.is_empty() { part.to_owned() } else { format!("{path}.{part}") };
    match value {
        Value::Object(members) if !members.is_empty() => {
            members.iter().for_each(|(name, value)| flatten(&below(name), value, values));
        }
        Value::Array(items) if !items.is_empty() => {
            items.iter().enumerate().for_each(|(at, value)| flatten(&below(&at.to_string()), value, values));
        }
        _ => {
            let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            values.push((if path.is_empty() { show::NOTHING.to_owned() } else { path.to_owned() }, shown));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_response_of_any_shape_is_shown_value_by_value() {
        let shown = |response: Value| {
            let outcome = Outcome::Responded { response };
            table(&[VendorQuota { connection: "acme".to_owned(), outcome }])
        };
        let text = shown(json!({ "left": { "calls": 9_973, "of": [1, "two"] }, "none": null, "empty": {} }));
        let rows: Vec<Vec<&str>> = text.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(
            rows,
            [
                ["acme", "empty", "{}"],
                ["acme", "left.calls", "9973"],
                ["acme", "left.of.0", "1"],
                ["acme", "left.of.1", "two"],
                ["acme", "none", "null"]
            ]
        );
        assert!(shown(json!("***")).lines().nth(1).unwrap().contains("***"));
        let many = shown(json!((0..100).collect::<Vec<_>>()));
        assert_eq!(many.lines().count(), VALUES_MAX + 2);
        assert!(many.contains("and 60 more values"), "{many}");
    }
}
