//! Keys: every one that a relation names is in its list, and no row that a vendor reports twice doubles one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use simulator::lynn::Volume;
use simulator::{Options, jaicp, khoros, lexer, lynn};
use tidegate::config::Config;
use tidegate::mart::Views;
use tidegate::schedule::{ByHand, enqueue_manual};

use super::{Mart, natural, strangers};
use crate::support::world::{assert_succeeded, run_to_end};
use crate::support::{World, ago};

#[tokio::test]
async fn every_agent_and_customer_that_a_relation_names_is_in_its_list() {
    let mart = Mart::new().await;
    mart.add_columns(natural).await;
    mart.refresh().await;
    for is_odd in [false, true] {
        mart.fill(60, is_odd).await;
        assert_eq!(strangers(&mart.pool).await, [""; 0], "odd: {is_odd}");
    }
}

/// What the demo's jobs load of two days.
async fn loaded() -> World {
    let jobs = [
        include_str!("../../../config/demo/lynn.yaml"),
        include_str!("../../../config/demo/khoros_care.yaml"),
        include_str!("../../../config/demo/lexer.yaml"),
        include_str!("../../../config/demo/jaicp.yaml"),
    ];
    let second = Duration::from_secs(1);
    let lexer = lexer::Account { job_takes: Duration::from_millis(50), ..lexer::Account::default() };
    let khoros = khoros::Account { job_time: Duration::ZERO, ..khoros::Account::default() };
    let options = Options { lexer, khoros, volume: Volume::Around(60), ..Options::default() };
    let limits = ["create_token", "requests", "period_calls", "khoros.requests", "lexer.requests", "lexer.burst"];
    let options = limits.iter().fold(options, |options, name| options.limit(name, 100_000, second));
    let world = World::of("demo", options.limit("period_bandwidth", 100_000_000_000, second)).await;
    let simulator = &world.simulator;
    let (of_lynn, of_khoros) = (lynn::Account::default(), khoros::Account::default());
    let env: BTreeMap<String, String> = [
        ("LYNN_URL", simulator.base_url()),
        ("LYNN_TENANT", of_lynn.tenant.to_string()),
        ("LYNN_ACCESS_TOKEN", of_lynn.access_token),
        ("LYNN_ACCESS_TOKEN_SECRET", of_lynn.access_token_secret),
        ("KHOROS_URL", format!("{}/api/public", simulator.base_url())),
        ("KHOROS_COMPANY_KEY", of_khoros.company_key),
        ("KHOROS_USERNAME", of_khoros.username),
        ("KHOROS_PASSWORD", of_khoros.password),
        ("LEXER_URL", simulator.base_url()),
        ("LEXER_STATUS_URL", simulator.clients_url()),
        ("LEXER_API_TOKEN", lexer::Account::default().api_token),
        ("FILES_HOST", simulator.files_url().trim_start_matches("http://").to_owned()),
        ("JAICP_URL", format!("{}/api", simulator.base_url())),
        ("JAICP_TOKEN", jaicp::Account::default().token),
        ("START", ago(1).date_naive().to_string()),
    ]
    .into_iter()
    .map(|(name, value)| (format!("DEMO_{name}"), value))
    .collect();
    let folder = world.folder.path();
    let settings = format!("database: {{ url: \"{}\" }}\nserver: {{ listen: 127.0.0.1:0 }}\n", world.database.url());
    std::fs::write(folder.join("tidegate.yaml"), settings).unwrap();
    std::fs::create_dir(folder.join("jobs")).unwrap();
    for (number, text) in jobs.iter().enumerate() {
        std::fs::write(folder.join(format!("jobs/{number}.yaml")), text).unwrap();
    }
    let config = Arc::new(Config::load(folder, &env).unwrap_or_else(|faults| panic!("{faults}")));
    for job in config.jobs.values() {
        let streams: Vec<&str> = job.streams.iter().map(|entry| &*entry.stream.name).collect();
        let mut connection = world.database.connect().await;
        let run = enqueue_manual(&mut connection, job, &streams, ByHand::Manual).await.unwrap();
        assert_succeeded(&run_to_end(Arc::clone(&config), world.database.pool(), run).await);
    }
    Views::default().refresh(&world.database.pool(), &config.mart).await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn every_agent_and_customer_of_the_simulators_is_in_its_list() {
    let world = loaded().await;
    assert_eq!(strangers(&world.database.pool()).await, [""; 0]);
    for (view, key) in [("conversations", "agent_key"), ("messages", "customer_key"), ("survey_responses", "agent_key")]
    {
        let named: i64 = world.scalar(&format!("select count({key}) from mart.{view}")).await;
        assert!(named > 0, "{view}");
    }
}
