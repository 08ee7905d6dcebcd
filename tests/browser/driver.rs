//! Chromium, controlled by chromedriver with the WebDriver protocol.
//!
//! The protocol is JSON over HTTP and these tests need a dozen of its commands. The client `thirtyfour` would switch on
//! `preserve_order` of serde_json for all tests, so that they would test another program than the one that is shipped.

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::support::eventually;

/// Set where the tests must not be skipped.
const REQUIRED: &str = "TIDEGATE_BROWSER";
/// Where `.ci/run` unpacks the npm package `axe-core`.
const AXE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/axe-core/axe.min.js");
const START_MAX: Duration = Duration::from_mins(1);
const HEIGHT: u32 = 900;
/// The names of these keys in the protocol.
pub(crate) const TAB: &str = "\u{e004}";
pub(crate) const ENTER: &str = "\u{e007}";
/// The key of an element's identifier in the protocol.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// The colour scheme that the system asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Look {
    Light,
    Dark,
}

/// A browser window. Its processes end with it.
pub(crate) struct Browser {
    client: reqwest::Client,
    /// The URL of the session.
    session: String,
    chromedriver: Child,
}

/// Prints that something is missing, or fails where it must not be.
fn skip(what: &str) {
    assert!(std::env::var_os(REQUIRED).is_none(), "{what}");
    println!("skipped: {what}");
}

/// The source of axe-core, which checks accessibility.
pub(crate) fn axe() -> Option<String> {
    let source = std::fs::read_to_string(Path::new(AXE)).ok();
    if source.is_none() {
        skip(&format!("there is no {AXE}; `.ci/run` obtains it"));
    }
    source
}

/// Sends a command. The error is what the driver says.
async fn command(client: &reqwest::Client, url: &str, body: Option<Value>) -> Result<Value, String> {
    let request = match body {
        Some(body) => client.post(url).body(body.to_string()),
        None => client.get(url),
    };
    let response = request.send().await.map_err(|error| error.to_string())?;
    let is_ok = response.status().is_success();
    let text = response.text().await.map_err(|error| error.to_string())?;
    let mut document: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let value = document["value"].take();
    if is_ok { Ok(value) } else { Err(value["message"].as_str().unwrap_or_default().to_owned()) }
}

