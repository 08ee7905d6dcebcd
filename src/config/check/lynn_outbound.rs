//! The keys of a Lynn Outbound connection (`vendors/lynn.md §6`).
//!
//! Every path is held to the method that it is for: no setting can make a read call one of the vendor's writing methods,
//! some of which send messages to customers.

use super::super::raw;
use super::super::read::read;
use super::super::tree::{KeyPath, Node};
use super::Report;
use super::connection::{Special, polling};
use super::lynn_account::{Written, account, template};
use crate::connector;
use crate::connector::lynn_outbound::{Endpoint, Method, Settings, TaskWords};

const CREATE_TOKEN_PATH: &str = "/api/LynnService/CreateToken";
/// No word of a vendor is longer.
const WORD_CHARS_MAX: usize = 100;

pub(super) fn check(own: &Node, shared: &[&str], path: &KeyPath, report: &mut Report<'_>) -> Special {
    let raw: raw::LynnOutbound = read(own, path, shared, "a lynn_outbound connection", report);
    Special {
        settings: connector::Settings::LynnOutbound(settings(raw, path, report).into()),
        default_base_url: connector::lynn_account::DEFAULT_BASE_URL,
        extra_streams: Vec::new(),
    }
}

fn settings(raw: raw::LynnOutbound, path: &KeyPath, report: &mut Report<'_>) -> Settings {
    let (paths, methods) = (raw.paths.unwrap_or_default(), raw.methods.unwrap_or_default());
    let written = Written {
        tenant: raw.tenant,
        access_token: raw.access_token,
        access_token_secret: raw.access_token_secret,
        product: raw.product,
        subscription_key: raw.subscription_key,
        authorization_scheme: raw.authorization_scheme,
        create_token_path: paths.create_token,
    };
    let account = account(written, CREATE_TOKEN_PATH, path, report);
    held_to("CreateToken", &account.create_token_path, &path.key("paths").key("create_token"), report);
    let mut endpoint = |key: &str, path_written, default, names: &[&str], method| {
        endpoint(key, path_written, default, names, method, path, report)
    };
    let tenant: &[&str] = &["tenant"];
    let get_campaigns = endpoint(
        "get_campaigns",
        paths.get_campaigns,
        "/api/LynnService/GetCampaigns/{tenant}",
        tenant,
        reading(methods.get_campaigns),
    );
    let get_contacts = endpoint(
        "get_contacts",
        paths.get_contacts,
        "/api/LynnService/GetContacts/{tenant}",
        tenant,
        reading(methods.get_contacts),
    );
    let get_dnd_contacts = endpoint(
        "get_dnd_contacts",
        paths.get_dnd_contacts,
        "/api/LynnService/GetDnDContact/{tenant}/{contact_id}",
        &["tenant", "contact_id"],
        reading(methods.get_dnd_contacts),
    );
    let add_campaign_data = endpoint(
        "add_campaign_data",
        paths.add_campaign_data,
        "/api/LynnService/AddCampaingData/{tenant}",
        tenant,
        writing(methods.add_campaign_data),
    );
    let get_task_status = endpoint(
        "get_task_status",
        paths.get_task_status,
        "/api/LynnService/GetTaskStatus/{tenant}/{task_id}",
        &["tenant", "task_id"],
        reading(methods.get_task_status),
    );
    Settings {
        account,
        enabled_streams: enabled_streams(raw.enabled_streams.unwrap_or_default(), path, report),
        get_campaigns,
        get_contacts,
        get_dnd_contacts,
        add_campaign_data,
        get_task_status,
        contact_id_field: contact_id_field(raw.contact_id_field, path, report),
        task_words: task_words(raw.task_words.unwrap_or_default(), path, report),
        polling: polling(raw.polling, path, report),
    }
}

fn endpoint(
    key: &str,
    written: Option<String>,
    default: &str,
    names: &[&str],
    method: Method,
    path: &KeyPath,
    report: &mut Report<'_>,
) -> Endpoint {
    let path = path.key("paths").key(key);
    let needed = names.contains(&"task_id").then_some(("{task_id}", "does not say which task"));
    let text = template(written, default, names, needed, &path, report);
    let vendor_method = default.split('/').nth(3).unwrap_or_default();
    held_to(vendor_method, &text, &path, report);
    Endpoint { path: text, method }
}

