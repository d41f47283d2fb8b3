//! Logging in to a registry: what it asks for, what the user has, and who may see it.
//!
//! A registry that wants to know who asks answers 401 with a challenge. `Basic` wants user and password. `Bearer`
//! names a *realm*, another server that gives out a short-lived token for a *scope*; public images need a token, too,
//! and the realm gives one to anybody. What the user has is read
//! by [`crate::credentials`].
//! RFC 7617, RFC 6750; distribution "Token Authentication Specification".

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;
use serde_json::Value;

use crate::credentials::Credentials;
use crate::documents::MAX_DOCUMENT;
use crate::http::{Http, Request, Trust, host};
use crate::text::escape;

/// What a registry asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// User and password.
    Basic,
    /// A token from `realm` for `service`; `scope` if the registry says which.
    Bearer {
        /// URL of the server that gives out tokens.
        realm: String,
        /// What the registry calls itself.
        service: Option<String>,
        /// What the token must allow, as in `repository:library/alpine:pull`.
        scope: Option<String>,
    },
}

/// Reads the values of `WWW-Authenticate`. Schemes we do not know are left out. RFC 9110, section 11.
pub fn challenges<'a>(values: impl IntoIterator<Item = &'a str>) -> Vec<Challenge> {
    values.into_iter().flat_map(parse_challenges).collect()
}

/// The Authorization header that answers `challenge`, or `None` if only credentials we do not have would do.
///
/// `registry` is the URL that sent the challenge: what it may ask us to send where depends on how far it is trusted.
pub fn answer(
    http: &Http,
    registry: &Url,
    trust: Trust,
    challenge: &Challenge,
    scope: &str,
    credentials: Option<&Credentials>,
) -> Result<Option<String>> {
    match (challenge, credentials) {
        (_, Some(Credentials::Token(token))) => Ok(Some(format!("Bearer {token}"))),
        (Challenge::Basic, Some(Credentials::Password(user, password))) => {
            Ok(Some(basic(user, password)))
        }
        (Challenge::Basic, _) => Ok(None),
        (
            Challenge::Bearer {
                realm,
                service,
                scope: asked,
            },
            credentials,
        ) => {
            let realm = Url::parse(realm)
                .with_context(|| format!("the token server of {} is no URL", host(registry)))?;
            let credentials = credentials.filter(|_| may_see_credentials(registry, &realm));
            check_realm(registry, &realm)?;
            let scope = asked.as_deref().unwrap_or(scope);
            // "Insecure" is said of the registry; another host must prove who it is.
            let trust = match registry.host_str() == realm.host_str() {
                true => trust,
                false => Trust::Verified,
            };
            token(http, realm, trust, service.as_deref(), scope, credentials)
                .map(|t| Some(format!("Bearer {t}")))
        }
    }
}

/// A realm on plain http is only believed if the registry itself is on plain http.
fn check_realm(registry: &Url, realm: &Url) -> Result<()> {
    match (registry.scheme(), realm.scheme()) {
        (_, "https") | ("http", "http") => Ok(()),
        _ => bail!(
            "{} wants a token fetched from {}: over {}",
            host(registry),
            host(realm),
            escape(realm.scheme())
        ),
    }
}

/// Who may see the password: the realm that a registry names over https, itself on https; else only the same host.
pub(crate) fn may_see_credentials(registry: &Url, realm: &Url) -> bool {
    (registry.scheme() == "https" && realm.scheme() == "https")
        || registry.host_str() == realm.host_str()
}

