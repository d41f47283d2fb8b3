//! The registry: three kinds of GET. A manifest by name, a configuration and layers by digest.
//!
//! `GET /v2/<repository>/manifests/<tag or digest>` and `GET /v2/<repository>/blobs/<digest>`; a 401 sends us for a
//! token first. OCI distribution-spec, "Pull".

use std::io::Read;

use anyhow::{Context, Result, anyhow, bail, ensure};
use oci_spec::image::ImageManifest;
use reqwest::Url;
use reqwest::blocking::Response;
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, WWW_AUTHENTICATE};
use serde_json::Value;

use crate::auth;
use crate::credentials::credentials;
use crate::digest::{Digest, Verified};
use crate::documents::{self, Described, Document, MAX_DOCUMENT};
use crate::download::Download;
use crate::endpoint::{Endpoint, lock};
use crate::error::Error;
use crate::http::{Body, Http, Patience, Request, Trust};
use crate::name::ImageName;
use crate::platform::Platform;
use crate::registries_conf::{RegistriesConf, Role};
use crate::text::escape;

/// One repository in one or more registries (mirrors, then the place itself).
pub struct Registry {
    http: Http,
    name: ImageName,
    endpoints: Vec<Endpoint>,
}

/// What a name led to.
pub struct Resolved {
    /// The image, its documents checked.
    pub described: Described,
    /// Digest of what the name itself names: the index, if there is one.
    pub digest: Digest,
}

/// How often an index may point to another index.
const MAX_NESTING: u32 = 4;

impl Registry {
    /// For `name`, by way of the mirrors in `conf`. Connects to nobody yet.
    pub fn new(name: &ImageName, conf: &RegistriesConf, patience: Patience) -> Result<Registry> {
        let endpoints = conf
            .locations(name)?
            .into_iter()
            .map(Endpoint::new)
            .collect();
        Ok(Registry {
            http: Http::new(patience),
            name: name.clone(),
            endpoints,
        })
    }

    /// The patience of its HTTP client.
    pub fn patience(&self) -> &Patience {
        &self.http.patience
    }

    /// Follows the name to the image for `platform`.
    ///
    /// # Errors
    /// [`Error::NotInRegistry`] in Docker's words; anything else begins with "cannot pull".
    pub fn resolve(&self, platform: &Platform) -> Result<Resolved> {
        self.follow(platform)
            .map_err(|error| match error.is::<Error>() {
                true => error,
                false => error.context(format!("cannot pull {}", self.name)),
            })
    }

    fn follow(&self, platform: &Platform) -> Result<Resolved> {
        let mut reference = self.name.reference();
        let mut first = None;
        for _ in 0..MAX_NESTING {
            let (bytes, kind) = self.manifest(&reference)?;
            let digest = Digest::of(&bytes);
            if let Ok(expected) = reference.parse::<Digest>() {
                ensure!(
                    digest == expected,
                    "the manifest of {} has digest {digest}, not {expected}",
                    self.name
                );
            }
            let digest = first.get_or_insert(digest).clone();
            match documents::parse(&bytes, kind.as_deref())? {
                Document::Index(index) => {
                    let chosen = platform.choose(index.manifests())?;
                    let chosen_digest = documents::digest_of(chosen)?;
                    ensure!(
                        chosen.size() <= MAX_DOCUMENT,
                        "the manifest is declared with {} bytes",
                        chosen.size()
                    );
                    reference = chosen_digest.to_string();
                }
                Document::Manifest(manifest) => {
                    return Ok(Resolved {
                        described: self.described(&manifest)?,
                        digest,
                    });
                }
            }
        }
        bail!(
            "the index of {} nests more than {MAX_NESTING} deep",
            self.name
        )
    }

    /// A blob, from byte `from` on. The reader does not verify it.
    pub fn blob(&self, digest: &Digest, from: u64) -> Result<Body> {
        let path = format!("blobs/{digest}");
        let (answer, _) = self.get(&path, None, from)?;
        if answer.status().as_u16() == 206 {
            let range = answer
                .headers()
                .get(CONTENT_RANGE)
                .and_then(|r| r.to_str().ok())
                .unwrap_or_default();
            let start = range
                .strip_prefix("bytes ")
                .and_then(|r| r.split('-').next()?.parse::<u64>().ok());
            ensure!(
                start == Some(from),
                "the registry sends the wrong part of {digest}"
            );
            return Ok(self.http.body(answer));
        }
        // The server does not do ranges: skip what we have.
        let mut body = self.http.body(answer);
        let skipped = std::io::copy(&mut body.by_ref().take(from), &mut std::io::sink())?;
        ensure!(skipped == from, "{digest} ends early");
        Ok(body)
    }

    fn described(&self, manifest: &ImageManifest) -> Result<Described> {
        documents::check_config_type(manifest)?;
        let (digest, size) = (
            documents::digest_of(manifest.config())?,
            manifest.config().size(),
        );
        ensure!(
            size <= MAX_DOCUMENT,
            "the image configuration is declared with {size} bytes, more than {MAX_DOCUMENT}"
        );
        let mut bytes = Vec::new();
        Verified::new(Download::new(self, digest.clone(), size), digest, size)
            .read_to_end(&mut bytes)
            .with_context(|| format!("cannot fetch the configuration of {}", self.name))?;
        documents::describe(manifest, bytes)
    }

