//! Lynn Reporting against its simulator: the rules for a careful connector, over real HTTP and with a real quota
//! ledger.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use simulator::lynn::{Account, Volume};
use simulator::{Control, Options};
use tidegate::connector::lynn::{HttpMethod, Product, Settings, VENDOR};
use tidegate::connector::{self, Expected, Outcome, StepError, Window};
use tidegate::decode::DecodeError;
use tidegate::quota::{Calls, Limit, Unit};

use crate::support::at;
use crate::support::bench::{self, Client, Page, day, limit, window};

mod bandwidth;
mod credentials;
mod faults;
mod pace;
mod paging;
mod refusals;
mod responses;
mod token;
mod windows;

const SECOND: Duration = Duration::from_secs(1);
const MARKS: &str = "navigation_marks";
/// Rows of a day, and of a page.
const ROWS: u64 = 50;
const PAGE: u32 = 20;

type Bench = bench::Bench<Settings>;

/// A connection to a server at `base_url`, with the account that the simulator knows.
async fn bench_at(base_url: &str) -> Bench {
    free_of_limits(Bench::at(VENDOR, base_url, settings()).await)
}

/// A simulator without limits, 50 rows a day, and a client.
async fn start() -> (Bench, Control, Client) {
    start_with(free()).await
}

async fn start_with(options: Options) -> (Bench, Control, Client) {
    let bench = bench_with(options).await;
    let (control, client) = (bench.control(), bench.client().await);
    (bench, control, client)
}

async fn bench_with(options: Options) -> Bench {
    free_of_limits(Bench::simulated(VENDOR, options, "", settings()).await)
}

fn free_of_limits(mut bench: Bench) -> Bench {
    (bench.limits, bench.attempts_max) = (free_limits(), 5);
    bench
}

fn free() -> Options {
    let options = Options { volume: Volume::Exactly(ROWS), ..Options::default() };
    let limits = ["create_token", "requests", "period_calls", "period_bandwidth"];
    limits.into_iter().fold(options, |options, name| options.limit(name, u64::MAX, SECOND))
}

fn settings() -> Settings {
    let account = Account::default();
    Settings {
        account: connector::lynn_account::Account {
            tenant: account.tenant,
            access_token: account.access_token.as_str().into(),
            access_token_secret: account.access_token_secret.as_str().into(),
            product: Product::Basic,
            subscription_key: None,
            create_token_path: "/api/LynnReporting/CreateToken".to_owned(),
            authorization_scheme: "bearer".to_owned(),
        },
        execute_report_path: "/api/LynnReporting/ExecuteReport/{tenant}/{report_id}".to_owned(),
        execute_report_method: HttpMethod::Post,
        filter_timezone: Tz::UTC,
        date_format: "%Y-%m-%d %H:%M:%S".to_owned(),
        page_size: PAGE,
        probe_full_page: false,
        fail_on_errors: true,
    }
}

/// Lynn's four limits, with values that are never reached. Pauses depend on them, so they are short too.
fn free_limits() -> Vec<Limit> {
    vec![
        limit("create_token", Calls::Login, Unit::Calls, 1_000, SECOND),
        limit("requests", Calls::Data, Unit::Calls, 1_000, SECOND),
        limit("period_calls", Calls::Every, Unit::Calls, 1_000_000, Duration::from_hours(12)),
        limit("period_bandwidth", Calls::Every, Unit::Bytes, 1 << 40, Duration::from_hours(12)),
    ]
}

fn marks() -> tidegate::catalogue::Stream {
    bench::stream(VENDOR, MARKS)
}

/// The first page of 1 March only.
async fn first_page(client: &Client) -> Result<(Vec<String>, Outcome), StepError> {
    let mut page = Page::default();
    let outcome = client.step(&marks(), day(1), None, &mut page).await?;
    Ok((page.rows, outcome))
}

/// Until when a limit is blocked, if it is.
async fn blocked(client: &Client, limit: &str) -> Option<DateTime<Utc>> {
    let usage = client.gate.ledger().usage().await.unwrap();
    usage.into_iter().find(|usage| usage.limit == limit).unwrap().blocked_until
}

fn truth(control: &Control, window: Window) -> Vec<String> {
    control.lynn().text(MARKS, window.start, window.end).unwrap()
}

fn is_of_subscription_key(error: &StepError) -> bool {
    matches!(error, StepError::Refused { what, hint } if what == "the subscription key" && hint.contains("`subscription_key`"))
}
