//! `--format` of the commands that list: `table`, `table TEMPLATE`, `json` or a Go template.

use serde_json::{Map, Value};

use super::{render, table};

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

    /// The whole output for `rows`, which are objects with a key for each field.
    ///
    /// # Errors
    ///
    /// Those of [`render`].
    pub fn lines(&self, columns: &Columns, rows: &[Value]) -> anyhow::Result<String> {
        match self {
            Format::Json => Ok(rows.iter().map(|row| format!("{row}\n")).collect()),
            Format::Template(template) => {
                let line = |row| Ok(render(template, row)? + "\n");
                rows.iter().map(line).collect()
            }
            Format::Table => {
                let cell = |row: &Value, field: &str| match row.get(field) {
                    Some(Value::String(text)) => text.clone(),
                    Some(value) => value.to_string(),
                    None => String::new(),
                };
                let cells = |row| -> Vec<String> {
                    columns
                        .shown
                        .iter()
                        .map(|(field, _)| cell(row, field))
                        .collect()
                };
                let header: Vec<&str> = columns.shown.iter().map(|&(_, title)| title).collect();
                Ok(table(&header, &rows.iter().map(cells).collect::<Vec<_>>()))
            }
            Format::TableTemplate(template) => {
                let cells = |text: String| text.split('\t').map(str::to_owned).collect();
                let header: Vec<String> = cells(render(template, &columns.titles())?);
                let rows: anyhow::Result<Vec<Vec<String>>> = rows
                    .iter()
                    .map(|row| Ok(cells(render(template, row)?)))
                    .collect();
                Ok(table(&header, &rows?))
            }
        }
    }
}

impl Columns {
    /// The headers as an object, so that the template of the rows gives the header line too.
    fn titles(&self) -> Value {
        let all = self.shown.iter().chain(self.more);
        let titles: Map<String, Value> = all
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
