//! Go templates for `--format`: what a template is made of.
//!
//! The part of [text/template](https://pkg.go.dev/text/template) that is met on Docker's command
//! line, over JSON values instead of Go's: fields, variables, pipelines, `if`, `range`, `with`,
//! `break`, `continue` and the functions of [`super::functions`]. `define`, `template` and `block`
//! are absent: a `--format` has no second template to call.
//!
//! Docker compares field names exactly, and an unknown one is an error, not an empty word; so do we.

use std::fmt;

use serde_json::Value;

use super::eval;
use super::parse::parse;

/// Fills `template` with `data`, as `docker inspect --format` does.
///
/// # Errors
///
/// A template that cannot be parsed, a field that is not there, or a function that is given what it
/// cannot take; the text is Docker's, with line and column.
pub fn render(template: &str, data: &Value) -> anyhow::Result<String> {
    let filled = parse(template).and_then(|nodes| eval::run(template, &nodes, data));
    filled.map_err(|fault| anyhow::anyhow!("template parsing error: {fault}"))
}

/// A piece of a template.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// Text to print as it is.
    Text(String),
    /// `{{pipeline}}`: print its value (nothing, where it declares a variable).
    Print(Pipeline),
    /// `{{if}}`: the branches with their conditions, and what `else` holds.
    If(Vec<(Pipeline, Vec<Node>)>, Vec<Node>),
    /// `{{with}}`: like `if`, with the dot set to the value.
    With(Vec<(Pipeline, Vec<Node>)>, Vec<Node>),
    /// `{{range}}`: the body for each element, and what `else` holds for none.
    Range(Pipeline, Vec<Node>, Vec<Node>),
    /// `{{break}}`.
    Break,
    /// `{{continue}}`.
    Continue,
}

/// Commands joined by `|`, each given the value of the one before as its last argument.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipeline {
    /// The variables that take the value: none, one, or (in `range`) key and value.
    pub variables: Vec<String>,
    /// Whether `:=` makes the variables or `=` sets those that are there.
    pub declares: bool,
    /// At least one command.
    pub commands: Vec<Command>,
}

/// An operand, or a function with its arguments.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// The operands; the first may be a function.
    pub operands: Vec<Operand>,
    /// Where the command stands in the template.
    pub place: Place,
}

/// Something with a value, and the fields that are taken of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Operand {
    /// The value before any field is taken.
    pub base: Base,
    /// The fields, outermost first.
    pub fields: Vec<String>,
    /// Where the operand stands in the template.
    pub place: Place,
}

/// What an operand starts with.
#[derive(Debug, Clone, PartialEq)]
pub enum Base {
    /// `.`, the value at hand.
    Dot,
    /// `$name`; the empty name is the template's data.
    Variable(String),
    /// A function of [`super::functions`].
    Function(String),
    /// A string, number, truth value or `nil`.
    Constant(Value),
    /// `(pipeline)`.
    Group(Pipeline),
}

/// A part of the template's text, for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Offset of the first byte.
    pub start: usize,
    /// Offset behind the last byte.
    pub end: usize,
    /// The byte whose column a message names: that of the last field, as in Go.
    pub at: usize,
}

/// What is wrong with a template, in Go's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault(pub String);

impl Fault {
    /// A fault found while parsing, at the byte `at` of `source`.
    pub fn parse(source: &str, at: usize, text: &str) -> Fault {
        let line = 1 + source[..at.min(source.len())].matches('\n').count();
        Fault(format!("template: :{line}: {text}"))
    }

