//! The object storage behind the vendors' exports, on its own port. It serves pre-signed links and refuses requests
//! with any other credential. Behaves as S3; independent of the vendor.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::header::{AUTHORIZATION, COOKIE, HeaderName, PROXY_AUTHORIZATION};
use axum::http::{Response, StatusCode};
use axum::routing::get;
use bytes::Bytes;

use super::body::{Content, Parts};
use super::call::{Arrival, Incoming, Reply};
use super::response::PlannedResponse;
use super::truth::Dice;
use super::{World, locked};

const FILES_GET: &str = "files_get";
/// Maximum number of files; the oldest are removed.
const FILES_MAX: usize = 1000;
/// How long an expired link is reported as expired; after that it is unknown.
const EXPIRED_KEPT: Duration = Duration::from_hours(1);
/// Headers that must not be sent: the signature is the credential, and the host is not the vendor's.
const CREDENTIALS: [HeaderName; 5] = [
    AUTHORIZATION,
    PROXY_AUTHORIZATION,
    COOKIE,
    HeaderName::from_static("auth-api-token"),
    HeaderName::from_static("ocp-apim-subscription-key"),
];

/// The content of a file.
#[derive(Clone)]
pub enum FileBody {
    Whole(Bytes),
    /// Generated again for every download while it is sent, so that hundreds of megabytes are never in memory.
    Made(Arc<dyn Fn() -> Parts + Send + Sync>),
}

impl FileBody {
    pub fn made<I>(make: impl Fn() -> I + Send + Sync + 'static) -> Self
    where
        I: Iterator<Item = Bytes> + Send + 'static,
    {
        Self::Made(Arc::new(move || Box::new(make())))
    }
}

impl<T: Into<Bytes>> From<T> for FileBody {
    fn from(body: T) -> Self {
        Self::Whole(body.into())
    }
}

struct File {
    name: String,
    content_type: String,
    body: FileBody,
}

struct Link {
    file: String,
    until: Instant,
}

/// The storage's state.
pub(super) struct Files {
    base_url: String,
    dice: Mutex<Dice>,
    /// Oldest first.
    stored: Mutex<Vec<File>>,
    /// Links by signature.
    links: Mutex<HashMap<String, Link>>,
}

impl Files {
    pub fn new(base_url: String, seed: u64) -> Self {
        let dice = Mutex::new(Dice::new(seed, &[23]));
        Self { base_url, dice, stored: Mutex::default(), links: Mutex::default() }
    }

    /// Stores a file, replacing one with the same name, and returns a link to it. The name is used in a URL unchanged:
    /// letters, digits, `-`, `_` and `.`. `ttl` is real time, after applying the simulator's speed.
    pub fn put(&self, name: &str, content_type: &str, body: impl Into<FileBody>, ttl: Duration) -> String {
        let mut files = locked(&self.stored);
        files.retain(|file| file.name != name);
        if files.len() >= FILES_MAX {
            files.remove(0);
        }
        files.push(File { name: name.to_owned(), content_type: content_type.to_owned(), body: body.into() });
        drop(files);
        self.sign(name, ttl)
    }

    /// Another link to a file, which need not exist.
    pub fn sign(&self, name: &str, ttl: Duration) -> String {
        let signature = {
            let mut dice = locked(&self.dice);
            (dice.guid() + &dice.guid()).replace('-', "")
        };
        let now = Instant::now();
        let mut links = locked(&self.links);
        links.retain(|_, link| link.until + EXPIRED_KEPT > now);
        links.insert(signature.clone(), Link { file: name.to_owned(), until: now + ttl });
        let seconds = ttl.as_secs_f64().ceil();
        format!("{}/exports/{name}?X-Amz-Signature={signature}&X-Amz-Expires={seconds}", self.base_url)
    }

