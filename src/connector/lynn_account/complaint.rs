//! What an answer of Lynn says about itself: `isValid` and `errors` (`facts/lynn.md §8.4, §10.21`).

use serde_json::Value;

/// Whether a flag, as JSON, says no; it may come as a string.
pub(in crate::connector) fn is_false(flag: &str) -> bool {
    match serde_json::from_str(flag) {
        Ok(Value::Bool(flag)) => !flag,
        Ok(Value::String(text)) => text.trim().eq_ignore_ascii_case("false"),
        _ => false,
    }
}

/// Whether an error member holds no error.
pub(in crate::connector) fn says_nothing(errors: &str) -> bool {
    matches!(errors.split_whitespace().collect::<String>().as_str(), "null" | "\"\"" | "[]" | "{}")
}

/// The text of an error member, whatever its shape: strings as they are meant, without needless escapes behind which a
/// secret could hide.
pub(in crate::connector) fn plain(errors: &str) -> String {
    match serde_json::from_str(errors) {
        Ok(Value::String(text)) => text,
        Ok(Value::Array(list)) => {
            let shown = |error: &Value| error.as_str().map_or_else(|| error.to_string(), ToOwned::to_owned);
            list.iter().map(shown).collect::<Vec<_>>().join("; ")
        }
        Ok(other) => other.to_string(),
        Err(_) => "unreadable".to_owned(),
    }
}
