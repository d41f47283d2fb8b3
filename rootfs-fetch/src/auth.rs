//! Logging in to a registry: what it asks for, what the user has, and who may see it.
//!
//! A registry that wants to know who asks answers 401 with a challenge. `Basic` wants user and password. `Bearer`
//! names a *realm*, another server that gives out a short-lived token for a *scope*; public images need a token, too,
//! and the realm gives one to anybody. Credentials come from Docker's `config.json` or its helper programs.
//! RFC 7617, RFC 6750; distribution "Token Authentication Specification".

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;
use serde_json::Value;

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

/// What the user has for one registry.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// User and password.
    Password(String, String),
    /// An OAuth2 refresh token.
    Identity(String),
    /// A ready bearer token.
    Token(String),
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
        (Challenge::Basic, Some(Credentials::Password(user, password))) => Ok(Some(basic(user, password))),
        (Challenge::Basic, _) => Ok(None),
        (Challenge::Bearer { realm, service, scope: asked }, credentials) => {
            let realm = Url::parse(realm).with_context(|| format!("the token server of {} is no URL", host(registry)))?;
            let credentials = credentials.filter(|_| may_see_credentials(registry, &realm));
            check_realm(registry, &realm)?;
            let scope = asked.as_deref().unwrap_or(scope);
            token(http, realm, trust, service.as_deref(), scope, credentials).map(|t| Some(format!("Bearer {t}")))
        }
    }
}

