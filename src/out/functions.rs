//! Go templates: the functions, those of text/template and those Docker adds, over JSON values.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde_json::Value;

/// The functions a template may call.
pub const NAMES: &[&str] = &[
    "and", "or", "not", "eq", "ne", "lt", "le", "gt", "ge", "index", "slice", "len", "print",
    "printf", "println", "json", "join", "lower", "upper", "title", "split", "pad", "truncate",
];

/// The widest padding and the longest number of digits, as in Go's fmt.
const WIDEST: i64 = 1_000_000;

/// Calls the function `name`; the error is the text behind "at <..>: ".
pub fn call(name: &str, arguments: &[Value]) -> Result<Value, String> {
    let wants = |least: usize, most: usize| match arguments.len() {
        given if given < least && most == usize::MAX => Err(format!(
            "wrong number of args for {name}: want at least {least} got {given}"
        )),
        given if given < least || given > most => Err(format!(
            "wrong number of args for {name}: want {most} got {given}"
        )),
        _ => Ok(()),
    };
    match name {
        "json" | "not" | "len" | "lower" | "upper" | "title" => wants(1, 1)?,
        "ne" | "lt" | "le" | "gt" | "ge" | "join" | "split" | "truncate" => wants(2, 2)?,
        "pad" => wants(3, 3)?,
        "slice" => wants(1, 3)?,
        "eq" => wants(2, usize::MAX)?,
        "index" | "printf" => wants(1, usize::MAX)?,
        _ => {}
    }
    answer(name, arguments).map_err(|text| format!("error calling {name}: {text}"))
}

/// Whether `if` takes `value` for true: all but false, 0, null and what is empty.
pub fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(elements) => !elements.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// `value` as Go's `%v` prints it: `[a b]`, `map[a:1 b:2]` with sorted keys, `<nil>`.
pub fn shown(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(elements) => {
            let elements: Vec<String> = elements.iter().map(shown).collect();
            format!("[{}]", elements.join(" "))
        }
        Value::Object(map) => {
            let sorted: BTreeMap<_, _> = map.iter().collect();
            let entries: Vec<String> = sorted
                .iter()
                .map(|(key, value)| format!("{key}:{}", shown(value)))
                .collect();
            format!("map[{}]", entries.join(" "))
        }
    }
}

fn answer(name: &str, arguments: &[Value]) -> Result<Value, String> {
    let order = || compare(&arguments[0], &arguments[1]);
    Ok(match name {
        "not" => Value::from(!truth(&arguments[0])),
        "eq" => equals_any(&arguments[0], &arguments[1..])?,
        "ne" => Value::from(!truth(&equals_any(&arguments[0], &arguments[1..])?)),
        "lt" => Value::from(order()?.is_lt()),
        "le" => Value::from(order()?.is_le()),
        "gt" => Value::from(order()?.is_gt()),
        "ge" => Value::from(order()?.is_ge()),
        "index" => index(&arguments[0], &arguments[1..])?,
        "slice" => slice(&arguments[0], &arguments[1..])?,
        "len" => match &arguments[0] {
            Value::String(text) => Value::from(text.len()),
            Value::Array(elements) => Value::from(elements.len()),
            Value::Object(map) => Value::from(map.len()),
            other => return Err(format!("len of {}", kind(other))),
        },
        "print" => Value::from(print(arguments)),
        "println" => {
            let words: Vec<String> = arguments.iter().map(shown).collect();
            Value::from(words.join(" ") + "\n")
        }
        "printf" => Value::from(printf(text(&arguments[0])?, &arguments[1..])),
        "json" => Value::from(arguments[0].to_string()),
        "lower" => Value::from(text(&arguments[0])?.to_lowercase()),
        "upper" => Value::from(text(&arguments[0])?.to_uppercase()),
        "title" => Value::from(title(text(&arguments[0])?)),
        "join" => join(&arguments[0], text(&arguments[1])?)?,
        "split" => split(text(&arguments[0])?, text(&arguments[1])?),
        "pad" => pad(
            text(&arguments[0])?,
            whole(&arguments[1])?,
            whole(&arguments[2])?,
        )?,
        "truncate" => {
            let (text, length) = (text(&arguments[0])?, whole(&arguments[1])?);
            let length = usize::try_from(length).map_err(|_| "negative length".to_owned())?;
            Value::from(text.chars().take(length).collect::<String>())
        }
        _ => return Err("no such function".to_owned()),
    })
}

