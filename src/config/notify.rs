//! The targets of notifications.

use std::collections::BTreeSet;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::secret::Secret;
use crate::store::topic::Topic;

/// A receiver of notifications. Its URL, headers and secret are credentials.
#[derive(Debug, Clone)]
pub struct Target {
    /// Unique. By default the host of the URL.
    pub name: String,
    pub url: Secret,
    /// The host of the URL, with its port if it has one: what may be shown.
    pub host: String,
    pub format: NotifyFormat,
    pub on: BTreeSet<Topic>,
    /// Only problems of these connections, and of jobs that read from them; `None` for all.
    pub connections: Option<BTreeSet<String>>,
    /// Only problems of these jobs and of the streams that they read; `None` for all.
    pub jobs: Option<BTreeSet<String>>,
    /// Additional headers of each request.
    pub headers: Vec<(String, Secret)>,
    /// `whsec_` and the key of the signature in base64.
    pub secret: Option<Secret>,
    /// How often a reminder of a problem that stays open is sent.
    pub repeat: Duration,
}

impl Target {
    /// The key of the signature. The configuration is refused if the secret has none.
    pub fn signing_key(&self) -> Option<Vec<u8>> {
        super::check::signing_key(self.secret.as_ref()?)
    }

    /// Everything of it that must not be shown.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        [&self.url].into_iter().chain(self.headers.iter().map(|(_, value)| value)).chain(&self.secret)
    }
}

/// The form of the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum NotifyFormat {
    /// An incoming webhook of Slack, Mattermost or Rocket.Chat.
    Slack,
    /// CloudEvents 1.0, a document for each event.
    Cloudevents,
}

impl NotifyFormat {
    /// The name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Slack => "slack",
            Self::Cloudevents => "cloudevents",
        }
    }
}
