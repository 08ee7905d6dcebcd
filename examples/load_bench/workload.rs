//! What is loaded: from which vendor, into which table.

use crate::vendor::DAY;

/// How a vendor reports a million rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// Lynn's pages: 10,000 JSON objects each, with twelve columns of mixed types.
    Json,
    /// A Khoros export: one CSV file with twenty columns.
    Csv,
}

impl Workload {
    pub const ALL: [Self; 2] = [Self::Json, Self::Csv];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "J",
            Self::Csv => "C",
        }
    }

    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|workload| workload.name() == name)
    }

    pub const fn table(self) -> &'static str {
        match self {
            Self::Json => "lynn.bench",
            Self::Csv => "khoros.raw_agent_states",
        }
    }

    /// The columns that sort the table's rows in the vendor's order.
    pub const fn order(self) -> &'static str {
        match self {
            Self::Json => "\"timestamp\", record_id",
            Self::Csv => "state_id",
        }
    }

    /// One connection and one job, both called `bench`.
    pub fn configuration(self, base_url: &str) -> String {
        let (special, streams, limits) = match self {
            Self::Json => (
                "vendor: lynn_reporting
    tenant: 4411
    access_token: benchmark
    access_token_secret: benchmark
    reports: { bench: 00000000-0000-0000-0000-000000000000 }",
                "{ name: bench, key: [recordId] }",
                "create_token: { limit: 1000, per: 1m }
      requests: { limit: 100000, per: 10s }
      period_calls: { limit: 10000000, per: 12h }
      period_bandwidth: { limit: 1000GB, per: 12h }",
            ),
            Self::Csv => (
                "vendor: khoros_care
    company_key: benchmark
    username: benchmark
    password: benchmark
    report_format: csv
    polling: { initial: 1ms, max: 1ms }",
                "{ name: raw_agent_states, key: [State ID] }",
                "requests: { limit: 100000, per: 10s }",
            ),
        };
        format!(
            "\
connections:
  bench:
    {special}
    base_url: {base_url}
    quotas:
      {limits}
jobs:
  bench: {{ connection: bench, streams: [{streams}], start: {} }}
",
            DAY[0]
        )
    }
}
