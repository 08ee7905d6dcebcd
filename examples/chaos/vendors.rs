//! The connections and jobs for the five vendors, as a user would write them for the simulators.

use std::fmt::Write as _;

use simulator::{Simulator, Vendor, jaicp, khoros, lexer, lynn};

/// Reports whose rows are edited, and a field of each.
pub const EDITED: &[(Vendor, &str, &str)] = &[
    (Vendor::Lynn, "navigation_marks", "markValue"),
    (Vendor::Lynn, "survey_result", "comment"),
    (Vendor::Lynn, "menu_detail", "option"),
    (Vendor::Khoros, "raw_agent_states", "agent_name"),
    (Vendor::Lexer, "mention_sla_export", "State"),
    (Vendor::Jaicp, "messages", "textAnswer"),
];

/// An endpoint of the simulator, and the connections that call it.
pub type Endpoint = (&'static str, &'static [&'static str]);

/// The endpoint of Lynn's pages. Some faults exist only there.
pub const PAGES: &[Endpoint] = &[("execute_report", &["lynn"])];
/// Endpoints of lists that are read while they arrive. An empty body, or one that ends early, is asked for again before
/// it counts as unreadable.
pub const LISTS: &[Endpoint] = &[
    ("get_campaigns", &["outbound"]),
    ("get_contacts", &["outbound"]),
    ("khoros_teams", &["khoros"]),
    ("jaicp_sessions", &["jaicp"]),
    ("jaicp_messages", &["jaicp"]),
    ("jaicp_clients", &["jaicp"]),
];
/// Endpoints whose responses are read whole before their content is.
pub const DOCUMENTS: &[Endpoint] = &[
    ("khoros_status", &["khoros"]),
    ("lexer_status", &["lexer"]),
    ("lexer_forms", &["lexer"]),
    ("jaicp_list", &["jaicp"]),
];
/// Other endpoints of the vendors with a body: logins, reports and exports.
pub const OTHERS: &[Endpoint] = &[
    ("create_token", &["lynn"]),
    ("outbound_create_token", &["outbound"]),
    ("khoros_create", &["khoros"]),
    ("lexer_reports", &["lexer"]),
    ("jaicp_stats", &["jaicp"]),
];
/// The storage, where finished exports are downloaded.
pub const FILES: &[Endpoint] = &[("files_get", &["khoros", "lexer"])];

/// The stream whose login is refused, and its endpoint, which has no other faults.
pub const REFUSED: (&str, &str) = ("lexer", "users");
pub const REFUSED_ENDPOINT: &str = "lexer_users";

/// The connection of a vendor.
pub const fn connection(vendor: Vendor) -> &'static str {
    match vendor {
        Vendor::Lynn => "lynn",
        Vendor::LynnOutbound => "outbound",
        Vendor::Khoros => "khoros",
        Vendor::Lexer => "lexer",
        Vendor::Jaicp => "jaicp",
    }
}

/// The schema of a vendor's tables.
pub const fn schema(vendor: Vendor) -> &'static str {
    match vendor {
        Vendor::Lynn | Vendor::LynnOutbound => "lynn",
        Vendor::Khoros => "khoros",
        Vendor::Lexer => "lexer",
        Vendor::Jaicp => "jaicp",
    }
}

/// The Khoros exports that are read.
pub const EXPORTS: [&str; 3] = ["conversation", "incoming_post", "raw_agent_states"];

/// Tables of entities and their dependents: rows stay when the vendor no longer reports them.
pub const ENTITIES: &[&str] = &[
    "khoros.conversation",
    "khoros.incoming_post",
    "jaicp.sessions",
    "jaicp.session_label_links",
    "jaicp.messages",
    "jaicp.message_label_links",
    "jaicp.clients",
];
/// Tables with a row for every run.
pub const OBSERVED: &[&str] = &["jaicp.experiment_counts", "jaicp.unique_clients"];

/// Connections of which only lists are read, which are complete at their last reading.
pub const WITHOUT_WINDOWS: [&str; 1] = ["outbound"];

/// The connections whose account is swapped.
pub const SWAPPED: [&str; 2] = ["lynn", "outbound"];

/// The configuration with another tenant for Lynn's connections.
pub fn swapped(text: &str) -> String {
    text.replace(&format!("tenant: {}", lynn::Account::default().tenant), "tenant: 1")
}

/// Divides the simulators' periods.
pub const SPEED: f64 = 40.0;