impl Browser {
    /// `None` if there is no chromedriver.
    pub(crate) async fn start(look: Look, with_script: bool) -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut driver = Command::new("chromedriver");
        driver.arg(format!("--port={port}")).stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        let Ok(chromedriver) = driver.spawn() else {
            skip("there is no chromedriver; the package is `chromium-driver`");
            return None;
        };
        let scheme = match look {
            Look::Light => 1,
            Look::Dark => 0,
        };
        // 1 allows scripts, 2 forbids them.
        let scripts = if with_script { 1 } else { 2 };
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": {
                // Tests may run as root, which has no sandbox, and in a container, which has little shared memory.
                "args": [
                    "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--hide-scrollbars",
                    // The order in which the parts of a date are written.
                    "--lang=en-US",
                    format!("--blink-settings=preferredColorScheme={scheme}"), format!("--window-size=1280,{HEIGHT}"),
                ],
                "prefs": { "profile.managed_default_content_settings.javascript": scripts },
            },
        } } });
        let client = tidegate::http::client().unwrap();
        let base = format!("http://127.0.0.1:{port}/session");
        let session = eventually(START_MAX, async || command(&client, &base, Some(wanted.clone())).await.ok()).await;
        let session = format!("{base}/{}", session["sessionId"].as_str().expect("a session"));
        let browser = Self { client, session, chromedriver };
        browser.post("timeouts", json!({ "script": START_MAX.as_millis() })).await;
        Some(browser)
    }

    #[track_caller]
    fn post(&self, path: &str, body: Value) -> impl Future<Output = Value> {
        let place = std::panic::Location::caller();
        let (url, path) = (format!("{}/{path}", self.session), path.to_owned());
        async move {
            let done = command(&self.client, &url, Some(body)).await;
            done.unwrap_or_else(|error| panic!("{place}: {path}: {error}"))
        }
    }

    pub(crate) async fn open(&self, url: &str) {
        self.post("url", json!({ "url": url })).await;
    }

    /// The path of the page that is shown.
    pub(crate) async fn path(&self) -> String {
        let url = command(&self.client, &format!("{}/url", self.session), None).await.unwrap();
        let url: url::Url = url.as_str().unwrap().parse().unwrap();
        url.path().to_owned()
    }

    /// Runs the body of a function in the page and returns its result.
    #[track_caller]
    pub(crate) fn run<T: DeserializeOwned>(&self, script: &str, arguments: Value) -> impl Future<Output = T> {
        let mut body = json!({ "script": script });
        body["args"] = arguments;
        let done = self.post("execute/sync", body);
        async { serde_json::from_value(done.await).unwrap() }
    }

    /// Runs a script that has no result.
    #[track_caller]
    pub(crate) fn act(&self, script: &str) -> impl Future<Output = ()> {
        self.run(script, json!([]))
    }

    /// The same, for a function that calls its last argument with the result.
    pub(crate) async fn run_async(&self, script: &str) -> Value {
        self.post("execute/async", json!({ "script": script, "args": [] })).await
    }

    /// Presses and releases keys, one after the other, where the focus is.
    pub(crate) async fn press(&self, keys: &str) {
        let key = |key: char| [json!({ "type": "keyDown", "value": key }), json!({ "type": "keyUp", "value": key })];
        let actions: Vec<Value> = keys.chars().flat_map(key).collect();
        self.post("actions", json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": actions }] })).await;
    }

    async fn find(&self, selector: &str) -> Option<String> {
        let body = json!({ "using": "css selector", "value": selector });
        let found = command(&self.client, &format!("{}/element", self.session), Some(body)).await.ok()?;
        Some(found[ELEMENT].as_str()?.to_owned())
    }

    async fn element(&self, selector: &str) -> String {
        self.find(selector).await.unwrap_or_else(|| panic!("there is no {selector}"))
    }

    pub(crate) async fn click(&self, selector: &str) {
        let element = self.element(selector).await;
        self.post(&format!("element/{element}/click"), json!({})).await;
    }

    pub(crate) async fn double_click(&self, selector: &str) {
        let element = self.element(selector).await;
        let there = json!({ "type": "pointerMove", "duration": 0, "x": 0, "y": 0, "origin": { ELEMENT: element } });
        let (down, up) = (json!({ "type": "pointerDown", "button": 0 }), json!({ "type": "pointerUp", "button": 0 }));
        let mouse = json!({ "type": "pointer", "id": "mouse", "actions": [there, down, up, down, up] });
        self.post("actions", json!({ "actions": [mouse] })).await;
    }

    /// The text of an element as it is shown; empty if there is none.
    pub(crate) async fn text(&self, selector: &str) -> String {
        let Some(element) = self.find(selector).await else { return String::new() };
        let text = command(&self.client, &format!("{}/element/{element}/text", self.session), None).await;
        text.ok().and_then(|text| Some(text.as_str()?.to_owned())).unwrap_or_default()
    }

    /// What was written to the console since the last call, errors of the network and of the policy included.
    pub(crate) async fn console(&self) -> Vec<String> {
        let entries = self.post("se/log", json!({ "type": "browser" })).await;
        let entries = entries.as_array().unwrap();
        entries.iter().map(|entry| entry["message"].as_str().unwrap().to_owned()).collect()
    }

    /// From now on, the system asks for less motion.
    pub(crate) async fn reduce_motion(&self) {
        let features = json!([{ "name": "prefers-reduced-motion", "value": "reduce" }]);
        let emulate = json!({ "cmd": "Emulation.setEmulatedMedia", "params": { "features": features } });
        self.post("goog/cdp/execute", emulate).await;
    }

    pub(crate) async fn set_width(&self, width: u32) {
        self.set_size(width, HEIGHT).await;
    }

    pub(crate) async fn set_size(&self, width: u32, height: u32) {
        self.post("window/rect", json!({ "width": width, "height": height })).await;
    }

    /// The window as a PNG file.
    pub(crate) async fn screenshot(&self) -> Vec<u8> {
        let image = command(&self.client, &format!("{}/screenshot", self.session), None).await.unwrap();
        STANDARD.decode(image.as_str().unwrap()).unwrap()
    }

    pub(crate) async fn close(mut self) {
        self.client.delete(&self.session).send().await.unwrap();
        self.chromedriver.kill().await.unwrap();
    }
}
