//! Finds out the HTTP method by which export jobs are started (`facts/khoros_care.md §3.1, §11.3`).
//!
//! The quick start uses GET, the reference uses POST, and a tenant may support only one of them. A method that is
//! refused has started no job, so the other one may be tried. After a lost response neither may be.

use std::collections::HashMap;
use std::sync::{MutexGuard, PoisonError};

use super::config::Method;
use super::create::{self, JobPart};
use super::{Khoros, RESPONSE_BYTES_MAX, wire};
use crate::clock;
use crate::connector::{StepError, StepRequest, request};
use crate::http::{Call, HttpError, Session};

/// The methods that start jobs.
#[derive(Debug, Default)]
pub(super) struct Served {
    /// By export.
    known: HashMap<String, Method>,
    /// The last one found: the first guess for other exports. `None`: POST, which the vendor recommends.
    last: Option<Method>,
}

/// Why a create call returned no job.
enum NotCreated {
    /// The vendor does not support the method or the path, and has not processed the request.
    ByThisMethod(u16),
    Otherwise(StepError),
}

impl NotCreated {
    /// The error if the configuration names the method.
    fn by_configured(self, method: Method) -> StepError {
        match self {
            Self::Otherwise(error) => error,
            Self::ByThisMethod(status) => StepError::Refused {
                what: format!("the call (status {status} to {})", method.name()),
                hint: "set `method: auto`, which uses the method that the tenant supports; if it is refused as well, check \
                       `base_url` and that the export is enabled for the company",
            },
        }
    }
}

impl Khoros {
    /// Starts a job and returns the response.
    pub(super) async fn create(
        &self,
        session: &Session<'_>,
        request: &StepRequest<'_>,
        part: &JobPart,
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
        part: &JobPart,
        method: Method,
    ) -> Result<Vec<u8>, NotCreated> {
        let call = create::call(&self.settings, method, &self.base_url, request, part, clock::now());
        let call = call.map_err(NotCreated::Otherwise)?;
        let response = request::whole(session, Call { bytes_max: RESPONSE_BYTES_MAX, ..call }).await;
        response.map_err(|error| match error {
            // For other reasons the vendor sends a message (`§9`).
            HttpError::Status { status: status @ (404 | 405 | 501), ref excerpt }
                if wire::words(excerpt.text(), &self.redactor).is_none() =>
            {
                NotCreated::ByThisMethod(status)
            }
            error => NotCreated::Otherwise(self.refused(error)),
        })
    }

    /// Starts a job with the method that the tenant supports (`§11.3`).
    async fn create_as_served(
        &self,
        session: &Session<'_>,
        request: &StepRequest<'_>,
        part: &JobPart,
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
        // Before sending: if the call has to wait for the quota, the next attempt begins with this method.
        self.learn_method(export, second);
        match self.create_by(session, request, part, second).await {
            Ok(body) => {
                tracing::info!(
                    export,
                    method = second.name(),
                    refused = first.name(),
                    "the tenant supports another method"
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
