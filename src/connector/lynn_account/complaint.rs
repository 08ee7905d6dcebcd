//! Members of Lynn's responses that report errors: `isValid` and `errors` (`facts/lynn.md §8.4, §10.21`).

use std::collections::HashSet;

use serde_json::Value;

/// Whether a flag, given as JSON, is false; it may be a string.
pub(in crate::connector) fn is_false(flag: &str) -> bool {
    match serde_json::from_str(flag) {
        Ok(Value::Bool(flag)) => !flag,
        Ok(Value::String(text)) => text.trim().eq_ignore_ascii_case("false"),
        _ => false,
    }
}

/// Whether an error member holds no error.
pub(in crate::connector) fn is_blank(errors: &str) -> bool {
    matches!(errors.split_whitespace().collect::<String>().as_str(), "null" | "\"\"" | "[]" | "{}")
}

/// The text of an error member of any shape; texts of a list that are repeated occur once. Strings are unescaped,
/// because the redactor does not see a secret in escapes.
pub(in crate::connector) fn plain(errors: &str) -> String {
    match serde_json::from_str(errors) {
        Ok(Value::String(text)) => text,
        Ok(Value::Array(list)) => {
            let shown = |error: &Value| error.as_str().map_or_else(|| error.to_string(), ToOwned::to_owned);
            let mut seen = HashSet::new();
            list.iter().map(shown).filter(|text| seen.insert(text.clone())).collect::<Vec<_>>().join("; ")
        }
        Ok(other) => other.to_string(),
        Err(_) => "unreadable".to_owned(),
    }
}
