//! What is loaded: from which vendor, into which table.

use crate::vendor::DAY;

/// How a vendor reports a million rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// Lynn's pages: 10,000 JSON objects each, with twelve columns of mixed types.
    Json,
    /// A Khoros export: one CSV file with twenty columns.
    Csv,
    /// Orders with their own ids, in pages of JSON like Lynn's. The floors know only the vendor's columns.
    OrdersJson,
    /// The same orders as a Khoros export.
    OrdersCsv,
}

impl Workload {
    pub const ALL: [Self; 4] = [Self::Json, Self::Csv, Self::OrdersJson, Self::OrdersCsv];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "J",
            Self::Csv => "C",
            Self::OrdersJson => "OJ",
            Self::OrdersCsv => "OC",
        }
    }

    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|workload| workload.name() == name)
    }

    pub const fn table(self) -> &'static str {
        match self {
            Self::Json | Self::OrdersJson => "lynn.bench",
            Self::Csv | Self::OrdersCsv => "khoros.raw_agent_states",
        }
    }

    /// The columns that sort the table's rows in the vendor's order.
    pub const fn order(self) -> &'static str {
        match self {
            Self::Json => "\"timestamp\", record_id",
            Self::Csv => "state_id",
            Self::OrdersJson | Self::OrdersCsv => "order_id",
        }
    }

    /// The primary key of the floors' tables, which then have the vendor's columns only. `None` for floors with the
    /// columns and the key of the measured table.
    pub const fn natural_key(self) -> Option<&'static str> {
        match self {
            Self::Json | Self::Csv => None,
            Self::OrdersJson | Self::OrdersCsv => Some("order_id"),
        }
    }

    /// Whether the rows come in one CSV file.
    const fn is_csv(self) -> bool {
        matches!(self, Self::Csv | Self::OrdersCsv)
    }

    /// The vendor's fields that identify a row.
    const fn key(self) -> &'static str {
        match self {
            Self::Json => "recordId",
            Self::Csv => "State ID",
            Self::OrdersJson | Self::OrdersCsv => "order_id",
        }
    }

    /// One connection and one job, both called `bench`.
    pub fn configuration(self, base_url: &str) -> String {
        let (special, stream, limits) = if self.is_csv() {
            (
                "vendor: khoros_care
    company_key: benchmark
    username: benchmark
    password: benchmark
    report_format: csv
    polling: { initial: 1ms, max: 1ms }",
                "raw_agent_states",
                "requests: { limit: 100000, per: 10s }",
            )
        } else {
            (
                "vendor: lynn_reporting
    tenant: 4411
    access_token: benchmark
    access_token_secret: benchmark
    reports: { bench: 00000000-0000-0000-0000-000000000000 }",
                "bench",
                "create_token: { limit: 1000, per: 1m }
      requests: { limit: 100000, per: 10s }
      period_calls: { limit: 10000000, per: 12h }
      period_bandwidth: { limit: 1000GB, per: 12h }",
            )
        };
        let key = self.key();
        format!(
            "\
connections:
  bench:
    {special}
    base_url: {base_url}
    quotas:
      {limits}
jobs:
  bench: {{ connection: bench, streams: [{{ name: {stream}, key: [{key}] }}], start: {} }}
",
            DAY[0]
        )
    }
}
