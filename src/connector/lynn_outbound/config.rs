//! Configuration of a Lynn Outbound connection: the keys, their checks, and the resulting settings
//! (`facts/lynn.md §6`). Unconfirmed paths, verbs and words are settings (`facts/lynn.md §11`).
//!
//! Every path must lead to the method that it is for: no setting can make a reading call use one of the vendor's
//! writing methods, some of which send messages to customers.

use std::sync::Arc;

use reqwest::Method;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use url::Url;

use super::super::lynn_account::{self, Account, AccountKeys, template};
use super::LynnOutbound;
use crate::catalogue::Stream;
use crate::connector::export::Polling;
use crate::connector::{AccountSettings, OwnKeys, PollingKeys, Source, VendorPart, polling};
use crate::http::Redactor;
use crate::quota::LimitSpec;
use crate::secret::Secret;
use crate::settings::{KeyPath, Report};

/// A checked account.
#[derive(Debug, Clone)]
pub struct Settings {
    pub account: Account,
    /// The streams that may be read; none by default.
    pub enabled_streams: Vec<&'static str>,
    pub get_campaigns: Endpoint,
    pub get_contacts: Endpoint,
    /// With `{contact_id}`: one call per contact. Without: one call for all.
    pub get_dnd_contacts: Endpoint,
    /// The only method that writes, for `tidegate push`.
    pub add_campaign_data: Endpoint,
    pub get_task_status: Endpoint,
    /// The member of a contact that is its id; `None`: the first of the likely names.
    pub contact_id_field: Option<String>,
    pub task_words: TaskWords,
    /// Polling of load tasks.
    pub polling: Polling,
}

impl AccountSettings for Settings {
    fn limits(&self) -> &'static [LimitSpec] {
        self.account.limits()
    }

    fn credential(&self) -> Vec<&str> {
        self.account.credential()
    }

    fn secrets(&self) -> Vec<Secret> {
        self.account.secrets()
    }

    fn source(&self, base_url: &Url) -> Box<dyn Source> {
        Box::new(LynnOutbound::new(base_url.clone(), self.clone(), Redactor::new(self.secrets())))
    }

    fn account(&self) -> Vec<(&'static str, String)> {
        vec![("tenant", self.account.tenant.to_string())]
    }

    fn offers(&self, stream: &Stream) -> bool {
        self.enabled_streams.iter().any(|enabled| *enabled == stream.name)
    }
}

/// How one method is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// A path template that leads to the method, which the configuration check ensures.
    pub path: String,
    pub method: Method,
}

/// Lower-case words that end a load task; numbers are compared as text. Any other word means that the task is running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskWords {
    pub done: Vec<String>,
    pub failed: Vec<String>,
}

impl Default for TaskWords {
    fn default() -> Self {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Self {
            // A record that was sent shows `200` in the vendor's own screens (`§6.1`).
            done: words(&[
                "done",
                "completed",
                "complete",
                "finished",
                "success",
                "succeeded",
                "successful",
                "ok",
                "processed",
                "200",
            ]),
            failed: words(&[
                "failed",
                "failure",
                "fail",
                "error",
                "faulted",
                "cancelled",
                "canceled",
                "aborted",
                "rejected",
                "invalid",
                "400",
                "500",
            ]),
        }
    }
}

/// The keys of a Lynn Outbound connection beyond those of every connection and of the credential.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Keys {
    /// The lists that may be read: `campaigns`, `contacts`, `dnd_contacts`. Their interface is not publicly documented,
    /// so a list is read only if it is named here.
    #[schemars(with = "Option<Vec<OutboundStream>>", extend("default" = []))]
    enabled_streams: Option<Vec<Option<OutboundStream>>>,
    /// Paths below `base_url`.
    paths: Option<OutboundPaths>,
    /// HTTP verbs.
    methods: Option<OutboundMethods>,
    /// The member of a contact that is its id, as the vendor spells it; if left out, the first of `contact_id`,
    /// `id_contact` and `id` that exists, in any spelling.
    contact_id_field: Option<String>,
    /// Words that tell how a load task ended.
    task_words: Option<TaskWordKeys>,
    /// Polling of load tasks.
    polling: Option<PollingKeys>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
enum OutboundStream {
    Campaigns,
    Contacts,
    DndContacts,
}

