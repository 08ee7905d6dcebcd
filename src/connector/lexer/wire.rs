//! Responses that describe a job (`facts/lexer.md §6.1`), and documented errors (`§7`).

use crate::connector::StepError;
use crate::decode::object::Members;
use crate::http::{Excerpt, HttpError};
use crate::secret::Secret;

/// A response that describes a job instead of holding a report; any report may have one.
pub(super) struct JobResponse {
    pub(super) status: String,
    pub(super) token: Option<Secret>,
    pub(super) url: Option<Secret>,
}

impl JobResponse {
    /// Returns `None` for another response. A job has a string `status`, and a `token` or `url`, which may be null; no
    /// report has both.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let members = Members::parse(body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body))?;
        let has = |wanted: &str| members.iter().any(|(name, _)| name == wanted);
        let status = members.get("status").filter(|raw| raw.get().starts_with('"'))?;
        if !has("token") && !has("url") {
            return None;
        }
        let secret = |name: &str| members.text(name).filter(|text| !text.is_empty()).map(|text| Secret::new(&*text));
        let status = serde_json::from_str(status.get()).ok()?;
        Some(Self { status, token: secret("token"), url: secret("url") })
    }
}

/// Classifies a documented error by its status. The format of the body is not documented; its words only select the
/// hint.
pub(super) fn classify(error: StepError) -> StepError {
    let StepError::Http(HttpError::Status { status, excerpt }) = &error else { return error };
    let refused =
        |what: &str, hint: &'static str| StepError::Refused { what: format!("{what} (status {status})"), hint };
    match status {
        300..=399 => refused(
            "it redirects the call, and the token is not sent to another URL",
            "check `base_url` and `status_base_url`: write the hosts that the vendor's documentation names now",
        ),
        400 => bad_request(*status, excerpt),
        401 => refused(
            "the API token",
            "check `api_token`: it is of type Activity and belongs to this account; if it is right, the API's IP allowlist \
             may lack this machine's address",
        ),
        403 => refused(
            "access",
            "the API's IP allowlist may lack this machine's address, or the token is not of type Activity",
        ),
        404 => refused(
            "the request: it is malformed or the path is unknown",
            "check `base_url`, `forms`, `nps_category` and `parameters`: Lexer sends this status for any invalid request; it does \
             not mean that there are no data",
        ),
        _ => error,
    }
}

fn bad_request(status: u16, excerpt: &Excerpt) -> StepError {
    let (what, hint) = if excerpt.mentions("too long") {
        ("the report: its date range is too long", "make the `slice` shorter: a report covers at most 12 months")
    } else if excerpt.mentions("future") {
        ("the report: its starting date is a future date", "check this machine's clock and the job's `start`")
    } else if excerpt.mentions("type") {
        (
            "the report: the account does not have this type",
            "leave the stream out, or correct `workflow_states_type` if it is `workflow_states`",
        )
    } else {
        ("the report", "check `forms`, `nps_category` and `parameters`, and that the account has the report")
    };
    StepError::Refused { what: format!("{what} (status {status})"), hint }
}

/// The error for a report without a job, according to the documentation, that came as a job.
pub(super) fn unexpected_job() -> StepError {
    StepError::Refused {
        what: "to return the report immediately: it created a job, although none is documented for this report"
            .to_owned(),
        hint: "make the `slice` shorter and run it again; if the error persists, ask Lexer how this report is fetched, and report it to us",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_distinguished_from_reports() {
        let read = |body: &str| {
            JobResponse::read(body.as_bytes()).map(|job| {
                let text = |secret: Option<Secret>| secret.map(|secret| secret.expose().to_owned());
                (job.status, text(job.token), text(job.url))
            })
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            read(r#"{"status":"pending","url":null,"token":"a"}"#).unwrap(),
            ("pending".to_owned(), some("a"), None)
        );
        assert_eq!(
            read(r#" {"token":7,"url":"https://x/y","status":"complete","more":[1]}"#).unwrap(),
            ("complete".to_owned(), some("7"), some("https://x/y"))
        );
        assert_eq!(read(r#"{"status":"expired","token":""}"#).unwrap(), ("expired".to_owned(), None, None));
        for other in [
            r#"{"status":[{"value":1}],"token":[]}"#,
            r#"{"status":"x"}"#,
            r#"{"status":3,"token":"a"}"#,
            r#"{"total_volume":1}"#,
            r#"[{"status":"pending","token":"a"}]"#,
            "<html>",
            "",
        ] {
            assert!(read(other).is_none(), "{other}");
        }
    }
}
