//! Configuration of a Lynn credential, the same for all families of its API (`facts/lynn.md §2`).

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Account, Product};
use crate::connector::OwnKeys;
use crate::secret::Secret;
use crate::settings::{self, Credential, Integer, KeyPath, Report, credential, credential_problem, keys_of};

const AUTHORIZATION_SCHEME: &str = "bearer";

/// The keys of a credential.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::connector) struct AccountKeys {
    /// The tenant's number, shown in parentheses beside its name where a credential is created.
    #[schemars(range(min = 1))]
    tenant: Option<Integer>,
    /// The credential's Token.
    access_token: Option<Credential>,
    /// The credential's Secret Token.
    access_token_secret: Option<Credential>,
    /// The subscription, which determines the quotas.
    #[schemars(extend("default" = "basic"))]
    product: Option<Product>,
    /// `Ocp-Apim-Subscription-Key`; premium only. Empty means none.
    subscription_key: Option<Credential>,
    /// Scheme word of the Authorization header.
    #[schemars(extend("default" = "bearer"))]
    authorization_scheme: Option<String>,
}

/// JSON Schema of the keys of a family, which are `T`, and of the credential.
pub(in crate::connector) fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    let mut whole = generator.subschema_for::<T>();
    let account = generator.subschema_for::<AccountKeys>();
    let account = account.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    if let Some(Value::Object(keys)) = whole.get_mut("properties") {
        keys.extend(account);
    }
    whole
}

/// Reads the keys of the credential, and those of a family.
pub(in crate::connector) fn read<T>(own: &OwnKeys<'_>, whose: &str, report: &mut Report<'_>) -> (AccountKeys, T)
where
    T: DeserializeOwned + Default,
{
    let known = keys_of::<AccountKeys>();
    let (account, family) = own.node.split(known);
    let beside: Vec<&str> = known.iter().chain(own.common).copied().collect();
    (settings::read(&account, own.path, &[], "", report), settings::read(&family, own.path, &beside, whose, report))
}

impl AccountKeys {
    /// Checks the keys. `create_token` is the path template in the family's `paths`.
    pub(in crate::connector) fn check(
        self,
        create_token: Option<String>,
        default_create_token: &str,
        path: &KeyPath,
        report: &mut Report<'_>,
    ) -> Account {
        let tenant = path.key("tenant");
        if self.tenant.is_none() {
            report.missing(&tenant, "write the tenant's number: `tenant: 4411`");
        }
        let product = self.product.unwrap_or(Product::Basic);
        let key = self.subscription_key.map(|key| key.0);
        Account {
            tenant: report.integer(&tenant, self.tenant, 1..=i64::MAX, 0),
            access_token: credential(
                self.access_token,
                &path.key("access_token"),
                "write the credential's Token: `access_token: ${LYNN_ACCESS_TOKEN}`",
                report,
            ),
            access_token_secret: credential(
                self.access_token_secret,
                &path.key("access_token_secret"),
                "write the credential's Secret Token: `access_token_secret: ${LYNN_ACCESS_TOKEN_SECRET}`",
                report,
            ),
            product,
            subscription_key: subscription_key(key, product, &path.key("subscription_key"), report),
            create_token_path: template(
                create_token,
                default_create_token,
                &["tenant"],
                None,
                &path.key("paths").key("create_token"),
                report,
            ),
            authorization_scheme: scheme(self.authorization_scheme, &path.key("authorization_scheme"), report),
        }
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