fn equals_any(value: &Value, others: &[Value]) -> Result<Value, String> {
    for other in others {
        let same = match (value, other) {
            (Value::Number(_), Value::Number(_)) => compare(value, other)?.is_eq(),
            (Value::Null, _) | (_, Value::Null) => value == other,
            _ if kind(value) == kind(other) => value == other,
            _ => return Err("incompatible types for comparison".to_owned()),
        };
        if same {
            return Ok(Value::from(true));
        }
    }
    Ok(Value::from(false))
}

fn compare(a: &Value, b: &Value) -> Result<Ordering, String> {
    match (a, b) {
        (Value::String(a), Value::String(b)) => Ok(a.cmp(b)),
        (Value::Number(x), Value::Number(y)) => match (x.as_i128(), y.as_i128()) {
            (Some(x), Some(y)) => Ok(x.cmp(&y)),
            _ => {
                let (x, y) = (x.as_f64(), y.as_f64());
                x.partial_cmp(&y)
                    .ok_or_else(|| "invalid type for comparison".to_owned())
            }
        },
        _ if kind(a) == kind(b) => Err("invalid type for comparison".to_owned()),
        _ => Err("incompatible types for comparison".to_owned()),
    }
}

fn index(value: &Value, keys: &[Value]) -> Result<Value, String> {
    let mut value = value;
    for key in keys {
        value = match (value, key) {
            (Value::Object(map), Value::String(key)) => map.get(key).unwrap_or(&Value::Null),
            (Value::Object(_), other) => {
                return Err(format!("value has type {}; should be string", kind(other)));
            }
            (Value::Array(elements), Value::Number(_)) => {
                let at = whole(key)?;
                let element = usize::try_from(at).ok().and_then(|at| elements.get(at));
                element.ok_or_else(|| format!("index out of range: {at}"))?
            }
            (Value::Array(_), other) => {
                return Err(format!(
                    "cannot index slice/array with type {}",
                    kind(other)
                ));
            }
            (Value::Null, _) => return Err("index of nil pointer".to_owned()),
            (other, _) => return Err(format!("can't index item of type {}", kind(other))),
        };
    }
    Ok(value.clone())
}

fn slice(value: &Value, bounds: &[Value]) -> Result<Value, String> {
    let length = match value {
        Value::String(text) => text.len(),
        Value::Array(elements) => elements.len(),
        other => return Err(format!("can't slice item of type {}", kind(other))),
    };
    let bound = |at: usize, default: usize| match bounds.get(at) {
        None => Ok(default),
        Some(bound) => {
            let number = whole(bound)?;
            let fits = usize::try_from(number)
                .ok()
                .filter(|&number| number <= length);
            fits.ok_or_else(|| format!("index out of range: {number}"))
        }
    };
    let (start, end) = (bound(0, 0)?, bound(1, length)?);
    if start > end {
        return Err(format!("invalid slice index: {start} > {end}"));
    }
    Ok(match value {
        Value::Array(elements) => Value::from(&elements[start..end]),
        // Go slices bytes; what is cut within a character is shown as such.
        _ => {
            let bytes = &text(value)?.as_bytes()[start..end];
            Value::from(String::from_utf8_lossy(bytes))
        }
    })
}

/// Go's Sprint: a space between two operands where neither is a string.
fn print(arguments: &[Value]) -> String {
    let mut text = String::new();
    for (at, value) in arguments.iter().enumerate() {
        if at > 0 && !value.is_string() && !arguments[at - 1].is_string() {
            text.push(' ');
        }
        text.push_str(&shown(value));
    }
    text
}

