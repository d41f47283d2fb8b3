//! Go templates: the parser, by recursive descent from tokens to nodes.

use serde_json::Value;

use super::functions;
use super::lex::{Kind, Token, lex};
use super::template::{Base, Command, Fault, Node, Operand, Pipeline, Place};

/// Parses `source`.
pub fn parse(source: &str) -> Result<Vec<Node>, Fault> {
    let tokens = lex(source)?;
    let names = vec![String::new()];
    let mut parser = Parser {
        source,
        tokens,
        next: 0,
        names,
        depth: 0,
        loops: 0,
    };
    let (nodes, end) = parser.nodes()?;
    match end {
        End::Source => Ok(nodes),
        End::Close => Err(parser.fault("unexpected {{end}}")),
        End::Else => Err(parser.fault("unexpected {{else}}")),
    }
}

/// How deep groups and blocks may be nested: the parser and the evaluation are recursive.
const DEEPEST: usize = 100;

struct Parser<'a> {
    source: &'a str,
    tokens: Vec<Token>,
    next: usize,
    names: Vec<String>,
    depth: usize,
    loops: usize,
}

/// What ends a list of nodes.
#[derive(PartialEq)]
enum End {
    Source,
    Close,
    /// `{{else`, with what follows it yet to be read.
    Else,
}

