//! The keys of a Khoros Care connection (`vendors/khoros_care.md`).

use super::super::raw;
use super::super::read::read;
use super::super::tree::{KeyPath, Node};
use super::Report;
use super::connection::{Special, credential, polling};
use crate::vendor;
use crate::vendor::khoros::{DEFAULT_BASE_URL, Settings};

pub(super) fn check(own: &Node, shared: &[&str], path: &KeyPath, report: &mut Report<'_>) -> Special {
    let raw: raw::KhorosCare = read(own, path, shared, "a khoros_care connection", report);
    let settings = Settings {
        polling: polling(raw.polling, path, report),
        company_key: credential(
            raw.company_key,
            &path.key("company_key"),
            "write the tenant's key: `company_key: ${KHOROS_COMPANY_KEY}`",
            report,
        ),
        username: {
            let path = path.key("username");
            if raw.username.is_none() {
                report.missing(&path, "write the API user's name: `username: reports@example.com`");
            }
            raw.username.unwrap_or_default()
        },
        password: credential(
            raw.password,
            &path.key("password"),
            "write the API user's password: `password: ${KHOROS_PASSWORD}`",
            report,
        ),
    };
    Special {
        settings: vendor::Settings::KhorosCare(settings),
        default_base_url: DEFAULT_BASE_URL,
        extra_streams: Vec::new(),
    }
}
