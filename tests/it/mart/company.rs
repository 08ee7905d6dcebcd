//! A warehouse with the reports of the simulators' company, loaded by the demo's jobs.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Datelike as _, TimeDelta, Utc};
use simulator::lynn::Volume;
use simulator::{Options, Vendor, khoros, lexer};
use tidegate::mart::Views;
use tidegate::schedule::ByHand;

use crate::support::world::{assert_succeeded, load, runs_to_end};
use crate::support::{World, ago};

/// The jobs of `tidegate demo`.
const JOBS: &[(&str, &str)] = &[
    ("lynn.yaml", include_str!("../../../config/demo/lynn.yaml")),
    ("lynn_outbound.yaml", include_str!("../../../config/demo/lynn_outbound.yaml")),
    ("khoros_care.yaml", include_str!("../../../config/demo/khoros_care.yaml")),
    ("lexer.yaml", include_str!("../../../config/demo/lexer.yaml")),
    ("jaicp.yaml", include_str!("../../../config/demo/jaicp.yaml")),
];
/// The quotas of a connection, in place of the demo's: nothing ever waits for them.
const QUOTAS: &[(&str, &str)] = &[
    ("lynn", "create_token requests period_calls"),
    ("khoros", "requests"),
    ("lexer", "requests burst"),
    ("jaicp", "requests"),
];
const SECOND: Duration = Duration::from_secs(1);

/// What the jobs loaded.
pub struct Warehouse {
    pub world: World,
    /// The jobs read from here on.
    pub from: DateTime<Utc>,
    /// The vendors know nothing later: a midnight more than a day ago, so that every session has ended or was left,
    /// and conversations are open.
    pub to: DateTime<Utc>,
}

impl Warehouse {
    /// With every job run once, over two weeks and the days since.
    pub async fn new() -> Self {
        let to = ago(1);
        let monday = to - TimeDelta::days(i64::from(to.weekday().num_days_from_monday()));
        Self::between(monday - TimeDelta::weeks(2), to).await
    }

    /// With every job run once, over these days.
    pub async fn between(from: DateTime<Utc>, to: DateTime<Utc>) -> Self {
        Self::with("", from, to).await
    }

    /// The same with further sections of the configuration.
    pub async fn with(sections: &str, from: DateTime<Utc>, to: DateTime<Utc>) -> Self {
        let warehouse = Self { world: World::of("demo", options()).await, from, to };
        let control = warehouse.world.control();
        for vendor in Vendor::ALL {
            control.data(vendor).freeze(to);
        }
        warehouse.configure(sections);
        warehouse.sync().await;
        warehouse
    }

    /// Runs every job once more.
    pub async fn sync(&self) {
        let config = Arc::new(self.world.config());
        let mut runs = Vec::new();
        for job in config.jobs.keys() {
            runs.push(self.world.enqueue_job(job, ByHand::Manual).await);
        }
        assert_succeeded(&runs_to_end(Arc::clone(&config), self.world.database.pool(), runs).await);
        assert_eq!(self.world.control().stats().unexpected, []);
        Views::default().refresh(&self.world.database.pool(), &config.mart).await;
    }

    fn configure(&self, sections: &str) {
        let folder = self.world.folder.path();
        let settings = format!(
            "database: {{ url: \"{}\", max_connections: 8 }}
server: {{ listen: 127.0.0.1:0 }}
worker: {{ concurrency: 5, lease: 10s }}
{sections}",
            self.world.database.url()
        );
        std::fs::write(folder.join("tidegate.yaml"), settings).unwrap();
        std::fs::create_dir(folder.join("jobs")).unwrap();
        for (name, text) in JOBS {
            std::fs::write(folder.join("jobs").join(name), self.adapted(text)).unwrap();
        }
        load(folder);
    }

    /// A file of the demo with its variables replaced and without waiting.
    fn adapted(&self, text: &str) -> String {
        let mut values = self.world.simulator.demo_variables();
        values.push(("DEMO_START", self.from.date_naive().to_string()));
        let text =
            values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("${{{name}}}"), value));
        let vendor = |text: &str| QUOTAS.iter().find(|(vendor, _)| text.contains(&format!("vendor: {vendor}")));
        let (_, limits) = vendor(&text).unwrap();
        let mut lines = Vec::new();
        for line in text.lines() {
            let (key, _) = line.trim().split_once(':').unwrap_or_default();
            if limits.split(' ').any(|limit| limit == key) {
                lines.push(format!("      {key}: {{ limit: 100000, per: 1s }}"));
            } else if key == "period_bandwidth" {
                lines.push("      period_bandwidth: { limit: 100GB, per: 1s }".to_owned());
            } else if key == "polling" {
                lines.push("    polling: { initial: 20ms, max: 100ms }".to_owned());
            } else {
                lines.push(line.to_owned());
            }
        }
        lines.join("\n") + "\n"
    }
}

fn options() -> Options {
    let lexer = lexer::Account { job_takes: Duration::from_millis(50), ..lexer::Account::default() };
    let khoros = khoros::Account { job_time: Duration::ZERO, ..khoros::Account::default() };
    ["create_token", "requests", "period_calls", "khoros.requests", "lexer.requests", "lexer.burst"]
        .iter()
        .fold(Options { lexer, khoros, volume: Volume::Around(250), ..Options::default() }, |options, name| {
            options.limit(name, 100_000, SECOND)
        })
        .limit("period_bandwidth", 100_000_000_000, SECOND)
}
