//! Credentials: what `docker login` wrote down, for whoever it was meant.
//!
//! `config.json` holds them itself (base64, which hides nothing) or names a helper program that keeps them in the
//! desktop's key ring. github.com/docker/docker-credential-helpers, "Development".

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::text::escape;

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
        Err(e)
            if e.kind() == std::io::ErrorKind::NotFound
                || e.kind() == std::io::ErrorKind::NotADirectory =>
        {
            return Ok(None);
        }
        Err(e) => return Err(e.into()),
    };
    let config: Value = serde_json::from_slice(&text)
        .with_context(|| format!("{} is not valid JSON", path.display()))?;
    if let Some(helper) = helper(&config, registry) {
        return ask_helper(&helper, registry)
            .with_context(|| format!("credential helper \"{}\"", escape(&helper)));
    }
    from_auths(&config, registry)
}

/// Docker Hub has several names; its credentials are filed under the oldest.
fn keys(registry: &str) -> Vec<&str> {
    match registry {
        "docker.io" | "index.docker.io" | "registry-1.docker.io" => {
            vec![
                "https://index.docker.io/v1/",
                "docker.io",
                "index.docker.io",
                "registry-1.docker.io",
            ]
        }
        other => vec![other],
    }
}

fn bare(key: &str) -> &str {
    let key = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
        .unwrap_or(key);
    key.split('/').next().unwrap_or(key)
}

fn helper(config: &Value, registry: &str) -> Option<String> {
    let special = config
        .get("credHelpers")
        .and_then(|h| keys(registry).iter().find_map(|k| h.get(k)?.as_str()));
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
        .with_context(|| {
            format!(
                "cannot run docker-credential-{}; is it installed?",
                escape(helper)
            )
        })?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that does not read what it is asked fails by itself.
        let _ = stdin.write_all(keys(registry)[0].as_bytes());
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout).to_lowercase();
        ensure!(
            said.contains("not found"),
            "it fails: {}",
            escape(said.trim())
        );
        return Ok(None);
    }
    let value: Value =
        serde_json::from_slice(&output.stdout).context("it answers without valid JSON")?;
    let field = |key: &str| {
        value
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let (user, secret) = (field("Username"), field("Secret"));
    Ok(match (user.as_str(), secret.is_empty()) {
        (_, true) => None,
        ("<token>", false) => Some(Credentials::Identity(secret)),
        _ => Some(Credentials::Password(user, secret)),
    })
}

fn from_auths(config: &Value, registry: &str) -> Result<Option<Credentials>> {
    let Some(auths) = config.get("auths").and_then(Value::as_object) else {
        return Ok(None);
    };
    let wanted = keys(registry);
    let exact = wanted.iter().find_map(|k| auths.get(*k));
    let entry = exact.or_else(|| {
        auths
            .iter()
            .find(|(k, _)| wanted.contains(&bare(k)))
            .map(|(_, v)| v)
    });
    let Some(entry) = entry else { return Ok(None) };
    let field = |key: &str| {
        entry
            .get(key)
            .and_then(Value::as_str)
            .filter(|v| !v.is_empty())
    };
    if let Some(token) = field("identitytoken") {
        return Ok(Some(Credentials::Identity(token.to_owned())));
    }
    if let Some(token) = field("registrytoken") {
        return Ok(Some(Credentials::Token(token.to_owned())));
    }
    if let Some(auth) = field("auth") {
        let broken = || {
            format!(
                "the credentials for {} are damaged; log in again",
                escape(registry)
            )
        };
        let text =
            String::from_utf8(STANDARD.decode(auth).with_context(broken)?).with_context(broken)?;
        let (user, password) = text.split_once(':').with_context(broken)?;
        return Ok(Some(Credentials::Password(
            user.to_owned(),
            password.trim_end_matches('\0').to_owned(),
        )));
    }
    let pair = field("username").zip(field("password"));
    Ok(pair.map(|(user, password)| Credentials::Password(user.to_owned(), password.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

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
