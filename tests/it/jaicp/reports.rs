//! Reports as CSV.

use serde_json::json;
use simulator::jaicp::TaskEnd;
use simulator::{Action, Fault, Match};

use super::*;

const REPORTS: [&str; 4] = ["report_sessions", "report_messages", "report_clients", "report_telephony"];

fn host(url: &str) -> String {
    url.trim_start_matches("http://").to_owned()
}

/// The values of a column of the file.
fn column(read: &Reading, title: &str) -> BTreeSet<String> {
    let rows = read.rows.iter().map(|row| serde_json::from_str::<Value>(row).unwrap());
    rows.map(|row| row[title].as_str().unwrap_or_default().to_owned()).collect()
}

fn expected(bench: &Bench, stream: &str, window: Window) -> (&'static str, BTreeSet<String>) {
    let (title, field) = if stream == "report_clients" { ("Client ID", "id") } else { ("Session ID", "sessionId") };
    let rows = bench.jaicp().report(&stream["report_".len()..], window.start, window.end);
    (title, rows.iter().map(|row| row[field].as_str().unwrap().to_owned()).collect())
}

#[tokio::test]
async fn every_report_is_created_polled_and_fetched() {
    for (end, files) in [(TaskEnd::OwnFile, "jaicp_file"), (TaskEnd::StoredFile, "files_get")] {
        for mut bench in [Bench::new().await, Bench::new().await.v1()] {
            bench.allowed = vec![host(&bench.simulator().files_url())];
            bench.jaicp().shape(|shape| shape.task_end = end);
            for stream in REPORTS {
                let read = bench.read(stream, day(5)).await.unwrap();
                let (title, expected) = expected(&bench, stream, day(5));
                assert_eq!(column(&read, title), expected, "{stream}");
                assert!(!expected.is_empty());
            }
            let stats = bench.control().stats();
            assert_eq!((stats.calls["jaicp_create_report"], stats.calls[files]), (4, 4));
            assert!(!stats.calls.contains_key("jaicp_write"));
            for call in stats.reports.iter().filter(|call| call.endpoint == "jaicp_create_report") {
                assert_eq!(call.start_date, "2024-03-05T00:00:00.000Z");
                assert_eq!(call.end_date, "2024-03-05T23:59:59.999Z", "a row belongs to one window");
            }
            assert_well_behaved(&bench.control());
        }
    }
}

#[tokio::test]
async fn p3_a_running_report_is_polled_and_not_created_again() {
    for bench in [Bench::new().await, Bench::new().await.v1()] {
        bench.jaicp().shape(|shape| shape.polls = 4);
        let (client, stream) = (bench.client().await, stream("report_messages"));
        let Outcome::Pending { cursor, .. } = client.step(&stream, day(5), None, &mut Page::default()).await.unwrap()
        else {
            panic!("a report takes time")
        };
        assert!(!cursor.contains("http"), "{cursor}");
        let read = bench.client().await.read_on("report_messages", day(5), Some(cursor)).await.unwrap();
        assert_eq!((read.rows.len(), bench.jaicp().tasks()), (60, 1));
    }
}

#[tokio::test]
async fn a_failed_report_is_created_again_a_few_times() {
    for (end, said) in [(TaskEnd::Failed, "FAILED"), (TaskEnd::NoFile, "COMPLETED without a file")] {
        let bench = Bench::new().await;
        bench.jaicp().shape(|shape| shape.task_end = end);
        let error = bench.read("report_messages", day(5)).await.unwrap_err();
        assert!(matches!(&error, StepError::ExportFailed { times: 3, said: words } if words == said), "{error:?}");
        assert_eq!(bench.jaicp().tasks(), 3);
    }
    let bench = Bench::new().await.v1();
    bench.jaicp().shape(|shape| shape.task_end = TaskEnd::Failed);
    let error = bench.read("report_messages", day(5)).await.unwrap_err();
    let words = "“reporter.report.failed: out of disk”";
    assert!(matches!(&error, StepError::ExportFailed { said, .. } if said == words), "{error:?}");
    // The vendor no longer knows the task.
    let bench = Bench::new().await;
    let gone = Fault::new(Match::endpoint("jaicp_task"), Action::Status { status: 404 });
    bench.control().mischief(gone);
    assert_eq!(bench.read("report_messages", day(5)).await.unwrap().rows.len(), 60);
    assert_eq!(bench.jaicp().tasks(), 2);
}

#[tokio::test]
async fn an_unknown_status_is_polled_until_the_deadline() {
    let mut bench = Bench::new().await;
    bench.settings.polling.deadline = Duration::from_millis(300);
    bench.jaicp().shape(|shape| shape.task_end = TaskEnd::Unknown);
    let error = bench.read("report_messages", day(5)).await.unwrap_err();
    assert!(matches!(&error, StepError::ExportOverdue { said, .. } if said == "“PONDERING”"), "{error:?}");
}