/// Job and connection, the streams, and the interval in seconds.
const JOBS: &[(&str, &str, u32)] = &[
    ("lynn", "[navigation_marks, survey_result, menu_detail]", 5),
    ("outbound", "[campaigns, contacts]", 11),
    ("khoros", "[conversation, incoming_post, raw_agent_states, teams, user]", 7),
    ("lexer", "[users, forms, summary, states_volume, user_volume, nps_summary, mention_sla_export]", 7),
    ("jaicp", "[sessions, messages, clients, message_labels, experiment_counts, stats_series]", 7),
];

/// Number of streams that the jobs read.
pub fn streams_total() -> u64 {
    JOBS.iter().map(|(_, streams, _)| streams.split(',').count() as u64).sum()
}

/// The connections and jobs. Quotas are the documented ones at [`SPEED`], with three times the distance between Lynn's
/// calls: on a busy machine a call arrives later than it was sent.
pub fn configuration(simulator: &Simulator, start: &str, lookback_days: u32) -> String {
    let files = simulator.files_url().replace("http://", "");
    let patience = "retry: { max_attempts: 3, initial: 50ms, max: 500ms }";
    let export = format!("polling: {{ initial: 300ms, max: 300ms, deadline: 10s }}\n    allowed_hosts: [\"{files}\"]");
    let mut text = String::from("\nconnections:\n");
    for (name, keys) in [
        ("lynn", lynn_keys(simulator, "lynn_reporting") + "    page_size: 100\n"),
        ("outbound", lynn_keys(simulator, "lynn_outbound") + "    enabled_streams: [campaigns, contacts]\n"),
        ("khoros", format!("{}    {export}\n", khoros_keys(simulator))),
        ("lexer", format!("{}    {export}\n", lexer_keys(simulator))),
        ("jaicp", jaicp_keys(simulator)),
    ] {
        // Writing to a String cannot fail.
        let _ = write!(text, "  {name}:\n{keys}    {patience}\n");
    }
    text.push_str("jobs:\n");
    for (name, streams, secs) in JOBS {
        let _ = write!(
            text,
            "  {name}:\n    connection: {name}\n    streams: {streams}\n    schedule: \"*/{secs} * * * * *\"\n    \
             start: {start}\n    lookback: {lookback_days}d\n    settle: 0s\n"
        );
    }
    text
}

/// One credential for both connectors, and so one ledger.
fn lynn_keys(simulator: &Simulator, vendor: &str) -> String {
    let account = lynn::Account::default();
    format!(
        "    vendor: {vendor}
    base_url: {}
    tenant: {}
    access_token: {}
    access_token_secret: {}
    quotas:
      create_token: {{ limit: 3, per: 2s }}
      requests: {{ limit: 1, per: 300ms }}
      period_calls: {{ limit: 10000, per: 20m }}
      period_bandwidth: {{ limit: 102400kB, per: 20m }}
",
        simulator.base_url(),
        account.tenant,
        account.access_token,
        account.access_token_secret
    )
}

fn khoros_keys(simulator: &Simulator) -> String {
    let account = khoros::Account::default();
    format!(
        "    vendor: khoros_care
    base_url: {}/api/public
    company_key: {}
    username: {}
    password: {}
    quotas: {{ requests: {{ limit: 20, per: 2s }} }}
",
        simulator.base_url(),
        account.company_key,
        account.username,
        account.password
    )
}

fn lexer_keys(simulator: &Simulator) -> String {
    format!(
        "    vendor: lexer_activity
    base_url: {}
    status_base_url: {}
    api_token: {}
    quotas: {{ requests: {{ limit: 100, per: 10s }}, burst: {{ limit: 10, per: 50ms }} }}
",
        simulator.base_url(),
        simulator.clients_url(),
        lexer::Account::default().api_token
    )
}

fn jaicp_keys(simulator: &Simulator) -> String {
    format!(
        "    vendor: jaicp_reporter
    base_url: {}/api
    token: \"{}\"
    quotas: {{ requests: {{ limit: 50, per: 1s }} }}
",
        simulator.base_url(),
        jaicp::Account::default().token
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_calls_concern_connections_that_a_job_reads_and_not_the_refused_login() {
        for (endpoint, connections) in [PAGES, LISTS, DOCUMENTS, OTHERS, FILES].concat() {
            assert_ne!(endpoint, REFUSED_ENDPOINT);
            for connection in connections {
                assert!(JOBS.iter().any(|(name, ..)| name == connection), "{endpoint}: {connection}");
            }
        }
        let (connection, stream) = REFUSED;
        assert!(JOBS.iter().any(|(name, streams, _)| *name == connection && streams.contains(stream)));
    }
}
