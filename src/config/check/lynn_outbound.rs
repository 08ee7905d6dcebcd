//! The keys of a Lynn Outbound connection (`vendors/lynn.md §6`).

use super::super::raw;
use super::super::read::read;
use super::super::tree::{KeyPath, Node};
use super::connection::Special;
use super::{Report, lynn};
use crate::vendor;
use crate::vendor::lynn_outbound::{DEFAULT_BASE_URL, Settings};

pub(super) fn check(own: &Node, shared: &[&str], path: &KeyPath, report: &mut Report<'_>) -> Special {
    let raw: raw::LynnOutbound = read(own, path, shared, "a lynn_outbound connection", report);
    let account = raw::LynnReporting {
        tenant: raw.tenant,
        access_token: raw.access_token,
        access_token_secret: raw.access_token_secret,
        product: raw.product,
        subscription_key: raw.subscription_key,
        ..raw::LynnReporting::default()
    };
    Special {
        settings: vendor::Settings::LynnOutbound(Settings { account: lynn::settings(account, path, report) }),
        default_base_url: DEFAULT_BASE_URL,
        extra_streams: Vec::new(),
    }
}
