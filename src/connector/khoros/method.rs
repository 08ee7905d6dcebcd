//! By which method export jobs are started (`vendors/khoros_care.md §3.1, §11.3`).
//!
//! The quick start uses GET, the reference POST, and a tenant may serve one of them only. A method that is refused has
//! started nothing, so the other one may be tried; an answer that was lost is another matter.

use std::collections::HashMap;
use std::sync::{MutexGuard, PoisonError};

use super::config::Method;
use super::create::{self, Part};
use super::{ANSWER_BYTES_MAX, Khoros, wire};
use crate::clock;
use crate::connector::{StepError, StepRequest, request};
use crate::http::{Call, HttpError, Session};

/// The methods that start jobs.
#[derive(Debug, Default)]
pub(super) struct Served {
    /// By export.
    known: HashMap<String, Method>,
    /// The one found out last: most likely that of exports not known yet. `None`: POST, which the vendor recommends.
    last: Option<Method>,
}

/// A create call that started no job, as far as anyone knows.
enum NotCreated {
    /// The vendor does not serve the method, or the path, and has not looked at what was asked for.
    ByThisMethod(u16),
    Otherwise(StepError),
}

impl NotCreated {
    /// What it means where the configuration names the method.
    fn by_configured(self, method: Method) -> StepError {
        match self {
            Self::Otherwise(error) => error,
            Self::ByThisMethod(status) => StepError::Refused {
                what: format!("the call (status {status} to {})", method.name()),
                hint: "set `method: auto`, which takes the method that the tenant serves; if it is refused as well, check \
                       `base_url` and that the export is enabled for the company",
            },
        }
    }
}

impl Khoros {
    /// Starts a job and returns the answer.
    pub(super) async fn create(
        &self,
        session: &Session<'_>,
        request: &StepRequest<'_>,
        part: &Part,
    ) -> Result<Vec<u8>, StepError> {
        match self.settings.method {
            None => self.create_as_served(session, request, part).await,
            Some(method) => {
                let created = self.create_by(session, request, part, method).await;
                created.map_err(|refused| refused.by_configured(method))
            }
        }
    }

    /// Starts a job with one HTTP method. Never retried: a call without a response may have started a job.
    async fn create_by(
        &self,
        session: &Session<'_>,
        request: &StepRequest<'_>,
        part: &Part,
        method: Method,
    ) -> Result<Vec<u8>, NotCreated> {
        let call = create::call(&self.settings, method, &self.base_url, request, part, clock::now());
        let call = call.map_err(NotCreated::Otherwise)?;
        let answer = request::whole(session, Call { bytes_max: ANSWER_BYTES_MAX, ..call }).await;
        answer.map_err(|error| match error {
            // The vendor has its own words for other reasons (`§9`).
            HttpError::Status { status: status @ (404 | 405 | 501), ref excerpt }
                if wire::words(excerpt.text(), &self.redactor).is_none() =>
            {
                NotCreated::ByThisMethod(status)
            }
            error => NotCreated::Otherwise(self.refused(error)),
        })
    }

    /// Starts a job by the method that the tenant serves (`§11.3`). A method that is refused has started nothing.
    async fn create_as_served(
        &self,
        session: &Session<'_>,
        request: &StepRequest<'_>,
        part: &Part,
    ) -> Result<Vec<u8>, StepError> {
        let export = &*request.stream.name;
        let first = self.likely_method(export);
        let status = match self.create_by(session, request, part, first).await {
            Ok(body) => {
                self.learn_method(export, first);
                return Ok(body);
            }
            Err(NotCreated::Otherwise(error)) => return Err(error),
            Err(NotCreated::ByThisMethod(status)) => status,
        };
        let second = first.other();
        // Before it is sent: if it has to wait for the quota, the next try begins with it.
        self.learn_method(export, second);
        match self.create_by(session, request, part, second).await {
            Ok(body) => {
                tracing::info!(
                    export,
                    method = second.name(),
                    refused = first.name(),
                    "the tenant serves another method"
                );
                Ok(body)
            }
            Err(NotCreated::Otherwise(error)) => Err(error),
            Err(NotCreated::ByThisMethod(other_status)) => {
                self.forget_method(export);
                Err(StepError::Refused {
                    what: format!(
                        "the call (status {status} to {}, {other_status} to {})",
                        first.name(),
                        second.name()
                    ),
                    hint: "check `base_url`, that the export is enabled for the company, and for a Publishing export its id \
                           under `marketing`",
                })
            }
        }
    }

    fn served(&self) -> MutexGuard<'_, Served> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn likely_method(&self, export: &str) -> Method {
        let served = self.served();
        served.known.get(export).copied().or(served.last).unwrap_or(Method::Post)
    }

    fn learn_method(&self, export: &str, method: Method) {
        let mut served = self.served();
        served.known.insert(export.to_owned(), method);
        served.last = Some(method);
    }

    fn forget_method(&self, export: &str) {
        let mut served = self.served();
        served.known.remove(export);
        served.last = None;
    }
}
