//! What the adapters share: requests with a limit on time and size, and failures in words.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use l05_engine::port::{ModelError, ModelFailure};
use reqwest::header::{
    AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
};
use reqwest::{Client, Response, StatusCode, Url};
use serde_json::Value;
use zeroize::Zeroizing;

use super::reply::{failure, kind_of, told};

/// The largest answer that is read. A plan is some kilobytes; what is larger is a fault.
pub const ANSWER_BYTES_MAX: usize = 16 << 20;
/// The most of an error's body that is shown, in characters.
const SHOWN_MAX_CHARS: usize = 300;
/// The gateway gets so much of the caller's time: the rest is for noticing.
const SHARE_OF_TIME: f64 = 0.9;
/// The longest wait for a connection; who is there answers sooner.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// A key. It is wiped when dropped and cannot be printed.
pub struct ApiKey(Zeroizing<String>);

impl ApiKey {
    /// From wherever keys are kept.
    pub fn new(key: impl Into<String>) -> ApiKey {
        ApiKey(Zeroizing::new(key.into()))
    }
}

/// A text that no message may show. It is wiped when dropped.
#[derive(Clone)]
struct Secret(Zeroizing<String>);

impl Secret {
    /// Shorter texts are words like any other.
    const BYTES_MIN: usize = 6;

    fn of(text: &str) -> Option<Secret> {
        (text.len() >= Secret::BYTES_MIN).then(|| Secret(Zeroizing::new(text.to_owned())))
    }
}

/// The sign that stands for a secret in messages.
const MASK: &str = "[masked]";

/// Reasons for which an address cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The text is no URL. What it is may hold a password and is not repeated.
    #[error("this is no http or https URL")]
    NotAUrl,
    /// Prompts would be sent in the clear.
    #[error("`{0}` is not on this machine and has no TLS")]
    Cleartext(String),
    /// The key cannot stand in a header.
    #[error("the key has characters that no header may have")]
    Key,
    /// The system has no usable TLS.
    #[error("no HTTP client can be made: {0}")]
    Client(String),
}

/// The address of a gateway, and the way in which it is spoken to.
pub struct ModelEndpoint {
    client: Client,
    base: Url,
    is_loopback: bool,
    headers: HeaderMap,
    /// Keys and passwords that are sent: masked in whatever comes back.
    secrets: Arc<Vec<Secret>>,
}

impl ModelEndpoint {
    /// `base` is everything before the paths of the protocol. Addresses of other machines need TLS
    /// unless `cleartext_allowed`.
    pub fn new(base: &str, cleartext_allowed: bool) -> Result<ModelEndpoint, EndpointError> {
        let url: Url = base.parse().map_err(|_| EndpointError::NotAUrl)?;
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let is_loopback = host == "localhost"
            || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        match url.scheme() {
            "https" => {}
            "http" if is_loopback || cleartext_allowed => {}
            "http" => return Err(EndpointError::Cleartext(shown(&url))),
            _ => return Err(EndpointError::NotAUrl),
        }
        let client = Client::builder();
        // Cleartext goes to the gateway itself, never through a proxy's hands; and what never speaks
        // TLS need not read the system's certificates, which takes milliseconds of every start.
        let client = match url.scheme() {
            "http" => client.no_proxy().tls_certs_only([]),
            _ => client,
        };
        let client = client
            .connect_timeout(CONNECT_MAX)
            // A redirect could take prompts and keys elsewhere.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("l05/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| EndpointError::Client(causes(&error)))?;
        let secrets = Arc::new(url.password().into_iter().filter_map(Secret::of).collect());
        Ok(ModelEndpoint { client, base: url, is_loopback, headers: HeaderMap::new(), secrets })
    }

    /// Sends the key as `Authorization: Bearer …`.
    pub fn bearer(self, key: &ApiKey) -> Result<ModelEndpoint, EndpointError> {
        let value = Zeroizing::new(format!("Bearer {}", key.0.as_str()));
        self.secret_header(AUTHORIZATION, &value)
    }

    /// Sends the key in a header of its own.
    pub(super) fn key_header(
        self,
        name: &'static str,
        key: &ApiKey,
    ) -> Result<ModelEndpoint, EndpointError> {
        self.secret_header(HeaderName::from_static(name), &key.0)
    }

    pub(super) fn header(mut self, name: &'static str, value: &'static str) -> ModelEndpoint {
        self.headers.insert(name, HeaderValue::from_static(value));
        self
    }