#[tokio::test]
async fn p3_a_creation_whose_response_is_lost_is_looked_up_before_another() {
    for bench in [Bench::new().await, Bench::new().await.v1()] {
        let is_v1 = bench.settings.api == Api::V1;
        // The task was created, but its response was lost.
        bench.control().next(Match::endpoint("jaicp_create_report"), Action::Reset);
        let client = bench.client().await;
        let read = client.read("report_messages", day(5)).await.unwrap();
        assert_eq!((read.rows.len(), bench.jaicp().tasks()), (60, 1));
        let calls = bench.control().stats().calls;
        assert_eq!(calls["jaicp_tasks"], 2, "what was there before, and what is there now");
        assert!(
            calls["jaicp_task"] > 0 && !calls.contains_key("jaicp_events"),
            "the task that was found is asked after"
        );
        // The list cannot be read either: the next attempt searches it first.
        bench.control().next(Match::endpoint("jaicp_create_report"), Action::Reset);
        let no_list = Fault::new(Match::endpoint("jaicp_tasks"), Action::Status { status: 500 }).times(3);
        bench.control().mischief(no_list.after(u32::from(is_v1)));
        client.read("report_clients", day(5)).await.unwrap_err();
        let read = client.read("report_clients", day(5)).await.unwrap();
        assert_eq!((read.rows.len(), bench.jaicp().tasks()), (60, 2));
        assert_well_behaved(&bench.control());
    }
}

#[tokio::test]
async fn p3_a_creation_is_looked_up_after_any_loss_of_its_response() {
    for mut bench in [Bench::new().await, Bench::new().await.v1()] {
        bench.settings.polling.max = Duration::from_millis(2);
        let lost = [
            Action::Cut,
            Action::EmptyBody,
            Action::HtmlWith200,
            Action::Status { status: 500 },
            Action::Status { status: 502 },
            Action::Status { status: 504 },
            Action::Json { status: 200, body: "{}".to_owned() },
        ];
        for (number, action) in lost.into_iter().enumerate() {
            bench.control().next(Match::endpoint("jaicp_create_report"), action.clone());
            let read = bench.read("report_messages", day(5)).await.unwrap();
            assert_eq!((read.rows.len(), bench.jaicp().tasks()), (60, number + 1), "{action:?}");
        }
        assert_well_behaved(&bench.control());
    }
}

#[tokio::test]
async fn p1_the_report_of_a_lost_creation_is_not_used_for_another_window() {
    for bench in [Bench::new().await, Bench::new().await.v1()] {
        let client = bench.client().await;
        // Day 5 was created, but neither its response nor the list arrives.
        bench.control().next(Match::endpoint("jaicp_create_report"), Action::Reset);
        let no_list = Fault::new(Match::endpoint("jaicp_tasks"), Action::Status { status: 500 }).times(3).after(1);
        bench.control().mischief(no_list);
        client.read("report_messages", day(5)).await.unwrap_err();
        // The report of day 6 is not created.
        bench.control().next(Match::endpoint("jaicp_create_report"), Action::Reset);
        bench.jaicp().shape(|shape| shape.creates = false);
        client.read("report_messages", day(6)).await.unwrap_err();
        bench.jaicp().shape(|shape| shape.creates = true);
        for of_day in [6, 5] {
            let read = client.read("report_messages", day(of_day)).await.unwrap();
            let (title, expected) = expected(&bench, "report_messages", day(of_day));
            assert_eq!(column(&read, title), expected, "{of_day}");
        }
    }
}

#[tokio::test]
async fn p1_a_running_request_is_not_mistaken_for_one_that_was_never_made() {
    let bench = Bench::new().await.v1();
    bench.jaicp().shape(|shape| shape.polls = 4);
    let (client, stream) = (bench.client().await, stream("report_messages"));
    let Outcome::Pending { cursor, .. } = client.step(&stream, day(5), None, &mut Page::default()).await.unwrap()
    else {
        panic!("a report takes time")
    };
    bench.jaicp().shape(|shape| shape.creates = false);
    bench.control().next(Match::endpoint("jaicp_create_report"), Action::Reset);
    client.read("report_messages", day(6)).await.unwrap_err();
    bench.jaicp().shape(|shape| shape.creates = true);
    let read = client.read_on("report_messages", day(5), Some(cursor)).await.unwrap();
    assert_eq!((read.rows.len(), bench.jaicp().tasks()), (60, 1));
}

#[tokio::test]
async fn a_request_stored_by_an_earlier_version_is_polled_by_a_whole_number() {
    let bench = Bench::new().await.v1();
    let (client, stream) = (bench.client().await, stream("report_messages"));
    let Outcome::Pending { cursor, .. } = client.step(&stream, day(5), None, &mut Page::default()).await.unwrap()
    else {
        panic!("a report takes time")
    };
    let noted: Value = serde_json::from_str(&cursor).unwrap();
    let time = noted["job"]["handle"]["request"]["time"].as_str().unwrap();
    assert!(time.ends_with('Z') && time.parse::<DateTime<Utc>>().is_ok(), "the vendor writes a text: {time}");
    let millis = time.parse::<DateTime<Utc>>().unwrap().timestamp_millis();
    for time in [time.to_owned(), millis.to_string(), "no time".to_owned()] {
        let mut other = noted.clone();
        other["job"]["handle"]["request"]["time"] = json!(time);
        let read = bench.client().await.read_on("report_messages", day(5), Some(other.to_string())).await.unwrap();
        assert_eq!(read.rows.len(), 60, "{time}");
    }
    assert_well_behaved(&bench.control());
}

