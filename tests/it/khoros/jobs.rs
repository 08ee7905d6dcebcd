//! How export jobs are polled.

use simulator::khoros::Fate;
use simulator::{Action, Fault, Match};

use super::*;

const AUTHOR: &str = "author";

fn status(body: &str) -> Action {
    Action::Text { status: 200, content_type: "text/plain".to_owned(), body: body.to_owned() }
}

#[tokio::test]
async fn a_job_that_takes_time_is_polled_until_it_is_done() {
    let khoros = Account { job_time: Duration::from_millis(300), ..Account::default() };
    let scene = Scene::with(Options { khoros, ..free() }, settings()).await;
    let reading = scene.read(AUTHOR, day(3)).await.unwrap();
    assert_eq!((reading.rows.len() as u64, reading.pages.len()), (ROWS, 1));
    assert!(reading.pauses > 3, "{}", reading.pauses);
    assert_eq!((scene.calls("khoros_create"), scene.calls("khoros_download")), (1, 1));
    // Only what a restart needs: no URL, no token, no key.
    let account = Account::default();
    for cursor in &reading.cursors {
        assert!(cursor.contains("workflow") && cursor.contains("run"), "{cursor}");
        for secret in [&account.company_key, &account.password].into_iter().chain(&scene.control().khoros().secrets()) {
            assert!(
                !cursor.contains(secret.as_str()) && !cursor.contains("http") && !cursor.contains("Token"),
                "{cursor}"
            );
        }
    }
    scene.assert_well_behaved();
}

#[tokio::test]
async fn a_closed_job_without_a_detail_is_done_if_it_has_a_download_url() {
    let scene = Scene::new().await;
    for flapping in [vec![Fate::NoDetail], vec![Fate::State(None), Fate::Endless, Fate::NoDetail, Fate::NoDetail]] {
        scene.control().khoros().next_job(AUTHOR, Fate::Flapping(flapping));
        assert_eq!(scene.read(AUTHOR, day(3)).await.unwrap().rows.len() as u64, ROWS);
    }
    scene.control().khoros().next_job(AUTHOR, Fate::NoDetail);
    assert_eq!(scene.read(AUTHOR, day(3)).await.unwrap().rows.len() as u64, ROWS);
    assert_eq!((scene.calls("khoros_create"), scene.calls("khoros_download")), (3, 3), "no job is requested again");
    scene.assert_well_behaved();
}

#[tokio::test]
async fn a_failed_job_is_requested_again_a_few_times() {
    let scene = Scene::new().await;
    let khoros = scene.control().khoros();
    khoros.next_job(AUTHOR, Fate::Failed);
    khoros.next_job(AUTHOR, Fate::Closed(Some("TERMINATED".to_owned())));
    assert_eq!(scene.read(AUTHOR, day(3)).await.unwrap().rows.len() as u64, ROWS);
    assert_eq!(scene.calls("khoros_create"), 3);
    for fate in [Fate::Failed, Fate::Closed(None), Fate::Closed(Some("CANCELED".to_owned()))] {
        khoros.next_job(AUTHOR, fate);
    }
    let error = scene.fault(AUTHOR, day(3)).await;
    assert!(matches!(&error, StepError::ExportFailed { times: 3, said } if said.contains("“CANCELED”")), "{error}");
    assert_eq!(scene.calls("khoros_download"), 1);
}

#[tokio::test]
async fn a_job_that_never_ends_fails_at_the_deadline() {
    let mut own = settings();
    own.polling.deadline = Duration::from_millis(200);
    let scene = Scene::with(free(), own).await;
    for fate in [Fate::Endless, Fate::State(Some("PAUSED".to_owned())), Fate::State(None)] {
        scene.control().khoros().next_job(AUTHOR, fate.clone());
        let error = scene.fault(AUTHOR, day(3)).await;
        assert!(matches!(error, StepError::ExportOverdue { .. }), "{fate:?}: {error}");
    }
    assert_eq!(scene.calls("khoros_download"), 0);
}

#[tokio::test]
async fn a_job_whose_state_flaps_ends_with_its_file() {
    let scene = Scene::new().await;
    let paused = Fate::State(Some("PAUSED".to_owned()));
    let asked_on = vec![Fate::Endless, paused.clone(), Fate::State(None), Fate::NoUrl(1), Fate::Endless];
    let cases = [
        // None of these states is final, so the same job is polled until it is done.
        (asked_on, 1),
        // The job is treated as lost, and another is created.
        (vec![Fate::Endless, Fate::Gone, Fate::Done], 2),
        (vec![paused, Fate::Closed(None), Fate::Done], 2),
    ];
    for (fates, jobs) in cases {
        let before = scene.calls("khoros_create");
        scene.control().khoros().next_job(AUTHOR, Fate::Flapping(fates.clone()));
        assert_eq!(scene.read(AUTHOR, day(3)).await.unwrap().rows.len() as u64, ROWS, "{fates:?}");
        assert_eq!(scene.calls("khoros_create") - before, jobs, "{fates:?}");
    }
    scene.assert_well_behaved();
}