/// The user's credentials for `registry` (host and port), from `$DOCKER_CONFIG` or `~/.docker`.
///
/// # Errors
/// When the file or a helper program is broken. Absence of either is no error.
pub fn credentials(registry: &str) -> Result<Option<Credentials>> {
    let directory = match std::env::var_os("DOCKER_CONFIG").filter(|d| !d.is_empty()) {
        Some(directory) => PathBuf::from(directory),
        None => match std::env::var_os("HOME").filter(|d| !d.is_empty()) {
            Some(home) => PathBuf::from(home).join(".docker"),
            None => return Ok(None),
        },
    };
    let path = directory.join("config.json");
    let text = match fs_err::read(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound || e.kind() == std::io::ErrorKind::NotADirectory => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let config: Value = serde_json::from_slice(&text).with_context(|| format!("{} is not valid JSON", path.display()))?;
    if let Some(helper) = helper(&config, registry) {
        return ask_helper(&helper, registry).with_context(|| format!("credential helper \"{}\"", escape(&helper)));
    }
    from_auths(&config, registry)
}

/// A realm on plain http is only believed if the registry itself is on plain http.
fn check_realm(registry: &Url, realm: &Url) -> Result<()> {
    match (registry.scheme(), realm.scheme()) {
        (_, "https") | ("http", "http") => Ok(()),
        _ => bail!("{} wants a token fetched from {}: over {}", host(registry), host(realm), escape(realm.scheme())),
    }
}

/// Who may see the password: the realm that a registry names over https, itself on https; else only the same host.
fn may_see_credentials(registry: &Url, realm: &Url) -> bool {
    (registry.scheme() == "https" && realm.scheme() == "https") || registry.host_str() == realm.host_str()
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
    // Unverified is said of the registry; another host must prove who it is.
    let mut request = Request::get(realm.clone(), trust);
    let mut fields = vec![("scope", scope)];
    fields.extend(service.map(|s| ("service", s)));
    match credentials {
        Some(Credentials::Identity(token)) => {
            fields.extend([("grant_type", "refresh_token"), ("refresh_token", token), ("client_id", "rootfs-fetch")]);
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
        let cure = if credentials.is_some() { "are the credentials still right? log in again" } else { "log in first" };
        bail!("{name} gives no token ({status}): {cure}");
    }
    ensure!(status.is_success(), "{name} gives no token: it says {status}");
    let bytes = http.document(answer, MAX_DOCUMENT)?;
    let value: Value = serde_json::from_slice(&bytes).with_context(|| format!("the token of {name} is not valid JSON"))?;
    let token = ["token", "access_token"].iter().find_map(|k| value.get(k)?.as_str().filter(|t| !t.is_empty()));
    let token = token.with_context(|| format!("{name} answers without a token"))?;
    ensure!(token.len() <= 1 << 16, "{name} gives a token of {} bytes, too long for a header", token.len());
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
        let mut get = |key: &str| params.iter().position(|(k, _)| k == key).map(|i| params.swap_remove(i).1);
        if scheme.eq_ignore_ascii_case("basic") {
            found.push(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer")
            && let Some(realm) = get("realm")
        {
            found.push(Challenge::Bearer { realm, service: get("service"), scope: get("scope") });
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
    Some((key.to_ascii_lowercase(), value, after.trim_start_matches([' ', ','])))
}

/// Docker Hub has several names; its credentials are filed under the oldest.
fn keys(registry: &str) -> Vec<&str> {
    match registry {
        "docker.io" | "index.docker.io" | "registry-1.docker.io" => {
            vec!["https://index.docker.io/v1/", "docker.io", "index.docker.io", "registry-1.docker.io"]
        }
        other => vec![other],
    }
}

fn bare(key: &str) -> &str {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    key.split('/').next().unwrap_or(key)
}

fn helper(config: &Value, registry: &str) -> Option<String> {
    let special = config.get("credHelpers").and_then(|h| keys(registry).iter().find_map(|k| h.get(k)?.as_str()));
    let helper = special.or_else(|| config.get("credsStore")?.as_str())?;
    (!helper.is_empty()).then(|| helper.to_owned())
}

fn ask_helper(helper: &str, registry: &str) -> Result<Option<Credentials>> {
    ensure!(!helper.contains('/'), "its name must not hold a slash");
    let mut child = Command::new(format!("docker-credential-{helper}"))
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run docker-credential-{}; is it installed?", escape(helper)))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that does not read what it is asked fails by itself.
        let _ = stdin.write_all(keys(registry)[0].as_bytes());
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout).to_lowercase();
        ensure!(said.contains("not found"), "it fails: {}", escape(said.trim()));
        return Ok(None);
    }
    let value: Value = serde_json::from_slice(&output.stdout).context("it answers without valid JSON")?;
    let field = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (user, secret) = (field("Username"), field("Secret"));
    Ok(match (user.as_str(), secret.is_empty()) {
        (_, true) => None,
        ("<token>", false) => Some(Credentials::Identity(secret)),
        _ => Some(Credentials::Password(user, secret)),
    })
}

fn from_auths(config: &Value, registry: &str) -> Result<Option<Credentials>> {
    let Some(auths) = config.get("auths").and_then(Value::as_object) else { return Ok(None) };
    let wanted = keys(registry);
    let exact = wanted.iter().find_map(|k| auths.get(*k));
    let entry = exact.or_else(|| auths.iter().find(|(k, _)| wanted.contains(&bare(k))).map(|(_, v)| v));
    let Some(entry) = entry else { return Ok(None) };
    let field = |key: &str| entry.get(key).and_then(Value::as_str).filter(|v| !v.is_empty());
    if let Some(token) = field("identitytoken") {
        return Ok(Some(Credentials::Identity(token.to_owned())));
    }
    if let Some(token) = field("registrytoken") {
        return Ok(Some(Credentials::Token(token.to_owned())));
    }
    if let Some(auth) = field("auth") {
        let broken = || format!("the credentials for {} are damaged; log in again", escape(registry));
        let text = String::from_utf8(STANDARD.decode(auth).with_context(broken)?).with_context(broken)?;
        let (user, password) = text.split_once(':').with_context(broken)?;
        return Ok(Some(Credentials::Password(user.to_owned(), password.trim_end_matches('\0').to_owned())));
    }
    let pair = field("username").zip(field("password"));
    Ok(pair.map(|(user, password)| Credentials::Password(user.to_owned(), password.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer { realm: realm.into(), service: service.map(Into::into), scope: scope.map(Into::into) }
    }

    #[test]
    fn challenges_are_read() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
        assert_eq!(
            challenges([hub]),
            [bearer("https://auth.docker.io/token", Some("registry.docker.io"), Some("repository:a/b:pull,push"))]
        );
        assert_eq!(challenges(["Basic realm=\"x\", Bearer realm=y"]), [Challenge::Basic, bearer("y", None, None)]);
        assert_eq!(challenges(["basic"]), [Challenge::Basic]);
        assert_eq!(challenges([r#"bearer Realm="a\"b" , service=s"#]), [bearer("a\"b", Some("s"), None)]);
        for odd in ["", "Negotiate", "Bearer", "Bearer realm=\"unclosed", ",,,", "= = =", "Digest realm=\"x\""] {
            assert_eq!(challenges([odd]), [], "{odd}");
        }
    }

    #[test]
    fn passwords_stay_with_those_who_may_see_them() {
        let url = |t: &str| Url::parse(t).unwrap();
        assert!(may_see_credentials(&url("https://r.io/"), &url("https://auth.r.io/")));
        assert!(may_see_credentials(&url("http://localhost:5/"), &url("http://localhost:6/")));
        assert!(!may_see_credentials(&url("http://localhost:5/"), &url("http://evil/")));
        assert!(!may_see_credentials(&url("http://localhost:5/"), &url("https://evil/")));
        assert!(check_realm(&url("https://r.io/"), &url("http://auth.r.io/")).is_err());
        assert!(check_realm(&url("http://localhost/"), &url("file:///etc")).is_err());
    }

    #[test]
    fn docker_config_is_read() {
        let config: Value = serde_json::json!({
            "auths": {
                "https://index.docker.io/v1/": {"auth": STANDARD.encode("hub:p:w")},
                "https://quay.io/v2/": {"username": "u", "password": "p"},
                "id.io": {"identitytoken": "T"},
                "bad.io": {"auth": "%%%"},
                "empty.io": {},
            },
            "credHelpers": {"gcr.io": "gcloud"},
        });
        let password = |u: &str, p: &str| Some(Credentials::Password(u.into(), p.into()));
        assert!(from_auths(&config, "docker.io").unwrap() == password("hub", "p:w"));
        assert!(from_auths(&config, "quay.io").unwrap() == password("u", "p"));
        assert!(from_auths(&config, "id.io").unwrap() == Some(Credentials::Identity("T".into())));
        assert!(from_auths(&config, "empty.io").unwrap().is_none());
        assert!(from_auths(&config, "other.io").unwrap().is_none());
        assert!(from_auths(&config, "bad.io").is_err());
        assert_eq!(helper(&config, "gcr.io").as_deref(), Some("gcloud"));
        assert_eq!(helper(&config, "quay.io"), None);
    }
}
