//! One vocabulary of channels.

use std::collections::BTreeMap;

/// The vendors whose channels can be named in `mart.channels`, as in the column `source`.
pub const VENDORS: &[&str] = &["khoros", "lexer", "jaicp", "lynn"];

/// Vendor, name at the vendor in lower case, and name in the mart. A channel that is not listed keeps its own name, in
/// lower case. Lynn documents the numbers nowhere; these are from its sample data and from a tenant.
pub const SHIPPED: &[(&str, &str, &str)] = &[
    ("lynn", "3", "twitter"),
    ("lynn", "7", "phone"),
    ("lynn", "21", "webchat"),
    ("lynn", "26", "whatsapp"),
    ("lynn", "web chat", "webchat"),
    ("lynn", "webchat", "webchat"),
    ("lynn", "teléfono", "phone"),
    ("lynn", "telefono", "phone"),
    ("lynn", "correo", "email"),
    ("jaicp", "chatwidget", "webchat"),
    ("jaicp", "chatapi", "api"),
    ("jaicp", "resterisk", "phone"),
    ("jaicp", "sip", "phone"),
    ("lexer", "x", "twitter"),
    ("lexer", "fb", "facebook"),
    ("lexer", "e-mail", "email"),
    ("khoros", "x", "twitter"),
    ("khoros", "facebook_messenger", "messenger"),
    ("khoros", "twitter_dm", "twitter"),
    ("khoros", "apple_business_chat", "apple messages"),
];

/// The shipped names with the configured ones added. Of two for the same raw name, the configured one applies.
pub fn all(configured: &BTreeMap<(String, String), String>) -> BTreeMap<(&str, &str), &str> {
    let shipped = SHIPPED.iter().map(|(vendor, raw, channel)| ((*vendor, *raw), *channel));
    let configured = configured.iter().map(|((vendor, raw), channel)| ((&**vendor, &**raw), &**channel));
    shipped.chain(configured).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shipped_names_are_unique_and_in_lower_case() {
        let none = BTreeMap::new();
        assert_eq!(all(&none).len(), SHIPPED.len());
        for (vendor, raw, channel) in SHIPPED {
            assert!(VENDORS.contains(vendor));
            assert_eq!((raw.to_lowercase().as_str(), channel.to_lowercase().as_str()), (*raw, *channel));
        }
    }
}
