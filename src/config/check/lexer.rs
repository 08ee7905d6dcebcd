//! The keys of a Lexer Activity connection (`vendors/lexer.md`).

use super::super::raw;
use super::super::read::read;
use super::super::tree::{KeyPath, Node};
use super::Report;
use super::connection::{Special, credential, polling};
use crate::vendor;
use crate::vendor::lexer::{DEFAULT_BASE_URL, Settings};

pub(super) fn check(own: &Node, shared: &[&str], path: &KeyPath, report: &mut Report<'_>) -> Special {
    let raw: raw::LexerActivity = read(own, path, shared, "a lexer_activity connection", report);
    let settings = Settings {
        polling: polling(raw.polling, path, report),
        api_token: credential(
            raw.api_token,
            &path.key("api_token"),
            "write the token: `api_token: ${LEXER_API_TOKEN}`",
            report,
        ),
    };
    Special {
        settings: vendor::Settings::LexerActivity(settings),
        default_base_url: DEFAULT_BASE_URL,
        extra_streams: Vec::new(),
    }
}
