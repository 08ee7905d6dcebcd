//! The keys of a JAICP Reporter connection (`vendors/jaicp.md`).

use super::super::raw;
use super::super::read::read;
use super::super::tree::{KeyPath, Node};
use super::connection::{Special, credential, csv, polling};
use super::{Report, flag};
use crate::secret::Secret;
use crate::vendor;
use crate::vendor::jaicp::{Api, BySession, DEFAULT_BASE_URL, Settings};

const PAGE_SIZE: u32 = 100;
const LANGUAGE: &str = "en";

pub(super) fn check(own: &Node, shared: &[&str], path: &KeyPath, report: &mut Report<'_>) -> Special {
    let raw: raw::JaicpReporter = read(own, path, shared, "a jaicp_reporter connection", report);
    let api = match raw.api {
        Some(raw::JaicpApi::V1) => Api::V1,
        Some(raw::JaicpApi::Legacy) | None => Api::Legacy,
    };
    let settings = Settings {
        polling: polling(raw.polling, path, report),
        token: token(raw.token.map(|token| token.0), &path.key("token"), report),
        api,
        project: project(raw.project, api, &path.key("project"), report),
        page_size: report.whole(&path.key("page_size"), raw.page_size, 1..=1_000, PAGE_SIZE),
        message_status: flag(raw.message_status, false),
        by_session_method: match raw.by_session_method {
            Some(raw::JaicpBySession::Get) => BySession::Get,
            Some(raw::JaicpBySession::Post) => BySession::Post,
            Some(raw::JaicpBySession::Auto) | None => BySession::Auto,
        },
        language: language(raw.language, &path.key("language"), report),
        timezone_offset: raw
            .timezone_offset
            .map(|offset| report.whole(&path.key("timezone_offset"), Some(offset), -86_400..=86_400, 0)),
        csv: csv(raw.csv, path, report),
    };
    Special {
        settings: vendor::Settings::JaicpReporter(settings),
        default_base_url: DEFAULT_BASE_URL,
        extra_streams: Vec::new(),
    }
}

/// It is one segment of a path; nothing else is known of its shape (`§1`).
fn token(raw: Option<Secret>, path: &KeyPath, report: &mut Report<'_>) -> Secret {
    const REMEDY: &str = "write the token: `token: ${JAICP_TOKEN}`";
    let unfit = raw.as_ref().is_some_and(|token| {
        let text = token.expose();
        text.trim() == text && text.contains(['/', '?', '#', ' '])
    });
    if unfit {
        report.refuse(path, format!("has a space, `/`, `?` or `#`; copy the token alone, without a URL; {REMEDY}"));
    }
    credential(raw.map(super::super::scalar::Credential), path, REMEDY, report)
}

fn project(raw: Option<String>, api: Api, path: &KeyPath, report: &mut Report<'_>) -> Option<String> {
    match &raw {
        None if api == Api::V1 => {
            report.missing(path, "`api: v1` needs the project's short name: `project: my_bot-1000-abc`");
        }
        Some(name) if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control()) => {
            report.refuse(path, "is no short name of a project; write for instance `my_bot-1000-abc`");
        }
        _ => {}
    }
    raw
}

/// It is sent as a header.
fn language(raw: Option<String>, path: &KeyPath, report: &mut Report<'_>) -> String {
    let text = raw.unwrap_or_else(|| LANGUAGE.to_owned());
    let fits = (2..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !fits {
        report.refuse(path, "is no language; write for instance `en` or `ru`");
    }
    text
}