fn token(
    http: &Http,
    mut realm: Url,
    trust: Trust,
    service: Option<&str>,
    scope: &str,
    credentials: Option<&Credentials>,
) -> Result<String> {
    let name = host(&realm);
    let mut request = Request::get(realm.clone(), trust);
    // Who only logs in wants to do nothing.
    let scope = Some(scope).filter(|scope| !scope.is_empty());
    let mut fields: Vec<_> = scope.map(|s| ("scope", s)).into_iter().collect();
    fields.extend(service.map(|s| ("service", s)));
    match credentials {
        Some(Credentials::Identity(token)) => {
            fields.extend([
                ("grant_type", "refresh_token"),
                ("refresh_token", token),
                ("client_id", "rootfs-fetch"),
            ]);
            // Encoded by way of a URL that is never asked for.
            let form = Url::parse_with_params("http://form/", &fields)?;
            request.form = form.query().map(str::to_owned);
        }
        other => {
            realm.query_pairs_mut().extend_pairs(&fields);
            request.url = realm;
            if let Some(Credentials::Password(user, password)) = other {
                request.authorization = Some(basic(user, password));
            }
        }
    }
    let answer = http.send(&request)?;
    let status = answer.status();
    if status.as_u16() == 401 || status.as_u16() == 403 {
        let cure = if credentials.is_some() {
            "are the credentials still right? log in again"
        } else {
            "log in first"
        };
        bail!("{name} gives no token ({status}): {cure}");
    }
    ensure!(
        status.is_success(),
        "{name} gives no token: it says {status}"
    );
    let bytes = http.document(answer, MAX_DOCUMENT)?;
    let value: Value = serde_json::from_slice(&bytes)
        .with_context(|| format!("the token of {name} is not valid JSON"))?;
    let token = ["token", "access_token"]
        .iter()
        .find_map(|k| value.get(k)?.as_str().filter(|t| !t.is_empty()));
    let token = token.with_context(|| format!("{name} answers without a token"))?;
    ensure!(
        token.len() <= 1 << 16,
        "{name} gives a token of {} bytes, too long for a header",
        token.len()
    );
    Ok(token.to_owned())
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

fn parse_challenges(value: &str) -> Vec<Challenge> {
    let mut found = Vec::new();
    let mut rest = value.trim_start();
    while !rest.is_empty() {
        let end = rest.find([' ', ',']).unwrap_or(rest.len());
        let scheme = &rest[..end];
        rest = rest[end..].trim_start_matches([' ', ',']);
        let mut params: Vec<(String, String)> = Vec::new();
        while let Some((key, value, after)) = parameter(rest) {
            params.push((key, value));
            rest = after;
        }
        let mut get = |key: &str| {
            params
                .iter()
                .position(|(k, _)| k == key)
                .map(|i| params.swap_remove(i).1)
        };
        if scheme.eq_ignore_ascii_case("basic") {
            found.push(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer")
            && let Some(realm) = get("realm")
        {
            found.push(Challenge::Bearer {
                realm,
                service: get("service"),
                scope: get("scope"),
            });
        }
    }
    found
}

/// One `key=value` or `key="value"` at the start of `text`, and what follows its comma.
fn parameter(text: &str) -> Option<(String, String, &str)> {
    let (key, rest) = text.split_once('=')?;
    let key = key.trim();
    if key.is_empty() || key.contains([' ', ',', '"']) {
        return None;
    }
    let mut value = String::new();
    let after = match rest.trim_start().strip_prefix('"') {
        Some(quoted) => {
            let mut chars = quoted.char_indices();
            loop {
                match chars.next()? {
                    (i, '"') => break &quoted[i + 1..],
                    (_, '\\') => value.push(chars.next()?.1),
                    (_, c) => value.push(c),
                }
            }
        }
        None => {
            let end = rest.find(',').unwrap_or(rest.len());
            value.push_str(rest[..end].trim());
            &rest[end..]
        }
    };
    Some((
        key.to_ascii_lowercase(),
        value,
        after.trim_start_matches([' ', ',']),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.into(),
            service: service.map(Into::into),
            scope: scope.map(Into::into),
        }
    }

    #[test]
    fn challenges_are_read() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
        assert_eq!(
            challenges([hub]),
            [bearer(
                "https://auth.docker.io/token",
                Some("registry.docker.io"),
                Some("repository:a/b:pull,push")
            )]
        );
        assert_eq!(
            challenges(["Basic realm=\"x\", Bearer realm=y"]),
            [Challenge::Basic, bearer("y", None, None)]
        );
        assert_eq!(challenges(["basic"]), [Challenge::Basic]);
        assert_eq!(
            challenges([r#"bearer Realm="a\"b" , service=s"#]),
            [bearer("a\"b", Some("s"), None)]
        );
        for odd in [
            "",
            "Negotiate",
            "Bearer",
            "Bearer realm=\"unclosed",
            ",,,",
            "= = =",
            "Digest realm=\"x\"",
        ] {
            assert_eq!(challenges([odd]), [], "{odd}");
        }
    }

    #[test]
    fn passwords_stay_with_those_who_may_see_them() {
        let url = |t: &str| Url::parse(t).unwrap();
        assert!(may_see_credentials(
            &url("https://r.io/"),
            &url("https://auth.r.io/")
        ));
        assert!(may_see_credentials(
            &url("http://localhost:5/"),
            &url("http://localhost:6/")
        ));
        assert!(!may_see_credentials(
            &url("http://localhost:5/"),
            &url("http://evil/")
        ));
        assert!(!may_see_credentials(
            &url("http://localhost:5/"),
            &url("https://evil/")
        ));
        assert!(check_realm(&url("https://r.io/"), &url("http://auth.r.io/")).is_err());
        assert!(check_realm(&url("http://localhost/"), &url("file:///etc")).is_err());
    }
}