impl Parser<'_> {
    fn nodes(&mut self) -> Result<(Vec<Node>, End), Fault> {
        let mut nodes = Vec::new();
        loop {
            match self.take() {
                None => return Ok((nodes, End::Source)),
                Some(Kind::Text(text)) => nodes.push(Node::Text(text)),
                Some(_) => match self.peek_word() {
                    Some("end") => {
                        self.next += 1;
                        self.close("end")?;
                        return Ok((nodes, End::Close));
                    }
                    Some("else") => {
                        self.next += 1;
                        return Ok((nodes, End::Else));
                    }
                    _ => nodes.push(self.action()?),
                },
            }
        }
    }

    /// What stands in `{{ }}`, the opening braces being read.
    fn action(&mut self) -> Result<Node, Fault> {
        let word = self.peek_word().unwrap_or_default().to_owned();
        match word.as_str() {
            "if" | "with" | "range" => {
                self.next += 1;
                self.deeper()?;
                let names = self.names.len();
                let node = match word.as_str() {
                    "range" => self.range(),
                    _ => self.branches(&word),
                };
                self.names.truncate(names);
                self.depth -= 1;
                node
            }
            "break" | "continue" => {
                self.next += 1;
                if self.loops == 0 {
                    return Err(self.fault(&format!("{{{{{word}}}}} outside {{{{range}}}}")));
                }
                self.close(&word)?;
                Ok(if word == "break" {
                    Node::Break
                } else {
                    Node::Continue
                })
            }
            "define" | "template" | "block" => {
                Err(self.fault(&format!("unexpected {{{{{word}}}}}")))
            }
            _ => {
                let pipeline = self.pipeline("command")?;
                self.close("command")?;
                Ok(Node::Print(pipeline))
            }
        }
    }

    fn branches(&mut self, word: &str) -> Result<Node, Fault> {
        let mut branches = Vec::new();
        let mut otherwise = Vec::new();
        loop {
            let pipeline = self.pipeline(word)?;
            self.close(word)?;
            let (body, end) = self.block()?;
            branches.push((pipeline, body));
            if end == End::Close {
                break;
            }
            if self.peek_word() == Some(word) {
                self.next += 1;
                continue;
            }
            otherwise = self.otherwise()?;
            break;
        }
        Ok(match word {
            "if" => Node::If(branches, otherwise),
            _ => Node::With(branches, otherwise),
        })
    }

    fn range(&mut self) -> Result<Node, Fault> {
        let pipeline = self.pipeline("range")?;
        self.close("range")?;
        self.loops += 1;
        let (body, end) = self.block()?;
        self.loops -= 1;
        let otherwise = match end {
            End::Else => self.otherwise()?,
            _ => Vec::new(),
        };
        Ok(Node::Range(pipeline, body, otherwise))
    }

    /// The body of a block, up to its `else` or `end`.
    fn block(&mut self) -> Result<(Vec<Node>, End), Fault> {
        let names = self.names.len();
        let (body, end) = self.nodes()?;
        self.names.truncate(names);
        match end {
            End::Source => Err(self.fault("unexpected EOF")),
            end => Ok((body, end)),
        }
    }

    /// The last `else` of a block.
    fn otherwise(&mut self) -> Result<Vec<Node>, Fault> {
        self.close("else")?;
        match self.block()? {
            (body, End::Close) => Ok(body),
            _ => Err(self.fault("expected end; found {{else}}")),
        }
    }

    fn pipeline(&mut self, context: &str) -> Result<Pipeline, Fault> {
        let (variables, declares) = self.declaration(context)?;
        let mut commands = Vec::new();
        while !matches!(self.peek(), Some(Kind::Close | Kind::Mark(")"))) {
            if !commands.is_empty() && !self.take_mark("|") {
                return Err(self.unexpected(context));
            }
            let command = self.command(context)?;
            if let (false, [first, ..]) = (commands.is_empty(), command.operands.as_slice())
                && matches!(first.base, Base::Dot | Base::Constant(_))
                && first.fields.is_empty()
            {
                let text = "non executable command in pipeline stage 2";
                return Err(self.fault(text));
            }
            commands.push(command);
        }
        if commands.is_empty() {
            return Err(self.fault(&format!("missing value for {context}")));
        }
        self.names
            .extend(variables.iter().filter(|_| declares).cloned());
        Ok(Pipeline {
            variables,
            declares,
            commands,
        })
    }

    /// `$x :=`, `$x =` or, in `range`, `$key, $value :=`.
    fn declaration(&mut self, context: &str) -> Result<(Vec<String>, bool), Fault> {
        let kind = |offset: usize| self.tokens.get(self.next + offset).map(|token| &token.kind);
        let (names, mark) = match (kind(0), kind(1), kind(2), kind(3)) {
            (Some(Kind::Variable(a)), Some(Kind::Mark(mark @ (":=" | "="))), _, _) => {
                (vec![a.clone()], *mark)
            }
            (
                Some(Kind::Variable(a)),
                Some(Kind::Mark(",")),
                Some(Kind::Variable(b)),
                Some(Kind::Mark(mark @ (":=" | "="))),
            ) if context == "range" => (vec![a.clone(), b.clone()], *mark),
            _ => return Ok((Vec::new(), false)),
        };
        let declares = mark == ":=";
        self.next += names.len() * 2;
        if !declares && let Some(name) = names.iter().find(|name| !self.names.contains(name)) {
            return Err(self.fault(&format!("undefined variable \"${name}\"")));
        }
        Ok((names, declares))
    }

    fn command(&mut self, context: &str) -> Result<Command, Fault> {
        let start = self
            .tokens
            .get(self.next)
            .map_or(self.source.len(), |token| token.start);
        let mut operands = Vec::new();
        while !matches!(
            self.peek(),
            None | Some(Kind::Close | Kind::Mark(")" | "|"))
        ) {
            let spaced = self.tokens[self.next].spaced;
            if !operands.is_empty() && !spaced {
                return Err(self.unexpected("operand"));
            }
            operands.push(self.operand(context)?);
        }
        if operands.is_empty() {
            return Err(self.fault(&format!("missing value for {context}")));
        }
        let end = self.tokens[self.next - 1].end;
        Ok(Command {
            operands,
            place: Place {
                start,
                end,
                at: start,
            },
        })
    }

    fn operand(&mut self, context: &str) -> Result<Operand, Fault> {
        let token = self.tokens[self.next].clone();
        self.next += 1;
        let mut fields = Vec::new();
        let base = match token.kind {
            Kind::Field(name) => {
                fields.push(name);
                Base::Dot
            }
            Kind::Dot => Base::Dot,
            Kind::Variable(name) if self.names.contains(&name) => Base::Variable(name),
            Kind::Variable(name) => {
                return Err(self.fault(&format!("undefined variable \"${name}\"")));
            }
            Kind::Word(word) => match word.as_str() {
                "true" | "false" => Base::Constant(Value::Bool(word == "true")),
                "nil" => Base::Constant(Value::Null),
                name if functions::NAMES.contains(&name) => Base::Function(word),
                _ => return Err(self.fault(&format!("function {word:?} not defined"))),
            },
            Kind::Quoted(text) => Base::Constant(Value::String(text)),
            Kind::Integer(number) => Base::Constant(Value::from(number)),
            Kind::Float(number) => Base::Constant(Value::from(number)),
            Kind::Mark("(") => {
                self.deeper()?;
                let group = self.pipeline("parenthesized pipeline")?;
                self.depth -= 1;
                if !self.take_mark(")") {
                    return Err(self.fault("unclosed left paren"));
                }
                Base::Group(group)
            }
            _ => {
                self.next -= 1;
                return Err(self.unexpected(context));
            }
        };
        let mut at = token.start;
        while let Some(Token {
            kind: Kind::Field(name),
            spaced: false,
            start,
            ..
        }) = self.tokens.get(self.next)
        {
            fields.push(name.clone());
            at = *start;
            self.next += 1;
        }
        let end = self.tokens[self.next - 1].end;
        let place = Place {
            start: token.start,
            end,
            at,
        };
        Ok(Operand {
            base,
            fields,
            place,
        })
    }

    fn close(&mut self, context: &str) -> Result<(), Fault> {
        match self.peek() {
            Some(Kind::Close) => {
                self.next += 1;
                Ok(())
            }
            _ => Err(self.unexpected(context)),
        }
    }

    fn deeper(&mut self) -> Result<(), Fault> {
        self.depth += 1;
        match self.depth > DEEPEST {
            true => Err(self.fault("too many nested blocks")),
            false => Ok(()),
        }
    }

    fn take(&mut self) -> Option<Kind> {
        let token = self.tokens.get(self.next)?;
        self.next += 1;
        Some(token.kind.clone())
    }

    fn take_mark(&mut self, mark: &str) -> bool {
        let found = matches!(self.peek(), Some(Kind::Mark(next)) if *next == mark);
        self.next += usize::from(found);
        found
    }

    fn peek(&self) -> Option<&Kind> {
        self.tokens.get(self.next).map(|token| &token.kind)
    }

    fn peek_word(&self) -> Option<&str> {
        match self.peek() {
            Some(Kind::Word(word)) => Some(word),
            _ => None,
        }
    }

    fn unexpected(&self, context: &str) -> Fault {
        match self.tokens.get(self.next) {
            Some(Token {
                kind: Kind::Close, ..
            }) => self.fault(&format!("missing value for {context}")),
            Some(token) => {
                let text = &self.source[token.start..token.end];
                self.fault(&format!("unexpected <{text}> in {context}"))
            }
            None => self.fault("unexpected EOF"),
        }
    }

    /// A fault at the token that was read last.
    fn fault(&self, text: &str) -> Fault {
        let last = self.tokens.get(self.next.saturating_sub(1));
        Fault::parse(self.source, last.map_or(0, |token| token.start), text)
    }
}
