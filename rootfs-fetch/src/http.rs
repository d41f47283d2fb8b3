//! HTTP for registries: bounded in time, in memory and in trust.
//!
//! A registry is a stranger. So: a time-out whenever nothing (or next to nothing) arrives, retries with growing
//! pauses for what may pass (no connection, 5xx, 429), few redirects, never from https down to http, and never an
//! Authorization header for anybody but the host it was meant for. RFC 9110; OCI distribution-spec.

use std::io::{self, Read};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use reqwest::blocking::{Client, Response};
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, LOCATION, RANGE, RETRY_AFTER,
};
use reqwest::redirect::Policy;
use reqwest::{StatusCode, Url};

use crate::text::escape;

/// How patient we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Give up a connection that cannot be made in this time.
    pub connect: Duration,
    /// Give up a transfer when this long (nearly) nothing has come.
    pub stall: Duration,
    /// The pause before the first retry; it doubles every time.
    pub pause: Duration,
    /// How often a request is tried in all.
    pub attempts: u32,
    /// The most time all retries of one request may take, pauses that the server asks for included.
    pub total: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            connect: Duration::from_secs(15),
            stall: Duration::from_secs(30),
            pause: Duration::from_millis(250),
            attempts: 5,
            total: Duration::from_secs(60),
        }
    }
}

/// Whether the server's certificate is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// As it should be.
    Verified,
    /// Somebody wrote "insecure" for this registry.
    Unverified,
}

/// A GET, or a POST if there is a form.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where to.
    pub url: Url,
    /// Whether certificates count.
    pub trust: Trust,
    /// Media types wanted.
    pub accept: Option<&'static str>,
    /// Value of the Authorization header; sent to the origin of `url` only.
    pub authorization: Option<String>,
    /// First byte wanted, if not 0.
    pub from: u64,
    /// Form to post, URL-encoded.
    pub form: Option<String>,
}

impl Request {
    /// A plain GET.
    pub fn get(url: Url, trust: Trust) -> Request {
        Request {
            url,
            trust,
            accept: None,
            authorization: None,
            from: 0,
            form: None,
        }
    }
}

/// The clients, each made when first needed: loading the system's certificates takes a while.
///
/// Each has a thread of its own, which ends when this is dropped.
#[derive(Default)]
pub struct Http {
    /// Time-outs and retries.
    pub patience: Patience,
    plain: OnceLock<Client>,
    verified: OnceLock<Client>,
    unverified: OnceLock<Client>,
}

/// The most redirects followed.
const MAX_REDIRECTS: usize = 8;

/// Slower than this many bytes in one stall time-out counts as stalled.
const MIN_PROGRESS: u64 = 1024;

impl Http {
    /// With this patience.
    pub fn new(patience: Patience) -> Http {
        Http {
            patience,
            ..Http::default()
        }
    }

    /// Sends a request until there is an answer that a retry would not change. Any status but 429 and 5xx is an answer.
    pub fn send(&self, request: &Request) -> Result<Response> {
        let start = Instant::now();
        let mut pause = self.patience.pause;
        for attempt in 1.. {
            let outcome = self.follow(request);
            let (why, wait) = match &outcome {
                Ok(answer) if retry_may_help(answer.status()) => (
                    format!("{} says {}", host(&request.url), answer.status()),
                    retry_after(answer.headers()),
                ),
                Ok(_) => return outcome,
                Err(error) if hopeless(error) => return outcome,
                Err(error) => (format!("{error:#}"), None),
            };
            let wait = wait.unwrap_or(pause);
            if start.elapsed() + wait > self.patience.total
                && attempt < self.patience.attempts
                && wait > pause
            {
                bail!(
                    "{why} and wants us to wait {} s: a rate limit; log in or try again later",
                    wait.as_secs()
                );
            }
            if attempt >= self.patience.attempts || start.elapsed() + wait > self.patience.total {
                return Err(outcome
                    .err()
                    .unwrap_or_else(|| anyhow::anyhow!("{why} (tried {attempt} times)")));
            }
            std::thread::sleep(wait);
            pause *= 2;
        }
        unreachable!("the loop above only ends by return")
    }

