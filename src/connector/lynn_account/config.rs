//! Configuration of a Lynn credential, the same for all families of its API (`facts/lynn.md §2`).

use super::{Account, Product};
use crate::secret::Secret;
use crate::settings::{Credential, Integer, KeyPath, Report, credential, credential_problem};

const AUTHORIZATION_SCHEME: &str = "bearer";

/// The keys of an account, unchecked.
pub(in crate::connector) struct AccountKeys {
    pub(in crate::connector) tenant: Option<Integer>,
    pub(in crate::connector) access_token: Option<Credential>,
    pub(in crate::connector) access_token_secret: Option<Credential>,
    pub(in crate::connector) product: Option<Product>,
    pub(in crate::connector) subscription_key: Option<Credential>,
    pub(in crate::connector) authorization_scheme: Option<String>,
    pub(in crate::connector) create_token_path: Option<String>,
}

pub(in crate::connector) fn account(
    raw: AccountKeys,
    default_create_token_path: &str,
    path: &KeyPath,
    report: &mut Report<'_>,
) -> Account {
    let tenant = path.key("tenant");
    if raw.tenant.is_none() {
        report.missing(&tenant, "write the tenant's number: `tenant: 4411`");
    }
    let product = raw.product.unwrap_or(Product::Basic);
    let key = raw.subscription_key.map(|key| key.0);
    let create_token = path.key("paths").key("create_token");
    Account {
        tenant: report.integer(&tenant, raw.tenant, 1..=i64::MAX, 0),
        access_token: credential(
            raw.access_token,
            &path.key("access_token"),
            "write the credential's Token: `access_token: ${LYNN_ACCESS_TOKEN}`",
            report,
        ),
        access_token_secret: credential(
            raw.access_token_secret,
            &path.key("access_token_secret"),
            "write the credential's Secret Token: `access_token_secret: ${LYNN_ACCESS_TOKEN_SECRET}`",
            report,
        ),
        product,
        subscription_key: subscription_key(key, product, &path.key("subscription_key"), report),
        create_token_path: template(
            raw.create_token_path,
            default_create_token_path,
            &["tenant"],
            None,
            &create_token,
            report,
        ),
        authorization_scheme: scheme(raw.authorization_scheme, &path.key("authorization_scheme"), report),
    }
}

fn subscription_key(key: Option<Secret>, product: Product, path: &KeyPath, report: &mut Report<'_>) -> Option<Secret> {
    let key = key.filter(|key| !key.expose().trim().is_empty());
    match (&key, product) {
        (None, Product::Premium) => {
            report.missing(path, "`product: premium` needs it: `subscription_key: ${LYNN_SUBSCRIPTION_KEY}`");
        }
        (Some(_), Product::Basic) => {
            report.refuse(path, "is for premium only; write `product: premium`, or leave the key out");
        }
        (Some(key), Product::Premium) => {
            let ascii = key.expose().bytes().all(|byte| (0x21..=0x7e).contains(&byte));
            let problem = credential_problem(key.expose());
            if let Some(problem) = problem.or((!ascii).then_some("has a character that a header cannot carry")) {
                report.refuse(path, format!("{problem}; copy the key again"));
            }
        }
        (None, Product::Basic) => {}
    }
    key
}

/// Checks a path template: it stays below the base URL, its placeholders are among `known`, and the `needed` one is
/// present. `needed` also has the message for its absence.
pub(in crate::connector) fn template(
    raw: Option<String>,
    default: &str,
    known: &[&str],
    needed: Option<(&str, &str)>,
    path: &KeyPath,
    report: &mut Report<'_>,
) -> String {
    let text = raw.unwrap_or_else(|| default.to_owned());
    if let Some(problem) = template_problem(&text, known, needed) {
        report.refuse(path, format!("{problem}; the default is `{default}`"));
    }
    text
}

fn template_problem(text: &str, known: &[&str], needed: Option<(&str, &str)>) -> Option<String> {
    if !text.starts_with('/') || text.starts_with("//") {
        return Some("must begin with one `/`".to_owned());
    }
    if text.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '\\' | '#')) {
        return Some("has a space, `\\` or `#`".to_owned());
    }
    if text.split(['/', '?']).any(|part| matches!(part, "." | "..")) {
        return Some("leaves the base URL with `.` or `..`".to_owned());
    }
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let name = rest[at..].strip_prefix('{').and_then(|after| after.split_once('}'));
        let Some((name, after)) = name else { return Some("has an unmatched brace".to_owned()) };
        if !known.contains(&name) {
            let names: Vec<String> = known.iter().map(|name| format!("`{{{name}}}`")).collect();
            return Some(format!("has an unknown placeholder; {} can be used", names.join(" and ")));
        }
        rest = after;
    }
    let (placeholder, lack) = needed.filter(|(placeholder, _)| !text.contains(placeholder))?;
    Some(format!("{lack}: `{placeholder}` is missing"))
}

fn scheme(raw: Option<String>, path: &KeyPath, report: &mut Report<'_>) -> String {
    let text = raw.unwrap_or_else(|| AUTHORIZATION_SCHEME.to_owned());
    if text.is_empty() || !text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')) {
        report.refuse(path, format!("is not a scheme word; write for instance `{AUTHORIZATION_SCHEME}`"));
    }
    text
}
