//! `--format` of the commands that list: `table`, `table TEMPLATE`, `json` or a Go template.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::{Table, render};

/// What a list is printed as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// The command's own columns.
    Table,
    /// A header and the fields that a template names, in columns at its tabs.
    TableTemplate(String),
    /// One JSON object a line.
    Json,
    /// A template for each line.
    Template(String),
}

/// The columns of a list: the field's name in templates and JSON, and the header of the table.
#[derive(Debug, Clone, Copy)]
pub struct Columns {
    /// What the table shows when no format is given, in this order.
    pub shown: &'static [(&'static str, &'static str)],
    /// Fields that are there for templates only.
    pub more: &'static [(&'static str, &'static str)],
}

/// A line of a list: what it has in each of the [`Columns`].
pub trait Row {
    /// Appends what stands in the column `field`, for a table.
    fn cell(&self, field: &str, text: &mut String);

    /// All fields as an object, for templates and JSON, in the order in which Docker has them there: the alphabet's.
    fn object(&self, columns: &Columns) -> Cow<'_, Value> {
        let mut fields: Vec<&str> = columns.all().map(|(field, _)| *field).collect();
        fields.sort_unstable();
        let value = |field: &str| {
            let mut text = String::new();
            self.cell(field, &mut text);
            (field.to_owned(), Value::from(text))
        };
        Cow::Owned(fields.into_iter().map(value).collect())
    }
}

/// An object with a key for each field.
impl Row for Value {
    fn cell(&self, field: &str, text: &mut String) {
        match self.get(field) {
            Some(Value::String(value)) => text.push_str(value),
            Some(value) => text.push_str(&value.to_string()),
            None => (),
        }
    }

    fn object(&self, _: &Columns) -> Cow<'_, Value> {
        Cow::Borrowed(self)
    }
}

impl Format {
    /// Reads a `--format`; none (the empty text) is the table. `\t` and `\n` are a tab and a line
    /// feed, as on Docker's command line, where a shell has left them as they are.
    pub fn parse(text: &str) -> Format {
        match text.trim() {
            "" | "table" => Format::Table,
            "json" => Format::Json,
            _ => {
                let text = text.replace(r"\t", "\t").replace(r"\n", "\n");
                match text.strip_prefix("table ").or(text.strip_prefix("table\t")) {
                    Some(template) => Format::TableTemplate(template.trim().to_owned()),
                    None => Format::Template(text),
                }
            }
        }
    }

    /// The whole output for `rows`. The fields are looked up one by one for the table, which most want and which is to
    /// be quick.
    ///
    /// # Errors
    ///
    /// Those of [`render`].
    pub fn lines(&self, columns: &Columns, rows: &[impl Row]) -> anyhow::Result<String> {
        let objects = || rows.iter().map(|row| row.object(columns));
        match self {
            Format::Json => Ok(objects().map(|row| format!("{row}\n")).collect()),
            Format::Template(template) => {
                let line = |row: Cow<Value>| Ok(render(template, &row)? + "\n");
                objects().map(line).collect()
            }
            Format::Table => {
                let mut table = Table::with_header(columns.shown.iter().map(|(_, title)| title));
                for row in rows {
                    for (field, _) in columns.shown {
                        table.cell(|text| row.cell(field, text));
                    }
                    table.end_row();
                }
                Ok(table.finish())
            }
            Format::TableTemplate(template) => {
                let header = render(template, &columns.titles())?;
                let mut table = Table::with_header(header.split('\t'));
                for row in objects() {
                    table.row(render(template, &row)?.split('\t'));
                }
                Ok(table.finish())
            }
        }
    }
}

impl Columns {
    /// Both.
    fn all(&self) -> impl Iterator<Item = &'static (&'static str, &'static str)> {
        self.shown.iter().chain(self.more)
    }

    /// The headers as an object, so that the template of the rows gives the header line too.
    fn titles(&self) -> Value {
        let titles: Map<String, Value> = self
            .all()
            .map(|&(field, title)| (field.to_owned(), Value::from(title)))
            .collect();
        Value::Object(titles)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const COLUMNS: Columns = Columns {
        shown: &[("ID", "CONTAINER ID"), ("Names", "NAMES")],
        more: &[("Labels", "LABELS")],
    };

    fn lines(format: &str) -> String {
        let rows = [json!({"ID": "bec64291cd4c", "Names": "one", "Labels": "a=b"})];
        Format::parse(format).lines(&COLUMNS, &rows).unwrap()
    }

    #[test]
    fn the_four_formats() {
        assert_eq!(lines(""), "CONTAINER ID   NAMES\nbec64291cd4c   one\n");
        assert_eq!(lines("table"), lines(""));
        assert_eq!(
            lines(r"table {{.Names}}\t{{.Labels}}"),
            "NAMES     LABELS\none       a=b\n"
        );
        assert_eq!(
            lines("json"),
            "{\"ID\":\"bec64291cd4c\",\"Names\":\"one\",\"Labels\":\"a=b\"}\n"
        );
        assert_eq!(lines(r"{{.ID}}\t{{.Names}}"), "bec64291cd4c\tone\n");
    }

    #[test]
    fn an_unknown_field_is_an_error() {
        let error = Format::parse("{{.Foo}}")
            .lines(&COLUMNS, &[json!({})])
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "template parsing error: template: :1:2: executing \"\" at <.Foo>: map has no entry for key \"Foo\""
        );
    }
}
