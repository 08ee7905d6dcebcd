//! Whether `jsonb` holds a JSON value unchanged.

use std::borrow::Cow;

use super::number::{is_number_part, numeric_holds};
use super::unescape::unescape;
use crate::decode::raw::string_end;

/// Deeper nesting could exceed the server's stack.
const DEPTH_MAX: usize = 100;

/// Whether a JSON value has no NUL, no lone surrogate, no `NaN` or `Infinity`, no number and no nesting beyond our
/// limits, and no object with a repeated member, of which `jsonb` would keep only the last.
pub fn holds(raw: &str) -> bool {
    let bytes = raw.as_bytes();
    // The names of the members of every open object; an array has an empty list.
    let mut open: Vec<Vec<Cow<'_, str>>> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                let end = string_end(bytes, at);
                let text = &raw[at..end];
                let is_name = bytes[end..].iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':');
                if is_name || memchr::memchr(b'\\', text.as_bytes()).is_some() {
                    let Some(text) = unescape(text) else { return false };
                    if is_name && let Some(names) = open.last_mut() {
                        names.push(text);
                    }
                }
                at = end;
                continue;
            }
            b'{' | b'[' => {
                open.push(Vec::new());
                if open.len() > DEPTH_MAX {
                    return false;
                }
            }
            b'}' | b']' => {
                let mut names = open.pop().unwrap_or_default();
                names.sort_unstable();
                if names.windows(2).any(|pair| pair[0] == pair[1]) {
                    return false;
                }
            }
            // `NaN` or `Infinity`: JSON itself has no such letters outside of strings.
            b'N' | b'I' => return false,
            b'-' | b'0'..=b'9' => {
                let length = bytes[at..].iter().take_while(|byte| is_number_part(**byte)).count();
                if !numeric_holds(&raw[at..at + length]) {
                    return false;
                }
                at += length;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p5_what_jsonb_would_change_or_refuse_is_recognised() {
        for (raw, held) in [
            (r#"{"a":[1,"x",{"a":2}],"b":{"a":3}}"#, true),
            (r#"["a","a"]"#, true),
            (r#"{"a":"b:","b":"\ud83d\ude00"}"#, true),
            (r#"{"a":1,"a":2}"#, false),
            (r#"[{"x":{"a":1 , "\u0061" : 2}}]"#, false),
            (r#"{"a":"\u0000"}"#, false),
            (r#"{"\ud800":1}"#, false),
            ("[1e301]", false),
            ("[1e-300]", true),
            ("NaN", false),
            ("-Infinity", false),
            (r#"{"a":[Infinity]}"#, false),
            (r#"["NaN","Infinity"]"#, true),
        ] {
            assert_eq!(holds(raw), held, "{raw}");
        }
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(holds(&nested(100)));
        assert!(!holds(&nested(101)));
    }
}
