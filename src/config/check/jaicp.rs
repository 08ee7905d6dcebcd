//! The keys of a JAICP Reporter connection (`vendors/jaicp.md`).

use super::super::raw;
use super::super::read::read;
use super::super::tree::{KeyPath, Node};
use super::Report;
use super::connection::{Special, credential, polling};
use crate::vendor;
use crate::vendor::jaicp::{DEFAULT_BASE_URL, Settings};

pub(super) fn check(own: &Node, shared: &[&str], path: &KeyPath, report: &mut Report<'_>) -> Special {
    let raw: raw::JaicpReporter = read(own, path, shared, "a jaicp_reporter connection", report);
    let settings = Settings {
        polling: polling(raw.polling, path, report),
        token: credential(raw.token, &path.key("token"), "write the token: `token: ${JAICP_TOKEN}`", report),
    };
    Special {
        settings: vendor::Settings::JaicpReporter(settings),
        default_base_url: DEFAULT_BASE_URL,
        extra_streams: Vec::new(),
    }
}