#[tokio::test]
async fn p1_another_windows_report_is_never_used_for_the_missing_one() {
    for bench in [Bench::new().await, Bench::new().await.v1()] {
        let client = bench.client().await;
        client.read("report_messages", day(5)).await.unwrap();
        for client in [client, bench.client().await] {
            // No report was created, because the vendor failed.
            let failed = Fault::new(Match::endpoint("jaicp_create_report"), Action::Status { status: 503 });
            bench.jaicp().shape(|shape| shape.creates = false);
            bench.control().mischief(failed);
            let error = client.read("report_messages", day(6)).await.unwrap_err();
            assert!(matches!(error, StepError::Http(_)), "{error:?}");
            bench.jaicp().shape(|shape| shape.creates = true);
            let read = client.read("report_messages", day(6)).await.unwrap();
            let (title, expected) = expected(&bench, "report_messages", day(6));
            assert_eq!(column(&read, title), expected);
        }
        assert_eq!(bench.jaicp().tasks(), 3);
    }
}

#[tokio::test]
async fn p7_a_file_on_another_host_is_fetched_without_credential_or_not_at_all() {
    for bench in [Bench::new().await, Bench::new().await.v1()] {
        for url in [
            "http://169.254.169.254/latest/meta-data",
            "http://127.0.0.1:1/x",
            "http://[::1]/x",
            "file:///etc/passwd",
            "http://user:pass@files.example/x",
        ] {
            bench.jaicp().shape(|shape| shape.file_url = Some(url.to_owned()));
            let error = bench.read("report_messages", day(5)).await.unwrap_err();
            let StepError::Http(tidegate::http::HttpError::Host { .. }) = &error else { panic!("{url}: {error:?}") };
            assert!(!error.to_string().contains("meta-data"), "{error}");
        }
        // The storage's host was not allowed.
        bench.jaicp().shape(|shape| (shape.file_url, shape.task_end) = (None, TaskEnd::StoredFile));
        bench.read("report_messages", day(5)).await.unwrap_err();
        assert!(!bench.control().stats().calls.contains_key("files_get"));
        assert_well_behaved(&bench.control());
    }
}

#[tokio::test]
async fn p7_each_redirect_to_a_file_is_checked() {
    let mut bench = Bench::new().await.v1();
    bench.allowed = vec![host(&bench.simulator().files_url())];
    let csv = "\"Session ID\"\n\"s-1\"\n";
    let link = bench.control().put_file("moved.csv", "text/csv", csv, Duration::from_mins(5));
    bench.control().next(Match::endpoint("jaicp_file"), Action::Redirect { status: 302, location: link });
    let read = bench.read("report_messages", day(5)).await.unwrap();
    assert_eq!(read.rows, [r#"{"Session ID":"s-1"}"#]);
    assert_eq!(read.titles, ["Session ID"]);
    let private = "http://10.0.0.1/x".to_owned();
    bench.control().next(Match::endpoint("jaicp_file"), Action::Redirect { status: 302, location: private });
    let error = bench.read("report_messages", day(5)).await.unwrap_err();
    assert!(error.to_string().contains("10.0.0.1"), "{error}");
    let again = "/files/reports/t-503.csv".to_owned();
    let circle = Fault::new(Match::endpoint("jaicp_file"), Action::Redirect { status: 302, location: again });
    bench.control().mischief(circle.times(50));
    let error = bench.read("report_messages", day(5)).await.unwrap_err();
    assert!(matches!(error, StepError::Shape(_)), "{error:?}");
    assert!(bench.control().stats().calls["jaicp_file"] < 10);
    assert_well_behaved(&bench.control());
}

#[tokio::test]
async fn p5_a_file_that_is_not_csv_is_refused() {
    let mut bench = Bench::new().await;
    bench.attempts_max = 1;
    let workbook = Action::Text { status: 200, content_type: "text/csv".into(), body: "PK\u{3}\u{4}...".into() };
    let error = json!({ "error": "gone" }).to_string();
    for action in [
        Action::HtmlWith200,
        Action::XmlErrorWith200,
        workbook,
        Action::Json { status: 200, body: error },
        Action::OneField { bytes: 20 << 20 },
        Action::Cut,
    ] {
        bench.control().next(Match::endpoint("jaicp_file"), action.clone());
        let error = bench.read("report_messages", day(5)).await.unwrap_err();
        assert!(matches!(error, StepError::Unreadable(_) | StepError::Http(_)), "{action:?}: {error:?}");
    }
    assert_well_behaved(&bench.control());
}
