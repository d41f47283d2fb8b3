//! `-f KEY=VALUE`, as every list has it.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

/// What a list is to show.
#[derive(Debug, Default)]
pub struct Filters(Vec<(String, String)>);

impl Filters {
    /// Reads the filters; each is one of the keys `known`.
    ///
    /// # Errors
    /// What is no pair, and a key that there is not.
    pub fn parse(texts: &[String], known: &[&str]) -> Result<Filters> {
        let pair = |text: &String| {
            let Some((key, value)) = text.split_once('=') else {
                bail!(
                    "invalid argument {text:?} for \"-f, --filter\" flag: it should be KEY=VALUE"
                );
            };
            let key = key.trim().to_lowercase();
            if !known.contains(&key.as_str()) {
                bail!("invalid filter '{key}'; known are: {}", known.join(", "));
            }
            Ok((key, value.trim().to_owned()))
        };
        texts.iter().map(pair).collect::<Result<_>>().map(Filters)
    }

    /// The values that were given for `key`.
    pub fn values<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        let pairs = self.0.iter().filter(move |(given, _)| given == key);
        pairs.map(|(_, value)| value.as_str())
    }

    /// Checks the values that were given for `key`.
    ///
    /// # Errors
    /// One is neither true nor false.
    pub fn require_truth(&self, key: &str) -> Result<()> {
        let mut values = self.0.iter().filter(|(given, _)| given == key);
        values.try_for_each(|(_, value)| truth(key, value).map(drop))
    }

    /// Whether something is to be shown: several values of one key are alternatives (labels excepted), several keys
    /// must all match. `matches` is asked for one key and one value.
    pub fn show(&self, matches: impl Fn(&str, &str) -> bool) -> bool {
        self.0.iter().all(|(key, value)| {
            let mut others = self.values(key).filter(|_| key != "label");
            matches(key, value) || others.any(|other| matches(key, other))
        })
    }
}

/// `key=BOOL`.
///
/// # Errors
/// It is neither true nor false.
pub fn truth(key: &str, value: &str) -> Result<bool> {
    match value {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => bail!("invalid filter '{key}={value}': it is true or false"),
    }
}

/// `label=NAME` or `label=NAME=VALUE`.
pub fn label<'a>(mut labels: impl Iterator<Item = (&'a str, &'a str)>, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some(wanted) => labels.any(|label| label == wanted),
        None => labels.any(|(name, _)| name == wanted),
    }
}

/// The labels of `map`, as [`label`] wants them.
pub fn labels(map: &BTreeMap<String, String>) -> impl Iterator<Item = (&str, &str)> {
    map.iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
}

/// `name=PART`, where `^` stands for the name's begin and `$` for its end. A container's may have Docker's slash.
pub fn name(name: &str, part: &str) -> bool {
    let (begin, part) = match part.strip_prefix('^') {
        Some(rest) => (true, rest),
        None => (false, part),
    };
    let part = part.strip_prefix('/').unwrap_or(part);
    let (end, part) = match part.strip_suffix('$') {
        Some(rest) => (true, rest),
        None => (false, part),
    };
    match (begin, end) {
        (true, true) => name == part,
        (true, false) => name.starts_with(part),
        (false, true) => name.ends_with(part),
        (false, false) => name.contains(part),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_name_can_be_tied_to_its_ends() {
        for (part, found) in [
            ("eb", true),
            ("^we", true),
            ("^eb", false),
            ("b$", true),
            ("e$", false),
            ("^/web$", true),
            ("^web$", true),
            ("^we$", false),
        ] {
            assert_eq!(name("web", part), found, "{part}");
        }
    }

    #[test]
    fn values_of_one_key_are_alternatives() {
        let shown = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(ToString::to_string).collect();
            let filters = Filters::parse(&texts, &["name", "driver", "label"]).unwrap();
            filters.show(|key, value| match key {
                "name" => value == "a",
                "driver" => value == "null",
                _ => value == "one",
            })
        };
        assert!(shown(&["name=a", "name=b"]));
        assert!(!shown(&["name=a", "driver=x"]));
        assert!(!shown(&["label=one", "label=two"]));
        assert!(Filters::parse(&["color=red".into()], &["name"]).is_err());
        assert!(Filters::parse(&["name".into()], &["name"]).is_err());
    }
}