    fn secret_header(
        mut self,
        name: HeaderName,
        value: &str,
    ) -> Result<ModelEndpoint, EndpointError> {
        let known = value.strip_prefix("Bearer ").unwrap_or(value);
        Arc::make_mut(&mut self.secrets).extend(Secret::of(known));
        let mut value = HeaderValue::from_str(value).map_err(|_| EndpointError::Key)?;
        value.set_sensitive(true);
        self.headers.insert(name, value);
        Ok(self)
    }

    /// True if the gateway is on this machine.
    pub fn is_local(&self) -> bool {
        self.is_loopback
    }

    /// The address without user and password.
    pub fn shown(&self) -> String {
        shown(&self.base)
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base.as_str().trim_end_matches('/'))
    }

    /// Posts JSON and reads the JSON that comes back. A failure that the body tells is one, whatever
    /// the status.
    pub(super) async fn post(
        &self,
        path: &str,
        body: &Value,
        within: Duration,
    ) -> Result<Value, FailedRequest> {
        let mut reply = self.send(path, Some(body), within).await?;
        let bytes = reply.rest().await?;
        let value = self.json(&bytes)?;
        match failure(&value, None) {
            Some(told) => Err(self.failed(told.kind, told.words).into()),
            None => Ok(value),
        }
    }

    /// Reads the JSON at a path.
    pub(super) async fn get(&self, path: &str, within: Duration) -> Result<Value, ModelError> {
        let mut reply = self.send(path, None, within).await?;
        let bytes = reply.rest().await?;
        self.json(&bytes)
    }

    fn json(&self, bytes: &[u8]) -> Result<Value, ModelError> {
        serde_json::from_slice(bytes).map_err(|error| {
            let what = match (bytes.is_empty(), error.is_eof()) {
                (true, _) => "the answer is empty".to_owned(),
                (false, true) => format!("the answer breaks off after {} bytes", bytes.len()),
                (false, false) => format!("the answer is no JSON: {}", brief(bytes)),
            };
            self.failed(ModelFailure::Malformed, what)
        })
    }

    /// Sends a request; what is no success and no JSON is a failure already.
    pub(super) async fn send(
        &self,
        path: &str,
        body: Option<&Value>,
        within: Duration,
    ) -> Result<HttpReply<'_>, FailedRequest> {
        let until = Instant::now() + within.mul_f64(SHARE_OF_TIME);
        let request = match body {
            Some(body) => {
                let text = serde_json::to_vec(body).expect("a JSON value has a text");
                self.client.post(self.url(path)).header(CONTENT_TYPE, "application/json").body(text)
            }
            None => self.client.get(self.url(path)),
        };
        let sent =
            tokio::time::timeout_at(until.into(), request.headers(self.headers.clone()).send());
        let response = match sent.await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(self.unsent(&error).into()),
            Err(_) => return Err(self.late(within).into()),
        };
        let mut reply = HttpReply { endpoint: self, response, until, within, read: 0 };
        let status = reply.response.status();
        if !status.is_success() {
            return Err(reply.refused(status).await);
        }
        let content_type = reply.response.headers().get(CONTENT_TYPE);
        let content_type =
            content_type.and_then(|t| t.to_str().ok()).unwrap_or_default().to_owned();
        if !content_type.is_empty() && !content_type.contains("json") {
            let what = format!("the answer is `{content_type}`, not JSON");
            return Err(self.failed(ModelFailure::Malformed, what).into());
        }
        Ok(reply)
    }

    pub(super) fn failed(&self, kind: ModelFailure, what: impl std::fmt::Display) -> ModelError {
        let message = self.masked(format!("{}: {what}", self.shown()));
        ModelError { kind, message, retry_after: None }
    }

    /// A text in which no key of ours stands, whoever put it there.
    fn masked(&self, mut text: String) -> String {
        for secret in self.secrets.iter() {
            if text.contains(&*secret.0) {
                text = text.replace(&*secret.0, MASK);
            }
        }
        text
    }

    fn late(&self, within: Duration) -> ModelError {
        let seconds = within.as_secs_f64() * SHARE_OF_TIME;
        self.failed(ModelFailure::Timeout, format!("no whole answer within {seconds:.1} s"))
    }

    fn unsent(&self, error: &reqwest::Error) -> ModelError {
        // Once connected, the model may have begun, and what it used is not known.
        let kind = match (error.is_timeout(), error.is_connect()) {
            (_, true) => ModelFailure::Unreachable,
            (true, false) => ModelFailure::Timeout,
            (false, false) => ModelFailure::Unavailable,
        };
        self.failed(kind, causes(error))
    }
}

/// An answer under way.
pub(super) struct HttpReply<'e> {
    endpoint: &'e ModelEndpoint,
    response: Response,
    until: Instant,
    within: Duration,
    read: usize,
}

