use super::*;

const WORKFLOW: &str = "7d0c1e52-4b1a-3f60-9a77-1c2d3e4f5a6b";
const RUN: &str = "23Ab+cD/eF0gHiJkLmNoPqRsTuVw=";

fn handle() -> Handle {
    Handle { workflow: WORKFLOW.to_owned(), run: RUN.to_owned() }
}

fn pass(result: &str) -> String {
    format!(r#"{{"status":"PASS","request":null,"message":null,"result":{result}}}"#)
}

fn job(run: &str, leaf: &str, url: &str) -> String {
    format!(
        r#"{{"jobInfo":{{"workflowId":"{WORKFLOW}","runId":"{run}","downloadUrl":"{url}",
            "statusUrl":"https://aanalytics/x/status?analyticsAccessToken=q1w2e3%3D%3D"}},"result":{leaf}}}"#
    )
}

fn progress(result: &str) -> Result<Progress, StepError> {
    status(pass(result).as_bytes(), &handle(), &Redactor::default()).map(|(progress, _)| progress)
}

#[test]
fn every_state_of_the_documented_table_has_its_outcome() {
    let leaf = |state: &str, detail: &str| format!(r#"{{"runnerState":{state},"reason":null,"detail":{detail}}}"#);
    let failed = |said: &str| Progress::Failed(said.to_owned());
    let running = |said: &str| Progress::Running(said.to_owned());
    for (state, detail, url, decided) in [
        (r#""RUNNING""#, r#""""#, "", running("RUNNING")),
        (r#""RUNNING""#, r#""COMPLETED""#, "https://x/download", running("RUNNING")),
        (r#""CLOSED""#, r#""COMPLETED""#, "https://x/download", Progress::Done(true)),
        (r#""CLOSED""#, r#""COMPLETED""#, "", Progress::Done(false)),
        (r#""CLOSED""#, r#""FAILED""#, "https://x/download", failed("CLOSED with “FAILED”")),
        (r#""CLOSED""#, r#""TERMINATED""#, "", failed("CLOSED with “TERMINATED”")),
        (r#""CLOSED""#, r#""""#, "", failed("CLOSED with nothing")),
        (r#""CLOSED""#, "null", "", failed("CLOSED with nothing")),
        (r#""CLOSED""#, "null", "https://x/download", Progress::Done(true)),
        (r#""CLOSED""#, r#"" ""#, "https://x/download", Progress::Done(true)),
        (r#""closed""#, r#""Completed""#, "https://x/download", Progress::Done(true)),
        (r#""Closed""#, r#""failed""#, "https://x/download", failed("CLOSED with “failed”")),
        (r#""running""#, "null", "https://x/download", running("RUNNING")),
        (r#""CLOSED""#, "7", "", failed("CLOSED with nothing")),
        (r#""PAUSED""#, r#""""#, "", running("“PAUSED”")),
        ("null", "null", "", running("nothing")),
        ("null", "null", "https://x/download", running("nothing")),
        ("null", r#""COMPLETED""#, "https://x/download", running("nothing as its state, with “COMPLETED”")),
    ] {
        let job = job(RUN, &leaf(state, detail), url);
        assert_eq!(progress(&job).unwrap(), decided, "{state} {detail}");
        assert_eq!(progress(&format!("[{job}]")).unwrap(), decided, "{state} {detail} in an array");
    }
    let alias = job(RUN, r#"{"runnerState":"CLOSED","details":"COMPLETED"}"#, "https://x");
    assert_eq!(progress(&alias).unwrap(), Progress::Done(true));
    let silent = job(RUN, r#"{"runnerState":"CLOSED"}"#, "https://x");
    assert_eq!(progress(&silent).unwrap(), Progress::Done(true));
    let reason = job(RUN, r#"{"runnerState":"CLOSED","detail":"FAILED","reason":"out of\nmemory"}"#, "");
    assert_eq!(progress(&reason).unwrap(), failed("CLOSED with “FAILED”: “out of memory”"));
}

#[test]
fn of_several_jobs_the_requested_one_is_used_and_its_absence_is_an_error() {
    let (done, other) = (r#"{"runnerState":"CLOSED","detail":"COMPLETED"}"#, r#"{"runnerState":"RUNNING"}"#);
    let (ours, theirs) = (job(RUN, done, "https://x"), job("other", other, ""));
    assert_eq!(progress(&format!("[{theirs},{ours}]")).unwrap(), Progress::Done(true));
    assert_eq!(progress(&format!("[{theirs}]")).unwrap(), Progress::Running("RUNNING".to_owned()));
    for result in [format!("[{theirs},{theirs}]"), "[]".to_owned()] {
        assert!(matches!(progress(&result), Err(StepError::Shape(_))), "{result}");
    }
    assert!(matches!(progress("{}"), Err(StepError::Missing(_))));
}

#[test]
fn a_refusal_has_the_vendors_message() {
    let redactor = Redactor::new(vec![Secret::new("acme-t1")]);
    let refused = |body: &str| match result(body.as_bytes(), &redactor) {
        Err(StepError::Refused { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    let said = "Unable to hydrate filter for export info: Too many buckets (745) requested.";
    assert_eq!(refused(&format!(r#"{{"status":"FAIL","result":"{said} acme-t1"}}"#)), format!("“{said} ***”"));
    assert_eq!(refused(&pass(r#""no""#)), "“no”");
    assert_eq!(refused(r#"{"status":"FAIL","message":"closed","result":null}"#), "“closed”");
    assert_eq!(refused(r#"{"status":"ERROR","result":{}}"#), "status “ERROR”");
    for missing in [r#"{"result":{}}"#, r#"{"status":"PASS","result":null}"#, r#"{"status":"PASS"}"#, "{}"] {
        assert!(matches!(result(missing.as_bytes(), &redactor), Err(StepError::Missing(_))), "{missing}");
    }
    for other in ["", "<html>", "[]", "\"x\"", r#"{"status":"#] {
        assert!(matches!(result(other.as_bytes(), &redactor), Err(StepError::Unreadable(_))), "{other}");
    }
    assert_eq!(words(r#"{"status":"FAIL","result":"no"}"#, &redactor).as_deref(), Some("“no”"));
    assert_eq!(words("{}", &redactor), None);
}

#[test]
fn a_job_is_identified_by_its_ids_and_its_token_is_unchanged() {
    let made = |run: &str, more: &str| {
        let body = pass(&format!(r#"{{"workflowId":"{WORKFLOW}","runId":"{run}","downloadUrl":""{more}}}"#));
        created(body.as_bytes(), &Redactor::default())
    };
    let url = |url: &str| format!(r#","statusUrl":"{url}""#);
    let (job, token) =
        made(RUN, &url("https://evil.example/x?analyticsAccessToken=q1w2%2Be3%3D%3D&companyKey=k#f")).unwrap();
    assert_eq!(job, handle());
    assert_eq!(token.unwrap().expose(), "q1w2%2Be3%3D%3D");
    assert_eq!(
        job.path("status"),
        "reports/report/7d0c1e52-4b1a-3f60-9a77-1c2d3e4f5a6b/23Ab%2BcD%2FeF0gHiJkLmNoPqRsTuVw%3D/status"
    );
    for none in [
        "https://x/status?companyKey=k",
        "https://x/status",
        "",
        "https://x?analyticsAccessToken=a b",
        "x?[COMPANY KEY]",
    ] {
        assert!(made(RUN, &url(none)).unwrap().1.is_none(), "{none}");
    }
    for bad in ["..", "", "a b", "é"] {
        assert!(matches!(made(bad, ""), Err(StepError::Shape(_))), "{bad}");
    }
    let body = pass(r#"{"workflowId":"x","runId":null}"#);
    assert!(matches!(created(body.as_bytes(), &Redactor::default()), Err(StepError::Missing("runId"))));
    // An id cannot leave its segment of the path.
    let odd = Handle { workflow: "../../teams".to_owned(), run: "a%2Fb?c#d".to_owned() };
    assert_eq!(odd.path("status"), "reports/report/..%2F..%2Fteams/a%252Fb%3Fc%23d/status");
}
