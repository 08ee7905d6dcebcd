//! Errors of the API as documents (RFC 9457).

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use super::routes::HEADERS;
use crate::report::QueryError;
use crate::text;

/// The media type of an error.
pub(super) const PROBLEM: &str = "application/problem+json";

/// An error of the API (RFC 9457).
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub(super) struct ApiError {
    /// `about:blank`: the status defines what kind of error it is.
    r#type: &'static str,
    /// The name of the status.
    title: &'static str,
    status: u16,
    /// What is wrong, in a sentence.
    detail: String,
    /// The parameter that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<String>,
    /// The first of the values that the parameter may have, or of the parameters that exist.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allowed: Vec<String>,
}

impl ApiError {
    fn new(status: StatusCode, detail: &str) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        Self { r#type: "about:blank", title, status: status.as_u16(), detail: detail.to_owned(), ..Self::default() }
    }

    fn response(&self, status: StatusCode) -> Response {
        let body = serde_json::to_string(self).unwrap_or_default();
        (status, HEADERS, [(CONTENT_TYPE, PROBLEM)], text::json(&body).into_owned()).into_response()
    }
}

/// The response of the API to a request that failed.
pub(super) fn api_error(status: StatusCode, detail: &str) -> Response {
    ApiError::new(status, detail).response(status)
}

/// The response of the API to a wrong parameter or field.
pub(super) fn wrong_parameter(status: StatusCode, error: &QueryError) -> Response {
    let (parameter, allowed) = (Some(error.name.clone()), error.allowed.clone());
    ApiError { parameter, allowed, ..ApiError::new(status, &error.to_string()) }.response(status)
}
