//! Credentials: what `docker login` wrote down, for whoever it was meant.
//!
//! `config.json` holds them itself (base64, which hides nothing) or names a helper program that keeps them in the
//! desktop's key ring. github.com/docker/docker-credential-helpers, "Development".

use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fs_err::os::unix::fs::OpenOptionsExt;
use serde::Serialize;
use serde_json::{Value, json};

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

/// Where credentials were put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// In this file, where whoever reads it can read them.
    File(PathBuf),
    /// With a helper program.
    Helper,
}

/// The user's credentials for `registry` (host and port), from `$DOCKER_CONFIG` or `~/.docker`.
///
/// # Errors
/// When the file or a helper program is broken. Absence of either is no error.
pub fn credentials(registry: &str) -> Result<Option<Credentials>> {
    let Some(config) = config_path().map(|path| read(&path)).transpose()?.flatten() else {
        return Ok(None);
    };
    match helper(&config, registry) {
        Some(helper) => ask_helper(&helper, registry).with_context(|| about(&helper)),
        None => from_auths(&config, registry),
    }
}

/// Writes a user's password for `registry` down where [`credentials`] finds it.
///
/// # Errors
/// As above, and a file that cannot be written.
pub fn keep(registry: &str, user: &str, password: &str) -> Result<Kept> {
    let path = config_path().context("neither DOCKER_CONFIG nor HOME is set")?;
    let mut config = read(&path)?.unwrap_or_else(|| json!({}));
    let key = filed_under(registry);
    let (entry, kept) = match helper(&config, registry) {
        Some(helper) => {
            let secret = json!({"ServerURL": key, "Username": user, "Secret": password});
            run_helper(&helper, "store", &secret.to_string())
                .and_then(|output| succeeded(&output))
                .with_context(|| about(&helper))?;
            (json!({}), Kept::Helper)
        }
        None => {
            let auth = STANDARD.encode(format!("{user}:{password}"));
            (json!({"auth": auth}), Kept::File(path.clone()))
        }
    };
    forget_in(&mut config, registry);
    let auths = config.as_object_mut().and_then(|config| {
        let auths = config.entry("auths").or_insert_with(|| json!({}));
        auths.as_object_mut()
    });
    let auths = auths.with_context(|| format!("{} is no configuration", path.display()))?;
    auths.insert(key.to_owned(), entry);
    write(&path, &config)?;
    Ok(kept)
}

/// Removes what is kept for `registry`; nothing there is no error.
///
/// # Errors
/// As above.
pub fn forget(registry: &str) -> Result<()> {
    let Some(path) = config_path() else {
        return Ok(());
    };
    let Some(mut config) = read(&path)? else {
        return Ok(());
    };
    if let Some(helper) = helper(&config, registry) {
        let output = run_helper(&helper, "erase", filed_under(registry));
        let output = output.with_context(|| about(&helper))?;
        let said = said(&output);
        if !said.contains("not found") {
            succeeded(&output).with_context(|| about(&helper))?;
        }
    }
    match forget_in(&mut config, registry) {
        true => write(&path, &config),
        false => Ok(()),
    }
}

/// The name that the credentials for `registry` are filed under.
pub fn filed_under(registry: &str) -> &str {
    keys(registry)[0]
}

/// The registry that somebody means who types `text`: its host and port.
pub fn registry_of(text: &str) -> &str {
    match bare(text) {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        other => other,
    }
}

fn config_path() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let directory = match variable("DOCKER_CONFIG") {
        Some(directory) => PathBuf::from(directory),
        None => PathBuf::from(variable("HOME")?).join(".docker"),
    };
    Some(directory.join("config.json"))
}

fn read(path: &Path) -> Result<Option<Value>> {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    match fs_err::read(path) {
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .with_context(|| format!("{} is not valid JSON", path.display())),
        Err(e) if matches!(e.kind(), NotFound | NotADirectory) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Replaces the file as a whole; nobody but its owner may read it. A link that the user has put there stays one.
fn write(path: &Path, config: &Value) -> Result<()> {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut make = std::fs::DirBuilder::new();
    let made = make.recursive(true).mode(0o700).create(directory);
    made.with_context(|| format!("make {}", directory.display()))?;
    // Indented as Docker does it.
    let mut text = Vec::new();
    let tabs = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    config.serialize(&mut serde_json::Serializer::with_formatter(&mut text, tabs))?;
    let temporary = path.with_extension(format!("json.{}", std::process::id()));
    let written = (|| -> Result<()> {
        let mut options = fs_err::OpenOptions::new();
        options.write(true).create_new(true);
        let mut file = options.mode(0o600).open(&temporary)?;
        file.write_all(&text)?;
        file.sync_all()?;
        Ok(fs_err::rename(&temporary, &path)?)
    })();
    written.inspect_err(|_| drop(std::fs::remove_file(&temporary)))
}

/// Takes what the configuration itself has for `registry` away, under whichever name; tells whether there was any.
fn forget_in(config: &mut Value, registry: &str) -> bool {
    let wanted = keys(registry);
    let auths = config.get_mut("auths").and_then(Value::as_object_mut);
    let Some(auths) = auths else { return false };
    let before = auths.len();
    auths.retain(|key, _| !wanted.contains(&key.as_str()) && !wanted.contains(&bare(key)));
    auths.len() < before
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

fn about(helper: &str) -> String {
    format!("credential helper \"{}\"", escape(helper))
}

fn run_helper(helper: &str, verb: &str, input: &str) -> Result<Output> {
    ensure!(!helper.contains('/'), "its name must not hold a slash");
    let mut child = Command::new(format!("docker-credential-{helper}"))
        .arg(verb)
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
        let _ = stdin.write_all(input.as_bytes());
    }
    Ok(child.wait_with_output()?)
}

/// What a helper gives as the reason of its failure, on its output.
fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).to_lowercase()
}

fn succeeded(output: &Output) -> Result<()> {
    ensure!(
        output.status.success(),
        "it fails: {}",
        escape(said(output).trim())
    );
    Ok(())
}

fn ask_helper(helper: &str, registry: &str) -> Result<Option<Credentials>> {
    let output = run_helper(helper, "get", filed_under(registry))?;
    if !output.status.success() && said(&output).contains("not found") {
        return Ok(None);
    }
    succeeded(&output)?;
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

    #[test]
    fn all_names_of_a_registry_are_forgotten() {
        let mut config = json!({"auths": {
            "https://index.docker.io/v1/": {}, "https://quay.io/v2/": {}, "quay.io:1": {}, "id.io": {},
        }, "other": 1});
        assert!(forget_in(&mut config, "docker.io"));
        assert!(forget_in(&mut config, "quay.io"));
        assert!(!forget_in(&mut config, "quay.io"));
        assert_eq!(
            config.to_string(),
            r#"{"auths":{"quay.io:1":{},"id.io":{}},"other":1}"#
        );
        assert!(!forget_in(&mut json!({}), "quay.io"));
    }

    #[test]
    fn a_registry_is_read_as_docker_reads_it() {
        for (text, registry, key) in [
            ("docker.io", "docker.io", "https://index.docker.io/v1/"),
            (
                "https://index.docker.io/v1/",
                "docker.io",
                "https://index.docker.io/v1/",
            ),
            ("https://quay.io/v2", "quay.io", "quay.io"),
            ("localhost:5000", "localhost:5000", "localhost:5000"),
        ] {
            assert_eq!(registry_of(text), registry);
            assert_eq!(filed_under(registry_of(text)), key);
        }
    }
}
