//! Real customer-care conversations, embedded in the binary: what people say in simulated rows.
//!
//! `data/NOTICE.md` states their source and licence (Apache-2.0).

use std::sync::LazyLock;

use serde::Deserialize;

/// Distributed with the data.
pub const NOTICE: &str = include_str!("data/NOTICE.md");

static DATA: &[u8] = include_bytes!("data/care_conversations.json");

#[expect(clippy::expect_used, reason = "the data are part of the binary and a test reads them")]
static CONVERSATIONS: LazyLock<Vec<Conversation>> =
    LazyLock::new(|| serde_json::from_slice(DATA).expect("the embedded conversations are well-formed"));

#[derive(Debug, Deserialize)]
pub struct Conversation {
    /// Its id.
    pub session: String,
    pub company: String,
    pub messages: Vec<Message>,
    pub resolution: Resolution,
}

#[derive(Debug, Deserialize)]
pub struct Message {
    pub id: String,
    pub from: String,
    pub author: String,
    pub text: String,
}

#[derive(Debug, Deserialize)]
pub struct Resolution {
    pub text: String,
    pub url: String,
}

/// The conversation selected by a number.
pub fn pick(number: u64) -> &'static Conversation {
    &CONVERSATIONS[index(number, CONVERSATIONS.len())]
}

/// The element selected by a number.
pub fn choose<T>(number: u64, from: &[T]) -> &T {
    &from[index(number, from.len())]
}

/// The word selected by a number.
pub fn word(number: u64, from: &[&'static str]) -> &'static str {
    from[index(number, from.len())]
}

fn index(number: u64, len: usize) -> usize {
    usize::try_from(number % len as u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_conversation_has_messages_and_the_licence_is_included() {
        assert_eq!(CONVERSATIONS.len(), 525);
        assert!(CONVERSATIONS.iter().all(|conversation| !conversation.messages.is_empty()));
        assert!(CONVERSATIONS.iter().any(|conversation| !conversation.resolution.text.is_ascii()));
        assert!(NOTICE.contains("Apache License 2.0"));
    }
}