/// Path templates; `{tenant}` is filled in. Each must lead to the method that it is named after.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct OutboundPaths {
    /// Obtains a token.
    #[schemars(extend("default" = "/api/LynnService/CreateToken"))]
    create_token: Option<String>,
    /// Lists the tenant's campaigns.
    #[schemars(extend("default" = "/api/LynnService/GetCampaigns/{tenant}"))]
    get_campaigns: Option<String>,
    /// Lists the tenant's contacts.
    #[schemars(extend("default" = "/api/LynnService/GetContacts/{tenant}"))]
    get_contacts: Option<String>,
    /// Lists the campaigns that have a contact on their blacklist, with one call per contact; without `{contact_id}`,
    /// one call for all contacts.
    #[schemars(extend("default" = "/api/LynnService/GetDnDContact/{tenant}/{contact_id}"))]
    get_dnd_contacts: Option<String>,
    /// Receives the records of `tidegate push`.
    #[schemars(extend("default" = "/api/LynnService/AddCampaingData/{tenant}"))]
    add_campaign_data: Option<String>,
    /// Returns the state of a load task; must contain `{task_id}`.
    #[schemars(extend("default" = "/api/LynnService/GetTaskStatus/{tenant}/{task_id}"))]
    get_task_status: Option<String>,
}

/// HTTP verbs; reading and writing methods have different choices.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct OutboundMethods {
    #[schemars(extend("default" = "GET"))]
    get_campaigns: Option<ReadMethod>,
    #[schemars(extend("default" = "GET"))]
    get_contacts: Option<ReadMethod>,
    #[schemars(extend("default" = "GET"))]
    get_dnd_contacts: Option<ReadMethod>,
    #[schemars(extend("default" = "POST"))]
    add_campaign_data: Option<WriteMethod>,
    #[schemars(extend("default" = "GET"))]
    get_task_status: Option<ReadMethod>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schemars(inline)]
enum ReadMethod {
    Get,
    Post,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schemars(inline)]
enum WriteMethod {
    Post,
    Put,
}

/// Compared in any letter case; any other word means that the task is running.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TaskWordKeys {
    /// The records are loaded.
    #[schemars(
        with = "Option<Vec<String>>",
        extend("default" = ["done", "completed", "complete", "finished", "success", "succeeded", "successful", "ok", "processed", "200"])
    )]
    done: Option<Vec<Option<String>>>,
    /// The records are not loaded, or not all of them.
    #[schemars(
        with = "Option<Vec<String>>",
        extend("default" = ["failed", "failure", "fail", "error", "faulted", "cancelled", "canceled", "aborted", "rejected", "invalid", "400", "500"])
    )]
    failed: Option<Vec<Option<String>>>,
}

const CREATE_TOKEN_PATH: &str = "/api/LynnService/CreateToken";
/// Maximum length of a word.
const WORD_CHARS_MAX: usize = 100;

/// JSON Schema of the keys.
pub(super) fn schema(generator: &mut SchemaGenerator) -> Schema {
    lynn_account::schema::<Keys>(generator)
}

pub(super) fn check(own: &OwnKeys<'_>, report: &mut Report<'_>) -> VendorPart {
    let (account, raw) = lynn_account::read(own, "a lynn_outbound connection", report);
    VendorPart { settings: Arc::new(settings(account, raw, own.path, report)), extra_streams: Vec::new() }
}

fn settings(account: AccountKeys, raw: Keys, path: &KeyPath, report: &mut Report<'_>) -> Settings {
    let (paths, methods) = (raw.paths.unwrap_or_default(), raw.methods.unwrap_or_default());
    let account = account.check(paths.create_token, CREATE_TOKEN_PATH, path, report);
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

/// The path must lead to `method` and contain no other method of the vendor. A suffix such as a version is allowed.
fn held_to(method: &str, template: &str, path: &KeyPath, report: &mut Report<'_>) {
    let head = template.split('?').next().unwrap_or_default();
    // The vendor may correct its spelling.
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

/// Prefixes of the names of the vendor's writing methods (`§6, §7`).
const WRITES: &[&str] = &["post", "put", "delete", "start", "stop", "set", "manage", "upload", "addcamp", "sessionby"];

const fn reading(raw: Option<ReadMethod>) -> Method {
    match raw {
        Some(ReadMethod::Post) => Method::POST,
        Some(ReadMethod::Get) | None => Method::GET,
    }
}

const fn writing(raw: Option<WriteMethod>) -> Method {
    match raw {
        Some(WriteMethod::Put) => Method::PUT,
        Some(WriteMethod::Post) | None => Method::POST,
    }
}

fn enabled_streams(raw: Vec<Option<OutboundStream>>, path: &KeyPath, report: &mut Report<'_>) -> Vec<&'static str> {
    let path = path.key("enabled_streams");
    let mut enabled = Vec::new();
    for (index, stream) in raw.into_iter().enumerate() {
        let name = match stream {
            Some(OutboundStream::Campaigns) => "campaigns",
            Some(OutboundStream::Contacts) => "contacts",
            Some(OutboundStream::DndContacts) => "dnd_contacts",
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

fn task_words(raw: TaskWordKeys, path: &KeyPath, report: &mut Report<'_>) -> TaskWords {
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