    fn manifest(&self, reference: &str) -> Result<(Vec<u8>, Option<String>)> {
        let mut failures = 0;
        loop {
            let (answer, _) = self.get(
                &format!("manifests/{reference}"),
                Some(documents::ACCEPT),
                0,
            )?;
            let kind = answer
                .headers()
                .get(CONTENT_TYPE)
                .and_then(|t| t.to_str().ok())
                .map(str::to_owned);
            match self.http.document(answer, MAX_DOCUMENT) {
                Ok(bytes) => return Ok((bytes, kind)),
                // Cut short on the way; too long will be too long again.
                Err(error) if failures < 2 && error.chain().any(|e| e.is::<std::io::Error>()) => {
                    failures += 1
                }
                Err(error) => {
                    return Err(
                        error.context(format!("cannot fetch the manifest of {}", self.name))
                    );
                }
            }
        }
    }

    /// Asks one endpoint after the other; the last one, the place itself, has the last word.
    fn get(
        &self,
        path: &str,
        accept: Option<&'static str>,
        from: u64,
    ) -> Result<(Response, &Endpoint)> {
        let mut mirrors_said = String::new();
        for endpoint in &self.endpoints {
            match self.get_from(endpoint, path, accept, from) {
                Ok(answer) => return Ok((answer, endpoint)),
                Err(error) if endpoint.location.role == Role::Mirror => {
                    mirrors_said
                        .push_str(&format!(" (mirror {}: {error:#})", endpoint.location.host));
                }
                Err(error) if mirrors_said.is_empty() => return Err(error),
                Err(error) => {
                    let text = format!("{error:#}{mirrors_said}");
                    return Err(if error.is::<Error>() {
                        Error::NotInRegistry(text).into()
                    } else {
                        anyhow!(text)
                    });
                }
            }
        }
        bail!("there is no place to fetch {} from", self.name)
    }

    fn get_from(
        &self,
        endpoint: &Endpoint,
        path: &str,
        accept: Option<&'static str>,
        from: u64,
    ) -> Result<Response> {
        let (base, trust) = endpoint.base(&self.http)?;
        let url = base.join(&format!("/v2/{}/{path}", endpoint.location.repository))?;
        let mut request = Request {
            accept,
            from,
            ..Request::get(url, trust)
        };
        request.authorization = lock(&endpoint.authorization).clone();
        let mut answer = self.http.send(&request)?;
        if answer.status().as_u16() == 401 {
            let header = self.log_in(endpoint, &base, trust, &answer)?;
            request.authorization = Some(header.clone());
            answer = self.http.send(&request)?;
            if answer.status().is_success() {
                *lock(&endpoint.authorization) = Some(header);
            }
        }
        match answer.status().as_u16() {
            200 | 206 => Ok(answer),
            _ => Err(self.refusal(endpoint, path, answer)),
        }
    }

    /// The Authorization header that answers a 401.
    fn log_in(
        &self,
        endpoint: &Endpoint,
        base: &Url,
        trust: Trust,
        answer: &Response,
    ) -> Result<String> {
        let host = &endpoint.location.host;
        let values = answer
            .headers()
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|v| v.to_str().ok());
        let challenges = auth::challenges(values);
        ensure!(
            !challenges.is_empty(),
            "{host} refuses {} (401) without saying how to log in",
            self.name
        );
        let scope = format!("repository:{}:pull", endpoint.location.repository);
        // A public image needs no credentials, so broken ones only matter if it is refused.
        let (credentials, trouble) = match credentials(host) {
            Ok(credentials) => (credentials, None),
            Err(error) => (None, Some(error)),
        };
        let mut why = None;
        for challenge in &challenges {
            match auth::answer(
                &self.http,
                base,
                trust,
                challenge,
                &scope,
                credentials.as_ref(),
            ) {
                Ok(Some(header)) => return Ok(header),
                Ok(None) => {}
                Err(error) => why = Some(error),
            }
        }
        let why = why
            .or(trouble)
            .map(|e| format!(": {e:#}"))
            .unwrap_or_default();
        Err(Error::NotInRegistry(format!("{}{why}", denied(&self.name, host))).into())
    }

    /// What the registry's refusal means, in Docker's words first.
    fn refusal(&self, endpoint: &Endpoint, path: &str, answer: Response) -> anyhow::Error {
        let host = &endpoint.location.host;
        let status = answer.status();
        let said = self
            .http
            .document(answer, 64 << 10)
            .ok()
            .and_then(|b| error_text(&b));
        let said = said.map(|s| format!(": {s}")).unwrap_or_default();
        match (status.as_u16(), path.starts_with("manifests/")) {
            (401 | 403, _) => Error::NotInRegistry(format!("{}{said}", denied(&self.name, host))).into(),
            (404, true) => Error::NotInRegistry(format!(
                "manifest for {} not found: manifest unknown: {host} has no such image or tag; is it spelled right?",
                self.name
            ))
            .into(),
            (404, false) => anyhow!(
                "{host} does not have the blob {} of {}; push the image again (blobs kept elsewhere, by \"urls\", are never fetched)",
                path.trim_start_matches("blobs/"),
                self.name
            ),
            _ => anyhow!("{host} answers {status} for {}{said}", self.name),
        }
    }
}

fn denied(name: &ImageName, host: &str) -> String {
    format!(
        "pull access denied for {}, repository does not exist or may require 'docker login': denied by {host}",
        name.familiar_repository()
    )
}

/// `{"errors": [{"code", "message", "detail"}]}`, the distribution-spec's form of an error.
fn error_text(bytes: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(bytes).ok()?;
    let error = value.get("errors")?.get(0)?;
    let text = error
        .get("message")
        .or_else(|| error.get("code"))?
        .as_str()?;
    (!text.is_empty()).then(|| escape(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_words_are_escaped() {
        let json = br#"{"errors":[{"code":"DENIED","message":"no\u001b[2J"}]}"#;
        assert_eq!(error_text(json).unwrap(), "no\\u{1b}[2J");
        assert_eq!(error_text(b"<html>"), None);
    }
}