    /// A fault found while filling in `place` of `source`.
    pub fn execute(source: &str, place: Place, text: &str) -> Fault {
        let before = &source[..place.at];
        let line = 1 + before.matches('\n').count();
        let column = place.at - before.rfind('\n').map_or(0, |feed| feed + 1);
        let part = &source[place.start..place.end];
        Fault(format!(
            "template: :{line}:{column}: executing \"\" at <{part}>: {text}"
        ))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn data() -> Value {
        json!({
            "Name": "/web", "Pid": 7, "Running": true, "Empty": "", "Nothing": null, "Ratio": 1.5,
            "Cmd": ["ash", "-c", "true"],
            "State": {"Status": "running", "ExitCode": 0},
            "Networks": {
                "b-net": {"IPAddress": "172.16.86.3"},
                "a-net": {"IPAddress": "172.16.86.2"},
            },
            "Labels": {"org.x": "1"},
        })
    }

    const FILLED: &[(&str, &str)] = &[
        ("plain", "plain"),
        ("", ""),
        ("{{.Name}}", "/web"),
        ("{{ .State.Status }}!", "running!"),
        ("{{$.State.ExitCode}}", "0"),
        ("{{json .State}}", r#"{"Status":"running","ExitCode":0}"#),
        ("{{json .Nothing}}", "null"),
        ("{{.Nothing}}", "<no value>"),
        ("{{.Cmd}} {{.Labels}}", "[ash -c true] map[org.x:1]"),
        (
            "{{range .Networks}}{{.IPAddress}} {{end}}",
            "172.16.86.2 172.16.86.3 ",
        ),
        (
            "{{range $k, $v := .Networks}}{{$k}}={{$v.IPAddress}};{{end}}",
            "a-net=172.16.86.2;b-net=172.16.86.3;",
        ),
        (
            "{{range $i, $e := .Cmd}}{{if $i}},{{end}}{{$e}}{{end}}",
            "ash,-c,true",
        ),
        ("{{range $e := .Cmd}}{{$e}}{{end}}", "ash-ctrue"),
        ("{{range .Nothing}}x{{else}}none{{end}}", "none"),
        (
            "{{range .Cmd}}{{if eq . \"-c\"}}{{continue}}{{end}}{{.}} {{end}}",
            "ash true ",
        ),
        (
            "{{range .Cmd}}{{if eq . \"-c\"}}{{break}}{{end}}{{.}} {{end}}",
            "ash ",
        ),
        (r#"{{(index .Networks "a-net").IPAddress}}"#, "172.16.86.2"),
        (r#"{{index .Networks "b-net" "IPAddress"}}"#, "172.16.86.3"),
        (
            r#"{{index .Labels "org.x"}} {{index .Labels "none"}}"#,
            "1 <no value>",
        ),
        ("{{index .Cmd 1}}", "-c"),
        ("{{if .Empty}}a{{else if .Running}}b{{else}}c{{end}}", "b"),
        ("{{if not .Running}}a{{else}}c{{end}}", "c"),
        ("{{with .State}}{{.Status}}{{end}}", "running"),
        ("{{with .Empty}}x{{else}}y{{end}}", "y"),
        ("{{with $x := .Pid}}{{$x}}{{.}}{{end}}", "77"),
        ("{{$x := 1}}{{if true}}{{$x = 2}}{{end}}{{$x}}", "2"),
        ("{{$x := 1}}{{if true}}{{$x := 2}}{{end}}{{$x}}", "1"),
        (
            r#"{{and .Running .Pid}} {{or .Empty "d"}} {{and .Empty .Nope}}"#,
            "7 d ",
        ),
        (
            r#"{{eq .Pid 7}} {{eq .Name "a" "/web"}} {{ne .Pid 7}} {{lt 1 2}} {{gt 1.5 2}}"#,
            "true true false true false",
        ),
        ("{{len .Cmd}} {{len .Name}} {{len .Networks}}", "3 4 2"),
        ("{{print .Pid .Pid .Name}}", "7 7/web"),
        ("{{println .Pid .Name}}", "7 /web\n"),
        (
            r#"{{printf "%-5s|%5d|%05d|%q|%v|%.2f|%%" "a" 7 -7 "b" .Cmd .Ratio}}"#,
            "a    |    7|-0007|\"b\"|[ash -c true]|1.50|%",
        ),
        (r#"{{printf "%d %s" "a"}}"#, "%!d(string=a) %!s(MISSING)"),
        (
            r#"{{join .Cmd " "}} {{upper .Name}} {{lower "AB"}} {{title "my net"}}"#,
            "ash -c true /WEB ab My Net",
        ),
        (r#"{{range split "a,b" ","}}<{{.}}>{{end}}"#, "<a><b>"),
        (
            r#"[{{pad "x" 1 2}}] {{truncate "abcdef" 3}} {{slice "abcdef" 1 3}}"#,
            "[ x  ] abc bc",
        ),
        (r#"{{.Name | printf "%s:%s" "n" | upper}}"#, "N:/WEB"),
        ("a {{- .Pid -}} b", "a7b"),
        ("a {{- /* not shown */ -}} b{{/* nor this */}}", "ab"),
        (
            "{{`raw \\n`}} {{\"\\t\\u00e9\"}} {{'a'}} {{0x10}} {{1.5}} {{-3}}",
            "raw \\n \t\u{e9} 97 16 1.5 -3",
        ),
        ("{{\"{{\"}} }}", "{{ }}"),
        ("{{(.State).Status | len}}", "7"),
    ];

    #[test]
    fn templates_are_filled_as_go_fills_them() {
        for (template, filled) in FILLED {
            let got = render(template, &data()).unwrap_or_else(|e| panic!("{template}: {e}"));
            assert_eq!(got, *filled, "{template}");
        }
    }

    const FAULTS: &[(&str, &str)] = &[
        (
            "{{.Foo}}",
            r#":1:2: executing "" at <.Foo>: map has no entry for key "Foo""#,
        ),
        (
            "a\n{{.State.Foo}}",
            r#":2:8: executing "" at <.State.Foo>: map has no entry for key "Foo""#,
        ),
        (
            "{{.Pid.Foo}}",
            r#":1:6: executing "" at <.Pid.Foo>: can't evaluate field Foo in type interface {}"#,
        ),
        (
            "{{.Nothing.Foo}}",
            r#":1:10: executing "" at <.Nothing.Foo>: nil pointer evaluating interface {}.Foo"#,
        ),
        (
            "{{index .Cmd 9}}",
            r#":1:2: executing "" at <index .Cmd 9>: error calling index: index out of range: 9"#,
        ),
        (
            "{{lt .Pid .Name}}",
            r#":1:2: executing "" at <lt .Pid .Name>: error calling lt: incompatible types for comparison"#,
        ),
        (
            "{{len}}",
            r#":1:2: executing "" at <len>: wrong number of args for len: want 1 got 0"#,
        ),
        (
            "{{range .Name}}{{end}}",
            r#":1:8: executing "" at <.Name>: range can't iterate over /web"#,
        ),
        ("{{.Name", ":1: unclosed action"),
        ("{{foo .Name}}", r#":1: function "foo" not defined"#),
        ("{{$x}}", r#":1: undefined variable "$x""#),
        ("{{}}", ":1: missing value for command"),
        ("{{if}}{{end}}", ":1: missing value for if"),
        ("{{if .Pid}}", ":1: unexpected EOF"),
        ("{{end}}", ":1: unexpected {{end}}"),
        ("{{break}}", ":1: {{break}} outside {{range}}"),
        ("{{\"a}}", ":1: unterminated quoted string"),
        ("{{(.Pid}}", ":1: unclosed left paren"),
        ("{{.Pid)}}", ":1: unexpected <)> in command"),
        ("{{/* x}}", ":1: unclosed comment"),
    ];

    #[test]
    fn faults_are_told_as_go_tells_them() {
        for (template, fault) in FAULTS {
            let got = render(template, &data()).expect_err(template).to_string();
            assert_eq!(
                got,
                format!("template parsing error: template: {fault}"),
                "{template}"
            );
        }
    }

    #[test]
    fn deep_nesting_is_refused_and_does_not_overflow_the_stack() {
        for part in ["(", "{{if 1}}"] {
            let deep = format!("{{{{{}", part.repeat(10_000));
            assert!(render(&deep, &data()).is_err());
        }
        let deep = format!("{}{}", "{{if 1}}".repeat(10_000), "{{end}}".repeat(10_000));
        assert!(render(&deep, &data()).is_err());
    }

    proptest! {
        #[test]
        fn no_template_panics(template in "\\PC{0,60}") {
            let _ = render(&template, &data());
        }

        #[test]
        fn no_mix_of_template_words_panics(words in prop::collection::vec(prop::sample::select(vec![
            "{{", "}}", "{{-", " -}}", " ", "if", "range", "else", "end", "with", ".Cmd", ".", "$",
            "$x", ":=", "=", ",", "|", "(", ")", "index", "printf", "\"%5.3d%-9q%\"", "'a'", "`",
            "slice", "-1", "9e9", "0x", "\"", "\\", "break", "/*", "*/", "pad", "truncate", "é", "join",
        ]), 0..24)) {
            let _ = render(&words.concat(), &data());
            let _ = render(&format!("{{{{{}}}}}", words.join(" ")), &data());
        }
    }
}