impl HttpReply<'_> {
    /// The next bytes; none at the end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Vec<u8>>, ModelError> {
        let next = tokio::time::timeout_at(self.until.into(), self.response.chunk());
        let chunk = match next.await {
            Ok(Ok(chunk)) => chunk,
            Ok(Err(error)) => {
                let what =
                    format!("the answer breaks off after {} bytes: {}", self.read, causes(&error));
                return Err(self.endpoint.failed(ModelFailure::Malformed, what));
            }
            Err(_) => return Err(self.endpoint.late(self.within)),
        };
        let Some(chunk) = chunk else { return Ok(None) };
        self.read += chunk.len();
        if self.read > ANSWER_BYTES_MAX {
            let what = format!("the answer is longer than {} MiB", ANSWER_BYTES_MAX >> 20);
            return Err(self.endpoint.failed(ModelFailure::Malformed, what));
        }
        Ok(Some(chunk.to_vec()))
    }

    /// All that is left.
    pub(super) async fn rest(&mut self) -> Result<Vec<u8>, ModelError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// Reads a status other than success as a failure. Its body is shown, as far as it can be read.
    async fn refused(&mut self, status: StatusCode) -> FailedRequest {
        let retry_after = retry_after(self.response.headers(), SystemTime::now());
        // Before anything of it is cut: half a key is a secret, too.
        let bytes = self.rest().await.unwrap_or_default();
        let bytes = self.endpoint.masked(String::from_utf8_lossy(&bytes).into_owned()).into_bytes();
        let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let kind = kind_of(&body, Some(status.as_u16()));
        let words = told(&body).unwrap_or_else(|| brief(&bytes));
        let later = match retry_after {
            Some(after) => format!(", come again in {:.0} s", after.as_secs_f64().ceil()),
            None => String::new(),
        };
        let what = format!("{status}{later}{}{words}", if words.is_empty() { "" } else { ": " });
        let error = ModelError { retry_after, ..self.endpoint.failed(kind, what) };
        FailedRequest { error, refused: Some(RefusedBody { status: status.as_u16(), body, words }) }
    }
}

/// A request that gave no answer.
pub(super) struct FailedRequest {
    pub(super) error: ModelError,
    /// The provider's answer, where it refused the request.
    pub(super) refused: Option<RefusedBody>,
}

/// A refusal as it came.
pub(super) struct RefusedBody {
    pub(super) status: u16,
    pub(super) body: Value,
    pub(super) words: String,
}

impl From<ModelError> for FailedRequest {
    fn from(error: ModelError) -> FailedRequest {
        FailedRequest { error, refused: None }
    }
}

impl From<FailedRequest> for ModelError {
    fn from(failed: FailedRequest) -> ModelError {
        failed.error
    }
}

/// The time after which to come again: seconds, with fractions or without, or a date (RFC 9110,
/// 10.2.3); milliseconds in a header of their own, as some providers send them.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds).ok();
    if let Some(millis) = text("retry-after-ms").and_then(|text| text.parse::<f64>().ok()) {
        return seconds(millis / 1000.0);
    }
    let value = text(RETRY_AFTER.as_str())?;
    if let Ok(number) = value.parse::<f64>() {
        return seconds(number);
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
    let now = jiff::Timestamp::try_from(now).ok()?;
    Some(Duration::try_from(date.duration_since(now)).unwrap_or_default())
}

/// The beginning of some bytes, in one line.
fn brief(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * SHOWN_MAX_CHARS)]);
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(SHOWN_MAX_CHARS).collect()
}

/// An error with all that caused it. Its URL is left out: it may hold a password.
fn causes(error: &reqwest::Error) -> String {
    let mut text = Vec::new();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text.push(words);
        }
        cause = error.source();
    }
    if text.is_empty() { "the request could not be made".to_owned() } else { text.join(": ") }
}

fn shown(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{host}{port}{}", url.scheme(), url.path().trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_to_come_again_has_many_forms() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        for (name, value, expected) in [
            ("retry-after", "2", Some(Duration::from_secs(2))),
            ("retry-after", "1.5", Some(Duration::from_millis(1_500))),
            ("retry-after", "Tue, 14 Nov 2023 22:13:22 GMT", Some(Duration::from_secs(2))),
            ("retry-after", "Tue, 14 Nov 2023 22:13:10 GMT", Some(Duration::ZERO)),
            ("retry-after-ms", "250", Some(Duration::from_millis(250))),
            ("retry-after", "soon", None),
            ("retry-after", "-1", None),
            ("retry-after", "1e300", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
            assert_eq!(retry_after(&headers, now), expected, "{name}: {value}");
        }
    }
}