    fn check(&self, name: &str, signature: Option<&str>) -> Result<(), PlannedResponse> {
        let refused = |code, message| Err(PlannedResponse::xml_error(StatusCode::FORBIDDEN, code, message));
        let links = locked(&self.links);
        match signature.and_then(|signature| links.get(signature)) {
            Some(link) if link.file != name => refused("SignatureDoesNotMatch", "The signature is another object's."),
            Some(link) if link.until <= Instant::now() => refused("AccessDenied", "Request has expired"),
            Some(_) => Ok(()),
            None if signature.is_none() => refused("AccessDenied", "Access Denied"),
            None => refused("SignatureDoesNotMatch", "The signature does not match the one that was calculated."),
        }
    }

    fn response(&self, name: &str) -> PlannedResponse {
        let files = locked(&self.stored);
        let Some(file) = files.iter().find(|file| file.name == name) else {
            return PlannedResponse::xml_error(StatusCode::NOT_FOUND, "NoSuchKey", "The specified key does not exist.");
        };
        let body = match &file.body {
            FileBody::Whole(bytes) => Content::Whole(bytes.clone()),
            FileBody::Made(make) => Content::Made(make()),
        };
        PlannedResponse::of(StatusCode::OK, &file.content_type, body)
    }
}

pub(super) fn routes() -> Router<Arc<World>> {
    Router::new().route("/exports/{name}", get(download))
}

async fn download(Path(name): Path<String>, incoming: Incoming) -> Response<Body> {
    incoming.serve(None, FILES_GET, move |arrival, _| find(arrival, &name)).await
}

fn find(arrival: &Arrival, name: &str) -> Result<Reply, PlannedResponse> {
    if arrival.unexpected_headers(&CREDENTIALS) {
        let message = "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query \
                       string parameter or the Authorization header should be specified";
        return Err(PlannedResponse::xml_error(StatusCode::BAD_REQUEST, "InvalidArgument", message));
    }
    let files = &arrival.world.files;
    files.check(name, arrival.query("X-Amz-Signature").as_deref())?;
    Ok(Reply::new(files.response(name), arrival.meet(&[name], None)))
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderMap;

    use super::super::{Action, Control, Match, Options, Point, Simulator, start};
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);
    const CSV: &str = "one,two\n1,2\n";

    async fn started() -> (Simulator, Control, reqwest::Client) {
        rustls::crypto::ring::default_provider().install_default().ok();
        let simulator = start(Options { gzip: true, ..Options::default() }).await.unwrap();
        let control = simulator.control();
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        (simulator, control, http)
    }

    async fn get(http: &reqwest::Client, url: &str) -> (u16, HeaderMap, String) {
        let response = http.get(url).send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        (status, headers, response.text().await.unwrap())
    }

    #[tokio::test]
    async fn a_link_is_valid_for_its_file_and_its_time_only() {
        let (simulator, control, http) = started().await;
        let url = control.put_file("a.csv", "text/csv", CSV, HOUR);
        assert!(url.starts_with(&format!("{}/exports/a.csv?X-Amz-Signature=", simulator.files_url())), "{url}");
        assert!(url.ends_with("&X-Amz-Expires=3600"));
        let (status, headers, body) = get(&http, &url).await;
        assert_eq!((status, &body[..], &headers["content-type"]), (200, CSV, &"text/csv".parse().unwrap()));
        assert_eq!((headers.get("content-encoding"), &headers["content-length"]), (None, &"12".parse().unwrap()));
        let other = control.put_file("b.csv", "text/csv", CSV, Duration::ZERO);
        let cases = [
            (other.clone(), 403, "<Code>AccessDenied</Code><Message>Request has expired"),
            (url.replace("a.csv", "b.csv"), 403, "SignatureDoesNotMatch"),
            (url.replace("Signature=", "Signature=0"), 403, "SignatureDoesNotMatch"),
            (url.split_once('?').unwrap().0.to_owned(), 403, "AccessDenied"),
        ];
        for (url, status, text) in cases {
            let refused = get(&http, &url).await;
            assert_eq!((refused.0, refused.2.contains(text)), (status, true), "{}", refused.2);
            assert_eq!(refused.1["content-type"], "application/xml");
        }
        assert_eq!(get(&http, &control.world.files.sign("none", HOUR)).await.0, 404);
        assert_eq!((control.stats().calls["files_get"], control.stats().unexpected.len()), (6, 0));
    }