/// Go's Sprintf with the verbs that make sense for JSON: `v s d q x X t f g T %`.
fn printf(format: &str, arguments: &[Value]) -> String {
    let mut text = String::new();
    let mut arguments = arguments.iter();
    let mut rest = format;
    while let Some(percent) = rest.find('%') {
        text.push_str(&rest[..percent]);
        rest = &rest[percent + 1..];
        let flags = rest.len() - rest.trim_start_matches(['-', '+', '#', ' ', '0']).len();
        let (flags, tail) = rest.split_at(flags);
        let (width, tail) = digits(tail);
        let (precision, tail) = match tail.strip_prefix('.') {
            Some(tail) => digits(tail),
            None => (None, tail),
        };
        let mut letters = tail.chars();
        let Some(verb) = letters.next() else {
            text.push_str("%!(NOVERB)");
            return text;
        };
        rest = letters.as_str();
        if verb == '%' {
            text.push('%');
            continue;
        }
        let Some(value) = arguments.next() else {
            text.push_str(&format!("%!{verb}(MISSING)"));
            continue;
        };
        let word = verb_text(verb, value, flags, precision);
        text.push_str(&fill(&word, flags, width.unwrap_or(0), value.is_number()));
    }
    text.push_str(rest);
    let extra: Vec<String> = arguments
        .map(|value| format!("{}={}", kind(value), shown(value)))
        .collect();
    if !extra.is_empty() {
        text.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    text
}

/// One value by one verb of printf.
fn verb_text(verb: char, value: &Value, flags: &str, precision: Option<usize>) -> String {
    match (verb, value) {
        ('v', Value::String(text)) if flags.contains('#') => format!("{text:?}"),
        ('s' | 'v', Value::String(text)) => match precision {
            Some(most) if verb == 's' => text.chars().take(most).collect(),
            _ => text.clone(),
        },
        ('v', value) => shown(value),
        ('s', Value::Array(_) | Value::Object(_)) => shown(value),
        ('q', Value::String(text)) => format!("{text:?}"),
        ('d', Value::Number(number)) if !number.is_f64() => match flags.contains('+') {
            true if number.as_i64() >= Some(0) => format!("+{number}"),
            _ => number.to_string(),
        },
        ('x', Value::Number(number)) if number.is_u64() => {
            format!("{:x}", number.as_u64().unwrap_or(0))
        }
        ('X', Value::Number(number)) if number.is_u64() => {
            format!("{:X}", number.as_u64().unwrap_or(0))
        }
        ('x', Value::String(text)) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
        ('f', Value::Number(number)) if number.is_f64() => {
            let places = precision.unwrap_or(6);
            format!("{:.places$}", number.as_f64().unwrap_or(0.0))
        }
        ('g', Value::Number(number)) if number.is_f64() => number.to_string(),
        ('t', Value::Bool(truth)) => truth.to_string(),
        ('T', value) => kind(value).to_owned(),
        (verb, value) => format!("%!{verb}({}={})", kind(value), shown(value)),
    }
}

/// Leading decimal digits, capped at [`WIDEST`].
fn digits(text: &str) -> (Option<usize>, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let number = number.parse().ok().filter(|&n: &i64| n <= WIDEST);
    (number.and_then(|n| usize::try_from(n).ok()), rest)
}

/// Fills `word` up to `width` characters, on the left unless the flags say otherwise.
fn fill(word: &str, flags: &str, width: usize, is_number: bool) -> String {
    if flags.contains('-') {
        return format!(
            "{word}{}",
            " ".repeat(width.saturating_sub(word.chars().count()))
        );
    }
    let missing = width.saturating_sub(word.chars().count());
    match word.strip_prefix('-').filter(|_| is_number) {
        Some(digits) if flags.contains('0') => format!("-{}{digits}", "0".repeat(missing)),
        _ if flags.contains('0') && is_number => "0".repeat(missing) + word,
        _ => " ".repeat(missing) + word,
    }
}

fn title(text: &str) -> String {
    let mut before = ' ';
    let mut titled = String::new();
    for letter in text.chars() {
        match before.is_alphanumeric() || "_'".contains(before) {
            true => titled.push(letter),
            false => titled.extend(letter.to_uppercase()),
        }
        before = letter;
    }
    titled
}

fn join(value: &Value, separator: &str) -> Result<Value, String> {
    let elements = match value {
        Value::Array(elements) => elements.as_slice(),
        Value::Null => &[],
        other => {
            return Err(format!(
                "wrong type for value; expected []string; got {}",
                kind(other)
            ));
        }
    };
    let words: Vec<String> = elements.iter().map(shown).collect();
    Ok(Value::from(words.join(separator)))
}

fn split(text: &str, separator: &str) -> Value {
    if separator.is_empty() {
        return text
            .chars()
            .map(|letter| Value::from(letter.to_string()))
            .collect();
    }
    text.split(separator).map(Value::from).collect()
}

fn pad(text: &str, before: i64, after: i64) -> Result<Value, String> {
    if text.is_empty() {
        return Ok(Value::from(""));
    }
    let spaces = |count: i64| match count {
        0..=WIDEST => Ok(" ".repeat(usize::try_from(count).unwrap_or(0))),
        _ => Err(format!("bad width: {count}")),
    };
    Ok(Value::from(format!(
        "{}{text}{}",
        spaces(before)?,
        spaces(after)?
    )))
}

fn text(value: &Value) -> Result<&str, String> {
    let wrong = || format!("wrong type for value; expected string; got {}", kind(value));
    value.as_str().ok_or_else(wrong)
}

fn whole(value: &Value) -> Result<i64, String> {
    let wrong = || format!("wrong type for value; expected int; got {}", kind(value));
    value.as_i64().ok_or_else(wrong)
}

/// The name Go gives to the type of a decoded JSON value.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