    /// One try, redirects followed.
    fn follow(&self, request: &Request) -> Result<Response> {
        let mut url = request.url.clone();
        let mut authorization = request.authorization.as_deref();
        for _ in 0..=MAX_REDIRECTS {
            let answer = self.once(request, url.clone(), authorization)?;
            if !matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(answer);
            }
            let next = answer.headers().get(LOCATION).and_then(|l| l.to_str().ok());
            let next = next.with_context(|| format!("{} redirects to nowhere", host(&url)))?;
            let mut next = url
                .join(next)
                .with_context(|| format!("{} redirects to nonsense", host(&url)))?;
            check_redirect(&url, &next, request.trust)?;
            // Credentials in a URL would become an Authorization header.
            let _ = next.set_username("");
            let _ = next.set_password(None);
            if next.origin() != url.origin() {
                authorization = None;
            }
            ensure!(request.form.is_none(), "{} redirects a login", host(&url));
            url = next;
        }
        bail!("{} redirects in a circle", host(&request.url))
    }

    fn once(&self, request: &Request, url: Url, authorization: Option<&str>) -> Result<Response> {
        let name = host(&url);
        let client = self.client(&url, request.trust)?;
        let mut builder = match &request.form {
            None => client.get(url),
            Some(form) => client
                .post(url)
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(form.clone()),
        };
        if let Some(accept) = request.accept {
            builder = builder.header(ACCEPT, accept);
        }
        if let Some(value) = authorization {
            let mut value = reqwest::header::HeaderValue::from_str(value)
                .context("the credentials hold a control character")?;
            value.set_sensitive(true);
            builder = builder.header(AUTHORIZATION, value);
        }
        if request.from > 0 {
            builder = builder.header(RANGE, format!("bytes={}-", request.from));
        }
        // The URL may hold a signature, so it stays out of messages.
        builder.send().map_err(|e| explain(e.without_url(), &name))
    }

    fn client(&self, url: &Url, trust: Trust) -> Result<&Client> {
        let cell = match (url.scheme(), trust) {
            ("http", _) => &self.plain,
            (_, Trust::Verified) => &self.verified,
            (_, Trust::Unverified) => &self.unverified,
        };
        if let Some(client) = cell.get() {
            return Ok(client);
        }
        // Whoever installed a provider before keeps it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = Client::builder()
            .user_agent(concat!("rootfs-fetch/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .referer(false)
            .connect_timeout(self.patience.connect)
            .timeout(self.patience.stall);
        let builder = match (url.scheme(), trust) {
            // Plain http needs no certificates, and works where there are none.
            ("http", _) => builder.tls_certs_only([]),
            (_, Trust::Verified) => builder,
            (_, Trust::Unverified) => builder
                .tls_certs_only([])
                .tls_danger_accept_invalid_certs(true),
        };
        let client = builder
            .build()
            .context("cannot set up https; are the system's CA certificates installed (package ca-certificates)?")?;
        Ok(cell.get_or_init(|| client))
    }

    /// The body of an answer, as a reader that fails when it stalls.
    pub fn body(&self, answer: Response) -> Body {
        Body {
            answer,
            stall: self.patience.stall,
            window: Instant::now(),
            in_window: 0,
        }
    }

    /// A whole document of at most `max` bytes.
    pub fn document(&self, answer: Response, max: u64) -> Result<Vec<u8>> {
        let name = host(answer.url());
        if let Some(coding) = answer.headers().get("content-encoding")
            && coding != "identity"
        {
            bail!("{name} sends a compressed document, which was not asked for");
        }
        let mut bytes = Vec::new();
        let body = self.body(answer);
        body.take(max + 1)
            .read_to_end(&mut bytes)
            .with_context(|| format!("cannot read the answer of {name}"))?;
        ensure!(
            bytes.len() as u64 <= max,
            "{name} sends a document of more than {max} bytes"
        );
        Ok(bytes)
    }
}

/// The body of an answer on its way.
pub struct Body {
    answer: Response,
    stall: Duration,
    window: Instant,
    in_window: u64,
}

impl Read for Body {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.answer.read(buf)?;
        self.in_window += n as u64;
        if n > 0 && self.window.elapsed() >= self.stall {
            if self.in_window < MIN_PROGRESS {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the transfer has stalled",
                ));
            }
            (self.window, self.in_window) = (Instant::now(), 0);
        }
        Ok(n)
    }
}

