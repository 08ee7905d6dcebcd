//! One request to a vendor, and how it is sent.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use url::Url;

use super::HttpError;
use super::sent_at::Departure;
use crate::quota::CallKind;
use crate::secret::Secret;

/// Expected bytes of a call before one was seen.
const BYTES_GUESS: u64 = 4_000;
/// Responses that are not a file are smaller than this.
const BYTES_MAX: u64 = 16 << 20;

/// One request to a vendor. Not `Debug`: its URL and body may contain credentials.
pub struct Call {
    pub kind: CallKind,
    pub method: Method,
    pub url: Url,
    /// Sent unchanged and marked as sensitive.
    pub headers: Vec<(&'static str, Secret)>,
    /// Scheme and credential of the Authorization header.
    pub authorization: Option<(String, Secret)>,
    pub body: Payload,
    /// Expected bytes of request and response.
    pub bytes_expected: u64,
    /// Maximum decompressed bytes read of a response.
    pub bytes_max: u64,
}

/// The body of a request.
#[derive(Clone)]
pub enum Payload {
    None,
    Json(Vec<u8>),
    /// `application/x-www-form-urlencoded`.
    Form(Vec<u8>),
}

impl Call {
    /// A GET for data, without headers and credential.
    pub const fn get(url: Url) -> Self {
        Self {
            kind: CallKind::Data,
            method: Method::GET,
            url,
            headers: Vec::new(),
            authorization: None,
            body: Payload::None,
            bytes_expected: BYTES_GUESS,
            bytes_max: BYTES_MAX,
        }
    }

    /// A POST for data, without headers and credential.
    pub fn post(url: Url, body: Payload) -> Self {
        Self { method: Method::POST, body, ..Self::get(url) }
    }
}

impl Payload {
    const fn bytes(&self) -> Option<&Vec<u8>> {
        match self {
            Self::None => None,
            Self::Json(bytes) | Self::Form(bytes) => Some(bytes),
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.bytes().map_or(0, |bytes| bytes.len() as u64)
    }
}

/// The credential of HTTP Basic. Pass it to [`Redactor`](super::Redactor) in addition to the password.
pub fn basic(user: &str, password: &Secret) -> Secret {
    Secret::new(STANDARD.encode(format!("{user}:{}", password.expose())))
}

pub(super) fn build(
    client: &reqwest::Client,
    call: Call,
    departure: &Departure,
) -> Result<reqwest::Request, HttpError> {
    let mut headers = HeaderMap::new();
    match &call.body {
        Payload::Json(_) => _ = headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json")),
        Payload::Form(_) => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        }
        Payload::None => {}
    }
    if call.body.len() == 0 && !matches!(call.method, Method::GET | Method::HEAD) {
        // Some servers refuse a POST without a Content-Length.
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    if let Some((scheme, credential)) = &call.authorization {
        headers.insert(AUTHORIZATION, sensitive(&format!("{scheme} {}", credential.expose()), "the credential")?);
    }
    for (name, secret) in &call.headers {
        headers.insert(*name, sensitive(secret.expose(), name)?);
    }
    let mut request = client.request(call.method, call.url).headers(headers);
    if let Payload::Json(bytes) | Payload::Form(bytes) = call.body {
        request = request.body(reqwest::Body::wrap(departure.watch(bytes)));
    }
    request.build().map_err(HttpError::transport)
}

fn sensitive(value: &str, what: &str) -> Result<HeaderValue, HttpError> {
    let unfit = || HttpError::Request(format!("{what} contains characters that a header cannot carry"));
    let mut value: HeaderValue = value.parse().map_err(|_| unfit())?;
    value.set_sensitive(true);
    Ok(value)
}
