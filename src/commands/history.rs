//! `history`: the steps that an image was built in, as its configuration tells them.
//!
//! An image's history has an entry for each step; those that changed no file have no layer. So the layers are handed
//! out in their order to the entries that have one. OCI image-spec, config.md, "history".

use anyhow::Result;
use jiff::Timestamp;
use rootfs_fetch::Image;
use serde_json::{Value, json};

use super::image::store;
use crate::cli::image::HistoryArgs;
use crate::out::stream::out;
use crate::out::{self, Columns, Format};
use crate::store::{Home, short};

const COLUMNS: Columns = Columns {
    shown: &[
        ("ID", "IMAGE"),
        ("CreatedSince", "CREATED"),
        ("CreatedBy", "CREATED BY"),
        ("Size", "SIZE"),
        ("Comment", "COMMENT"),
    ],
    more: &[("CreatedAt", "CREATED AT")],
};

/// What stands where an image's own id would, for the steps before its last.
const MISSING: &str = "<missing>";

/// One step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Step {
    created: Option<Timestamp>,
    by: String,
    comment: String,
    bytes: u64,
}

/// `rmac history`.
pub fn history(home: &Home, args: &HistoryArgs) -> Result<u8> {
    let image = store(home)?.get(&args.image)?;
    let id = image.id.to_string();
    let hex = id.strip_prefix("sha256:").unwrap_or(&id);
    let own = if args.no_trunc { &id } else { short(hex) };
    let now = Timestamp::now();
    let rows: Vec<Value> = steps(&image)
        .iter()
        .rev()
        .enumerate()
        .map(|(at, step)| row(args, if at == 0 { own } else { MISSING }, step, now))
        .collect();
    let format = match Format::parse(args.format.as_deref().unwrap_or_default()) {
        Format::Table if args.quiet => Format::parse("{{.ID}}"),
        format => format,
    };
    out!("{}", format.lines(&COLUMNS, &rows)?);
    Ok(0)
}

/// The steps, the first one first.
fn steps(image: &Image) -> Vec<Step> {
    let told = image.config.history().iter().flatten().map(|entry| {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let step = Step {
            created: entry.created().as_ref().and_then(|time| time.parse().ok()),
            by: text(entry.created_by()),
            comment: text(entry.comment()),
            bytes: 0,
        };
        (step, entry.empty_layer().unwrap_or(false))
    });
    with_layers(told, &image.layer_sizes(), image.created)
}

/// Gives each step that has a layer its size. Layers that no step tells of have a line of their own, since they are
/// there, and so is how much they take.
fn with_layers(
    told: impl Iterator<Item = (Step, bool)>,
    sizes: &[Option<u64>],
    created: Option<Timestamp>,
) -> Vec<Step> {
    let mut sizes = sizes.iter().map(|bytes| bytes.unwrap_or(0));
    let mut steps: Vec<Step> = told
        .map(|(step, is_empty)| match is_empty {
            true => step,
            false => Step {
                bytes: sizes.next().unwrap_or(0),
                ..step
            },
        })
        .collect();
    steps.extend(sizes.map(|bytes| Step {
        created,
        bytes,
        ..Step::default()
    }));
    steps
}

fn row(args: &HistoryArgs, id: &str, step: &Step, now: Timestamp) -> Value {
    let by = step.by.replace('\t', " ");
    let by = match args.no_trunc {
        true => by.as_str().into(),
        false => out::ellipsis(&by, 45),
    };
    let at = step.created.map_or_else(String::new, |time| {
        time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    });
    let since = match (step.created, args.human) {
        (Some(time), true) => format!("{} ago", out::ago(time, now)),
        (None, true) => "N/A".into(),
        (_, false) => at.clone(),
    };
    let size = match args.human {
        true => out::size(step.bytes),
        false => step.bytes.to_string(),
    };
    json!({
        "Comment": out::escape(&step.comment),
        "CreatedAt": at,
        "CreatedBy": out::escape(&by),
        "CreatedSince": since,
        "ID": id,
        "Size": size,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(by: &str, bytes: u64) -> Step {
        Step {
            by: by.into(),
            bytes,
            ..Step::default()
        }
    }

    #[test]
    fn layers_belong_to_the_steps_that_changed_files() {
        let told = [
            (step("ADD", 0), false),
            (step("ENV", 0), true),
            (step("RUN", 0), false),
        ];
        let steps = |sizes: &[Option<u64>]| with_layers(told.clone().into_iter(), sizes, None);
        assert_eq!(
            steps(&[Some(5), Some(3)]),
            [step("ADD", 5), step("ENV", 0), step("RUN", 3)]
        );
        assert_eq!(steps(&[Some(5), None])[2], step("RUN", 0));
        let more = steps(&[Some(5), Some(3), Some(2)]);
        assert_eq!((more.len(), &more[3]), (4, &step("", 2)));
    }

    #[test]
    fn a_line_is_dockers() {
        let args = |human, no_trunc| HistoryArgs {
            human,
            no_trunc,
            quiet: false,
            format: None,
            image: String::new(),
        };
        let now = "2026-01-03T00:00:00Z".parse().unwrap();
        let step = Step {
            created: "2026-01-01T00:00:00Z".parse().ok(),
            by: format!("RUN\t{}", "x".repeat(60)),
            comment: "\u{1b}[2J".into(),
            bytes: 8_312_345,
        };
        let short = row(&args(true, false), MISSING, &step, now);
        assert_eq!(short["CreatedSince"], "2 days ago");
        assert_eq!(short["CreatedBy"], format!("RUN {}…", "x".repeat(40)));
        assert_eq!(short["Size"], "8.31MB");
        assert_eq!(short["Comment"], r"\x1b[2J");
        let long = row(&args(false, true), MISSING, &step, now);
        assert_eq!(long["CreatedSince"], "2026-01-01T00:00:00Z");
        assert_eq!(long["CreatedBy"], format!("RUN {}", "x".repeat(60)));
        assert_eq!(long["Size"], "8312345");
    }
}