/// Host and port of a URL, for messages.
pub fn host(url: &Url) -> String {
    let name = escape(url.host_str().unwrap_or("?"));
    match url.port() {
        Some(port) => format!("{name}:{port}"),
        None => name,
    }
}

fn retry_may_help(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT
        || status.is_server_error()
}

/// A connection that failed, in one line: host, cause and cure. Trying again may help, unlike with other errors.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unreachable(String);

/// A certificate does not get better by asking again, nor does a bad redirect.
fn hopeless(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<Unreachable>() {
        Some(Unreachable(text)) => text.contains("certificate") || text.contains("plain http"),
        None => true,
    }
}

fn check_redirect(from: &Url, to: &Url, trust: Trust) -> Result<()> {
    match (from.scheme(), to.scheme()) {
        (_, "https") | ("http", "http") => Ok(()),
        ("https", "http") if trust == Trust::Unverified => Ok(()),
        ("https", "http") => bail!("{} redirects from https to plain http", host(from)),
        (_, other) => bail!(
            "{} redirects to \"{}:\", which is neither http nor https",
            host(from),
            escape(other)
        ),
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(value).ok()?;
    let wait = date.timestamp().duration_since(jiff::Timestamp::now());
    Some(Duration::try_from(wait).unwrap_or_default())
}

fn explain(error: reqwest::Error, host: &str) -> anyhow::Error {
    let source = std::error::Error::source(&error);
    let chain: Vec<String> = std::iter::successors(source, |e| e.source())
        .map(|e| e.to_string())
        .collect();
    let all = chain.join(": ");
    let cure = if error.is_timeout() {
        "no answer in time; is the registry up, and is a proxy needed (HTTPS_PROXY)?"
    } else if all.contains("certificate") {
        "its certificate is not trusted; add its CA to the system's, or name the registry as insecure in registries.conf"
    } else if all.contains("InvalidContentType") {
        "it speaks plain http; if that is right, name the registry as insecure in registries.conf"
    } else if all.contains("dns error") {
        "its name cannot be resolved; is it spelled right, does DNS work?"
    } else {
        "is the registry up, and is a proxy needed (HTTPS_PROXY)?"
    };
    let detail = chain.last().cloned().unwrap_or_else(|| error.to_string());
    Unreachable(format!("cannot reach {host}: {}: {cure}", escape(&detail))).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_keep_to_http_and_do_not_lose_tls() {
        let url = |text: &str| Url::parse(text).unwrap();
        let check = |a, b, t| check_redirect(&url(a), &url(b), t).is_ok();
        assert!(check("https://a/", "https://b/", Trust::Verified));
        assert!(check("http://a/", "https://b/", Trust::Verified));
        assert!(!check("https://a/", "http://a/", Trust::Verified));
        assert!(!check(
            "https://a/",
            "file:///etc/passwd",
            Trust::Unverified
        ));
        assert!(!check("http://a/", "ftp://a/", Trust::Unverified));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let headers = |v: &str| HeaderMap::from_iter([(RETRY_AFTER, v.parse().unwrap())]);
        assert_eq!(retry_after(&headers("7")), Some(Duration::from_secs(7)));
        assert_eq!(
            retry_after(&headers("Wed, 21 Oct 2015 07:28:00 GMT")),
            Some(Duration::ZERO)
        );
        assert_eq!(retry_after(&headers("soon")), None);
    }
}
