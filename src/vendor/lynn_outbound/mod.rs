//! Lynn Outbound (`vendors/lynn.md §6`): what is special about this vendor.

mod settings;

use url::Url;

pub use self::settings::{Endpoint, Method, Settings, TaskWords};
use super::{Outcome, Records, StepError, StepRequest};
use crate::http::{Redactor, Session};

/// One account.
#[derive(Debug)]
pub struct LynnOutbound {
    base_url: Url,
    settings: Settings,
    redactor: Redactor,
}

impl LynnOutbound {
    pub const fn new(base_url: Url, settings: Settings, redactor: Redactor) -> Self {
        Self { base_url, settings, redactor }
    }

    /// See [`super::Source::step`].
    #[expect(clippy::unused_async, reason = "not written yet")]
    pub async fn step(&self, _: &Session<'_>, _: StepRequest<'_>, _: &mut impl Records) -> Result<Outcome, StepError> {
        tracing::debug!(base_url = %self.base_url, settings = ?self.settings, redactor = ?self.redactor, "not written yet");
        Err(StepError::NotServed(501))
    }

    /// See [`super::Source::log_in`].
    #[expect(clippy::unused_async, reason = "not written yet")]
    pub async fn log_in(&self, _: &Session<'_>) -> Result<(), StepError> {
        Err(StepError::NotServed(501))
    }
}