/// The path must lead to `method`: it alone may stand where a method of the vendor can stand. A suffix, a version for
/// instance, is as good.
fn held_to(method: &str, template: &str, path: &KeyPath, report: &mut Report<'_>) {
    let head = template.split('?').next().unwrap_or_default();
    // The vendor may correct its spelling one day.
    let lower = if method == "AddCampaingData" { "addcampai".to_owned() } else { method.to_lowercase() };
    let parts = || head.split('/').map(str::to_lowercase);
    let leads_elsewhere = |part: &String| !part.starts_with(&lower) && WRITES.iter().any(|verb| part.starts_with(verb));
    if let Some(place) = parts().position(|part| leads_elsewhere(&part)) {
        let other = head.split('/').nth(place).unwrap_or_default();
        report.refuse(path, format!("leads to `{other}`, which is another method; it is for `{method}`"));
    } else if parts().filter(|part| part.starts_with(&lower)).count() != 1 {
        report.refuse(path, format!("must lead to `{method}`: keep that part of the path"));
    }
}

/// How the names of the vendor's writing methods begin (`§6, §7`).
const WRITES: &[&str] = &["post", "put", "delete", "start", "stop", "set", "manage", "upload", "addcamp", "sessionby"];

const fn reading(raw: Option<raw::ReadMethod>) -> Method {
    match raw {
        Some(raw::ReadMethod::Post) => Method::Post,
        Some(raw::ReadMethod::Get) | None => Method::Get,
    }
}

const fn writing(raw: Option<raw::WriteMethod>) -> Method {
    match raw {
        Some(raw::WriteMethod::Put) => Method::Put,
        Some(raw::WriteMethod::Post) | None => Method::Post,
    }
}

fn enabled_streams(
    raw: Vec<Option<raw::OutboundStream>>,
    path: &KeyPath,
    report: &mut Report<'_>,
) -> Vec<&'static str> {
    let path = path.key("enabled_streams");
    let mut enabled = Vec::new();
    for (index, stream) in raw.into_iter().enumerate() {
        let name = match stream {
            Some(raw::OutboundStream::Campaigns) => "campaigns",
            Some(raw::OutboundStream::Contacts) => "contacts",
            Some(raw::OutboundStream::DndContacts) => "dnd_contacts",
            None => {
                report.missing(&path.index(index), "write the name of a stream, or remove the entry");
                continue;
            }
        };
        if !enabled.contains(&name) {
            enabled.push(name);
        }
    }
    enabled
}

fn contact_id_field(raw: Option<String>, path: &KeyPath, report: &mut Report<'_>) -> Option<String> {
    if raw.as_ref().is_some_and(|field| field.trim().is_empty()) {
        report.refuse(&path.key("contact_id_field"), "names no field; write for instance `contactId`");
    }
    raw
}

fn task_words(raw: raw::TaskWords, path: &KeyPath, report: &mut Report<'_>) -> TaskWords {
    let (path, default) = (path.key("task_words"), TaskWords::default());
    let words = TaskWords {
        done: raw.done.map_or(default.done, |words| checked_words(words, &path.key("done"), report)),
        failed: raw.failed.map_or(default.failed, |words| checked_words(words, &path.key("failed"), report)),
    };
    if let Some(both) = words.done.iter().find(|word| words.failed.contains(word)) {
        report.state(&path, &format!("`{both}` is in `done` and in `failed`; keep one"));
    }
    words
}

fn checked_words(raw: Vec<Option<String>>, path: &KeyPath, report: &mut Report<'_>) -> Vec<String> {
    let mut words = Vec::new();
    for (index, word) in raw.into_iter().enumerate() {
        let path = path.index(index);
        let Some(word) = word.filter(|word| !word.trim().is_empty()) else {
            report.missing(&path, "write a word, or remove the entry");
            continue;
        };
        if word.chars().count() > WORD_CHARS_MAX {
            report.refuse(&path, format!("is too long; write at most {WORD_CHARS_MAX} letters"));
        }
        words.push(word.trim().to_lowercase());
    }
    words
}