#[tokio::test]
async fn a_missing_url_is_polled_for_and_then_built_from_the_ids() {
    let scene = Scene::new().await;
    for (times, polls) in [(2, 3), (1_000, 4)] {
        let before = scene.calls("khoros_status");
        scene.control().khoros().next_job(AUTHOR, Fate::NoUrl(times));
        assert_eq!(scene.read(AUTHOR, day(3)).await.unwrap().rows.len() as u64, ROWS);
        assert_eq!(scene.calls("khoros_status") - before, polls, "{times}");
    }
    scene.assert_well_behaved();
}

#[tokio::test]
async fn a_status_may_have_any_of_its_forms() {
    let scene = Scene::new().await;
    scene.control().khoros().shape(|shape| {
        shape.details = true;
        shape.with_others = true;
    });
    assert_eq!(scene.read(AUTHOR, day(3)).await.unwrap().rows.len() as u64, ROWS);
    scene.control().next(Match::endpoint("khoros_status"), status(r#"{"status":"PASS","result":[{},{}]}"#));
    assert!(matches!(scene.fault(AUTHOR, day(3)).await, StepError::Shape(_)));
    scene.assert_well_behaved();
}

#[tokio::test]
async fn p3_a_restart_polls_the_running_job() {
    let khoros = Account { job_time: Duration::from_millis(100), ..Account::default() };
    let scene = Scene::with(Options { khoros, ..free() }, settings()).await;
    let (stream, window, mut page) = (named(AUTHOR), day(3), Page::default());
    let first = scene.client.step_expecting(&stream, window, None, Expected::default(), &mut page).await.unwrap();
    let Outcome::Pending { mut cursor, .. } = first else { panic!("{first:?}") };
    // Every step is done by another process: nothing is remembered, so each uses the company key.
    let rows = loop {
        let source = settings().source(&scene.bench.base_url);
        let session = scene.client.gate.session(0, Utc::now());
        let request = StepRequest { stream: &stream, window, cursor: Some(&cursor), expected: Expected::default() };
        match source.step(&session, request, &mut page).await.unwrap() {
            Outcome::Pending { cursor: next, .. } => cursor = next,
            Outcome::Page { .. } => break page.rows.len() as u64,
        }
    };
    assert_eq!((rows, scene.calls("khoros_create")), (ROWS, 1));
    scene.assert_well_behaved();
}

#[tokio::test]
async fn an_unknown_job_is_requested_again() {
    let scene = Scene::new().await;
    let (stream, mut page) = (named(AUTHOR), Page::default());
    let first = scene.client.step_expecting(&stream, day(3), None, Expected::default(), &mut page).await.unwrap();
    let Outcome::Pending { mut cursor, .. } = first else { panic!("{first:?}") };
    scene.control().khoros().forget_jobs();
    let rows = loop {
        match scene.client.step_expecting(&stream, day(3), Some(&cursor), Expected::default(), &mut page).await.unwrap()
        {
            Outcome::Pending { cursor: next, .. } => cursor = next,
            Outcome::Page { .. } => break page.rows.len() as u64,
        }
    };
    assert_eq!((rows, scene.calls("khoros_create")), (ROWS, 2));
}

#[tokio::test]
async fn an_expired_token_is_replaced_by_the_companys_key() {
    let khoros = Account { job_time: Duration::from_millis(50), ..Account::default() };
    let scene = Scene::with(Options { khoros, ..free() }, settings()).await;
    // The first call uses the key; its response contains the token that is refused later.
    let refused = Fault::new(Match::endpoint("khoros_status"), Action::Status { status: 403 }).after(1);
    scene.control().mischief(refused);
    assert_eq!(scene.read(AUTHOR, day(3)).await.unwrap().rows.len() as u64, ROWS);
    scene.assert_well_behaved();
}

#[tokio::test]
async fn temporary_errors_are_retried_and_a_job_is_started_once() {
    let scene = Scene::new().await;
    for endpoint in ["khoros_status", "khoros_download", "files_get"] {
        for action in [Action::Reset, Action::Status { status: 503 }, Action::Cut] {
            let before = scene.calls("khoros_create");
            scene.control().next(Match::endpoint(endpoint), action.clone());
            let rows =
                scene.read(AUTHOR, day(3)).await.unwrap_or_else(|error| panic!("{endpoint} {action:?}: {error}"));
            assert_eq!(rows.rows.len() as u64, ROWS, "{endpoint} {action:?}");
            assert_eq!(scene.calls("khoros_create") - before, 1, "{endpoint} {action:?}");
        }
    }
    // It is unknown whether a job was started, so the call is not repeated within seconds.
    for action in [Action::Reset, Action::Status { status: 502 }] {
        let before = scene.calls("khoros_create");
        scene.control().next(Match::endpoint("khoros_create"), action);
        assert!(matches!(scene.fault(AUTHOR, day(3)).await, StepError::Http(error) if error.is_transient()));
        assert_eq!(scene.calls("khoros_create") - before, 1);
    }
    scene.assert_well_behaved();
}

#[tokio::test]
async fn refusals_say_what_to_do() {
    let scene = Scene::new().await;
    let text = |status, body: &str| Action::Text { status, content_type: String::new(), body: body.to_owned() };
    let buckets = r#"{"status":"FAIL","result":"Unable to hydrate filter: Too many buckets (745) for harbour-k7"}"#;
    for (action, said, hint) in [
        (text(200, buckets), "Too many buckets (745) for ***", "metrics"),
        (text(500, buckets), "Too many buckets (745) for ***” (status 500)", "metrics"),
        (text(400, "{}"), "status 400", ""),
        (Action::Unauthorized, "the credentials (status 401)", "case-sensitive"),
        (Action::Forbidden, "access (status 403)", "company_key"),
        (Action::Redirect { status: 302, location: "https://elsewhere.example/".to_owned() }, "redirects", "base_url"),
        (text(200, r#"{"status":"PASS","result":null}"#), "no `result`", ""),
        (text(200, r#"{"status":"PASS","result":[]}"#), "no `workflowId`", ""),
        (text(200, r#"{"status":"PASS","result":{"workflowId":"a"}}"#), "no `runId`", ""),
        (Action::HtmlWith200, "HTML", ""),
        (Action::EmptyBody, "empty", ""),
    ] {
        scene.control().next(Match::endpoint("khoros_create"), action.clone());
        let error = scene.fault(AUTHOR, day(3)).await;
        assert!(error.to_string().contains(said), "{action:?}: {error}");
        let told = if let StepError::Refused { hint, .. } = error { hint } else { "" };
        assert!(told.contains(hint), "{action:?}: {told}");
    }
    assert_eq!(scene.calls("khoros_status"), 0);
    scene.assert_well_behaved();
}

#[tokio::test]
async fn a_login_reads_the_teams() {
    let scene = Scene::new().await;
    let session = scene.client.gate.session(0, Utc::now());
    scene.client.source.log_in(&session).await.unwrap();
    assert_eq!((scene.calls("khoros_teams"), scene.calls("khoros_create")), (1, 0));
    scene.control().next(Match::endpoint("khoros_teams"), status(r#"{"status":"PASS","result":{}}"#));
    assert!(matches!(scene.client.source.log_in(&session).await, Err(StepError::Shape(_))));
    for (key, password, said) in [("other", None, "status 403"), ("harbour-k7", Some("wrong"), "status 401")] {
        let mut wrong = settings();
        wrong.company_key = key.into();
        wrong.password = password.map_or(wrong.password.clone(), Into::into);
        let other = Scene::with(free(), wrong).await;
        let error = other.client.log_in().await.unwrap_err();
        assert!(matches!(&error, StepError::Refused { hint, .. } if hint.contains("type Analytics")), "{error}");
        assert!(error.to_string().contains(said), "{error}");
        assert_eq!(other.calls("khoros_teams"), 1, "a refused credential is not tried again");
    }
}

#[tokio::test]
async fn teams_are_read_unchanged() {
    let scene = Scene::new().await;
    let reading = scene.read("teams", list()).await.unwrap();
    assert_eq!((reading.rows.len(), reading.pauses), (3, 0));
    scene.control().next(Match::endpoint("khoros_teams"), Action::Cut);
    assert_eq!(scene.read("teams", list()).await.unwrap().rows.len(), 3);
    for (body, said) in [
        (r#"{"status":"FAIL","message":"no","result":[]}"#, "no"),
        (r#"{"status":"PASS","result":"closed"}"#, "closed"),
        (r#"{"status":"PASS","result":{}}"#, "array of rows"),
    ] {
        scene.control().next(Match::endpoint("khoros_teams"), status(body));
        let error = scene.fault("teams", list()).await;
        assert!(error.to_string().contains(said), "{body}: {error}");
    }
    scene.assert_well_behaved();
}

#[tokio::test]
async fn p10_a_response_without_a_body_is_an_empty_file_or_list_and_no_job() {
    let scene = Scene::new().await;
    scene.control().next(Match::endpoint("khoros_download"), Action::NoContent);
    assert!(scene.read("incoming_post", day(3)).await.unwrap().rows.is_empty());
    for action in [Action::NoContent, Action::EmptyBody] {
        scene.control().next(Match::endpoint("files_get"), action.clone());
        assert!(scene.read("incoming_post", day(3)).await.unwrap().rows.is_empty(), "{action:?}");
        scene.control().mischief(Fault::new(Match::endpoint("khoros_teams"), action.clone()).times(2));
        assert!(scene.read("teams", list()).await.unwrap().rows.is_empty(), "{action:?}");
        scene.control().quiet();
        for endpoint in ["khoros_create", "khoros_status"] {
            scene.control().mischief(Fault::new(Match::endpoint(endpoint), action.clone()).times(9));
            let error = scene.fault("incoming_post", day(3)).await;
            assert!(matches!(error, StepError::Unreadable(DecodeError::Empty)), "{endpoint} {action:?}: {error:?}");
            scene.control().quiet();
        }
    }
    scene.assert_well_behaved();
}