    #[tokio::test]
    async fn a_credential_is_refused_and_recorded() {
        let (_simulator, control, http) = started().await;
        let url = control.put_file("a.csv", "text/csv", CSV, HOUR);
        for header in ["authorization", "cookie", "auth-api-token"] {
            let response = http.get(&url).header(header, "secret").send().await.unwrap();
            assert_eq!(response.status(), 400);
            assert!(response.text().await.unwrap().contains("<Code>InvalidArgument</Code>"));
            let noted = control.stats().unexpected.pop().unwrap();
            assert_eq!((&noted.endpoint[..], &noted.what[..]), ("files_get", header));
        }
    }

    #[tokio::test]
    async fn a_generated_file_is_generated_again_for_every_download() {
        let (_simulator, control, http) = started().await;
        let make = || (0..100).map(|_| Bytes::from(vec![b'x'; 100_000]));
        let url = control.put_file("long.csv", "text/csv", FileBody::made(make), HOUR);
        for _ in 0..2 {
            let (_, headers, body) = get(&http, &url).await;
            assert_eq!((body.len(), headers.get("content-length")), (10_000_000, None));
        }
        for action in [Action::Cut, Action::CutAfter { bytes: 5_000_000 }, Action::Reset] {
            control.next(Match::endpoint("files_get"), action);
            let response = http.get(&url).send().await;
            assert!(response.is_err() || response.unwrap().bytes().await.is_err());
        }
        let hold = control.hold(Match::report("long.csv"), Point::MidBody);
        let (reply, ()) = tokio::join!(get(&http, &url), async {
            hold.reached().await;
            hold.release();
        });
        assert_eq!(reply.2.len(), 10_000_000);
        control.next(Match::default(), Action::Drip { bytes: 600_000, every_ms: 1 });
        assert_eq!(get(&http, &url).await.2.len(), 10_000_000);
    }

    #[tokio::test]
    async fn the_storage_has_its_own_faults() {
        let (simulator, control, http) = started().await;
        let url = control.put_file("a.csv", "text/csv", CSV, HOUR);
        let next = |action| control.next(Match::endpoint("files_get"), action);
        next(Action::Redirect { status: 302, location: "http://127.0.0.1:1/x".into() });
        let (status, headers, _) = get(&http, &url).await;
        assert_eq!((status, &headers["location"]), (302, &"http://127.0.0.1:1/x".parse().unwrap()));
        next(Action::XmlErrorWith200);
        let (status, headers, body) = get(&http, &url).await;
        assert_eq!((status, &headers["content-type"]), (200, &"application/xml".parse().unwrap()));
        assert!(body.contains("<Error>"));
        next(Action::GzipBomb { bytes: 3_000_000 });
        let bomb = http.get(&url).send().await.unwrap();
        let packed = bomb.bytes().await.unwrap();
        let unpacked = std::io::copy(&mut flate2::read::MultiGzDecoder::new(&*packed), &mut std::io::sink()).unwrap();
        assert!(packed.len() < 10_000 && unpacked == 3_000_000, "{} to {unpacked}", packed.len());
        next(Action::OneField { bytes: 2_000_000 });
        let (_, _, body) = get(&http, &url).await;
        assert!(body.starts_with("one,two\n\"aaa") && body.len() == 2_000_011, "{}", body.len());
        next(Action::Text { status: 418, content_type: "text/odd".into(), body: "tea".into() });
        assert_eq!(get(&http, &url).await.0, 418);
        next(Action::EndlessBody);
        let mut endless = http.get(&url).send().await.unwrap();
        let mut read = 0;
        while read < 20_000_000 {
            read += endless.chunk().await.unwrap().unwrap().len();
        }
        simulator.stop().await;
        let rest = async { while endless.chunk().await.is_ok_and(|chunk| chunk.is_some()) {} };
        tokio::time::timeout(Duration::from_secs(10), rest).await.unwrap();
        assert!(http.get(&url).send().await.is_err(), "the port is closed");
    }
}
