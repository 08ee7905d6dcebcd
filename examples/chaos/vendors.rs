//! The five vendors' connections and jobs, as a user would write them for the simulators.

use std::fmt::Write as _;

use tidegate::simulator::{Simulator, Vendor, khoros, lexer, lynn};

/// Reports whose rows are edited, and a field of each.
pub const EDITED: &[(Vendor, &str, &str)] = &[
    (Vendor::Lynn, "navigation_marks", "markValue"),
    (Vendor::Lynn, "survey_result", "comment"),
    (Vendor::Lynn, "menu_detail", "option"),
    (Vendor::Khoros, "raw_agent_states", "agent_name"),
    (Vendor::Lexer, "mention_sla_export", "State"),
];

/// Divides the simulators' periods.
pub const SPEED: f64 = 40.0;

/// The connections and jobs. Quotas are the documented ones at [`SPEED`], a little wider apart: two processes on one
/// starved machine see a call arrive later than it left.
pub fn configuration(simulator: &Simulator, start: &str, lookback_days: u32) -> String {
    let (lynn, khoros, lexer) = (lynn::Account::default(), khoros::Account::default(), lexer::Account::default());
    let files = simulator.files_url().replace("http://", "");
    let url = simulator.base_url();
    let mut text = String::new();
    let _ = write!(
        text,
        "
connections:
  lynn:
    vendor: lynn_reporting
    base_url: {url}
    tenant: {}
    access_token: {}
    access_token_secret: {}
    page_size: 100
    retry: {{ max_attempts: 3, initial: 50ms, max: 500ms }}
    quotas:
      create_token: {{ limit: 3, per: 2s }}
      requests: {{ limit: 1, per: 150ms }}
      period_calls: {{ limit: 10000, per: 20m }}
      period_bandwidth: {{ limit: 102400kB, per: 20m }}
  khoros:
    vendor: khoros_care
    base_url: {url}/api/public
    company_key: {}
    username: {}
    password: {}
    allowed_hosts: [\"{files}\"]
    retry: {{ max_attempts: 3, initial: 50ms, max: 500ms }}
    polling: {{ initial: 300ms, max: 1s }}
    quotas: {{ requests: {{ limit: 20, per: 2s }} }}
  lexer:
    vendor: lexer_activity
    base_url: {url}
    status_base_url: {}
    api_token: {}
    allowed_hosts: [\"{files}\"]
    retry: {{ max_attempts: 3, initial: 50ms, max: 500ms }}
    polling: {{ initial: 300ms, max: 1s }}
    quotas: {{ requests: {{ limit: 100, per: 10s }}, burst: {{ limit: 10, per: 50ms }} }}
jobs:
  khoros:
    connection: khoros
    streams: [conversation, incoming_post, raw_agent_states, teams, user]
    schedule: \"*/7 * * * * *\"
    start: {start}
    lookback: {lookback_days}d
    settle: 0s
  lexer:
    connection: lexer
    streams: [users, forms, summary, states_volume, user_volume, nps_summary, mention_sla_export]
    schedule: \"*/7 * * * * *\"
    start: {start}
    lookback: {lookback_days}d
    settle: 0s
  lynn:
    connection: lynn
    streams: [navigation_marks, survey_result, menu_detail]
    schedule: \"*/5 * * * * *\"
    start: {start}
    lookback: {lookback_days}d
    settle: 0s
",
        lynn.tenant,
        lynn.access_token,
        lynn.access_token_secret,
        khoros.company_key,
        khoros.username,
        khoros.password,
        simulator.clients_url(),
        lexer.api_token,
    );
    text
}

/// Tables of entities, which stay when the vendor no longer reports them.
pub const ENTITIES: &[&str] = &["khoros.conversation", "khoros.incoming_post"];
