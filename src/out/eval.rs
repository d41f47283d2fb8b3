//! Go templates: filling one in.
//!
//! Values are JSON. What Go's reflection knows more (types, methods) is not needed: a field is a key
//! of an object, and one that is not there is an error in the words Docker prints.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::Value;

use super::functions::{call, shown, truth};
use super::template::{Base, Command, Fault, Node, Operand, Pipeline};

/// Fills the parsed template `nodes` of `source` with `data`.
pub fn run(source: &str, nodes: &[Node], data: &Value) -> Result<String, Fault> {
    let variables = vec![(String::new(), data.clone())];
    let mut state = State {
        source,
        variables,
        text: String::new(),
    };
    state.nodes(nodes, data)?;
    Ok(state.text)
}

/// The longest text that a template may make: nested ranges over large data multiply.
const LONGEST: usize = 64 << 20;

struct State<'a> {
    source: &'a str,
    variables: Vec<(String, Value)>,
    text: String,
}

/// How a list of nodes was left.
#[derive(PartialEq)]
enum Flow {
    On,
    Break,
    Continue,
}

impl State<'_> {
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, Fault> {
        let scope = self.variables.len();
        for node in nodes {
            let flow = self.node(node, dot)?;
            if flow != Flow::On {
                self.variables.truncate(scope);
                return Ok(flow);
            }
        }
        self.variables.truncate(scope);
        Ok(Flow::On)
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<Flow, Fault> {
        if self.text.len() > LONGEST {
            return Err(Fault("template: :1: the output is too long".to_owned()));
        }
        match node {
            Node::Text(text) => self.text.push_str(text),
            Node::Print(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                if pipeline.variables.is_empty() {
                    match value {
                        Value::Null => self.text.push_str("<no value>"),
                        value => self.text.push_str(&shown(&value)),
                    }
                }
            }
            Node::If(branches, otherwise) => {
                return self.branches(branches, otherwise, |_, dot| dot, dot);
            }
            Node::With(branches, otherwise) => {
                return self.branches(branches, otherwise, |value, _| value, dot);
            }
            Node::Range(pipeline, body, otherwise) => {
                return self.range(pipeline, body, otherwise, dot);
            }
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::On)
    }

    /// `if` and `with`: `new_dot` chooses a branch's dot, from its value and the dot outside.
    fn branches(
        &mut self,
        branches: &[(Pipeline, Vec<Node>)],
        otherwise: &[Node],
        new_dot: for<'v> fn(&'v Value, &'v Value) -> &'v Value,
        dot: &Value,
    ) -> Result<Flow, Fault> {
        let scope = self.variables.len();
        let mut flow = None;
        for (pipeline, body) in branches {
            let value = self.pipeline(pipeline, dot)?;
            if truth(&value) {
                flow = Some(self.nodes(body, new_dot(&value, dot))?);
                break;
            }
        }
        let flow = match flow {
            Some(flow) => flow,
            None => self.nodes(otherwise, dot)?,
        };
        self.variables.truncate(scope);
        Ok(flow)
    }

    fn range(
        &mut self,
        pipeline: &Pipeline,
        body: &[Node],
        otherwise: &[Node],
        dot: &Value,
    ) -> Result<Flow, Fault> {
        let scope = self.variables.len();
        let over = self.commands(pipeline, dot)?;
        let elements: Vec<(Value, Value)> = match over {
            Value::Array(elements) => {
                let counted = elements.into_iter().enumerate();
                counted
                    .map(|(at, value)| (Value::from(at), value))
                    .collect()
            }
            // Go ranges over a map in the order of its keys.
            Value::Object(map) => {
                let sorted: BTreeMap<String, Value> = map.into_iter().collect();
                sorted
                    .into_iter()
                    .map(|(key, value)| (Value::from(key), value))
                    .collect()
            }
            Value::Null => Vec::new(),
            other => {
                let text = format!("range can't iterate over {}", shown(&other));
                return Err(self.fault_at(&pipeline.commands[0], &text));
            }
        };
        if elements.is_empty() {
            return self.nodes(otherwise, dot);
        }
        for (key, value) in elements {
            match pipeline.variables.as_slice() {
                [name] => self.set(name, value.clone(), pipeline.declares),
                [first, second] => {
                    self.set(first, key, pipeline.declares);
                    self.set(second, value.clone(), pipeline.declares);
                }
                _ => {}
            }
            let flow = self.nodes(body, &value)?;
            self.variables.truncate(scope);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::On)
    }

    /// The value of a pipeline, which its variable takes, if it has one.
    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, Fault> {
        let value = self.commands(pipeline, dot)?;
        for name in &pipeline.variables {
            self.set(name, value.clone(), pipeline.declares);
        }
        Ok(value)
    }

    fn commands(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, Fault> {
        let mut last = None;
        for command in &pipeline.commands {
            last = Some(self.command(command, dot, last)?);
        }
        Ok(last.unwrap_or_default())
    }

    fn set(&mut self, name: &str, value: Value, declares: bool) {
        let known = self
            .variables
            .iter_mut()
            .rev()
            .find(|(known, _)| known == name);
        match known {
            Some((_, old)) if !declares => *old = value,
            _ => self.variables.push((name.to_owned(), value)),
        }
    }

    fn command(
        &mut self,
        command: &Command,
        dot: &Value,
        last: Option<Value>,
    ) -> Result<Value, Fault> {
        let (first, rest) = command
            .operands
            .split_first()
            .expect("the parser leaves none empty");
        let Base::Function(name) = &first.base else {
            if let Some(extra) = rest.first().or(last.is_some().then_some(first)) {
                let part = &self.source[first.place.start..first.place.end];
                let text = format!("can't give argument to non-function {part}");
                return Err(Fault::execute(self.source, extra.place, &text));
            }
            return self.operand(first, dot);
        };
        // `and` and `or` look at no more arguments than they need.
        if name == "and" || name == "or" {
            let stops = name == "or";
            let mut value = None;
            for operand in rest {
                let next = self.operand(operand, dot)?;
                if truth(&next) == stops {
                    return Ok(next);
                }
                value = Some(next);
            }
            return last.or(value).ok_or_else(|| {
                let text = format!("wrong number of args for {name}: want at least 1 got 0");
                self.fault_at(command, &text)
            });
        }
        let mut arguments = Vec::with_capacity(rest.len() + 1);
        for operand in rest {
            arguments.push(self.operand(operand, dot)?);
        }
        arguments.extend(last);
        let value = call(name, &arguments).map_err(|text| self.fault_at(command, &text))?;
        fields(self.source, Cow::Owned(value), first)
    }

    fn operand(&mut self, operand: &Operand, dot: &Value) -> Result<Value, Fault> {
        let base = match &operand.base {
            Base::Dot => Cow::Borrowed(dot),
            Base::Variable(name) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                known.map_or(Cow::Owned(Value::Null), |(_, value)| Cow::Borrowed(value))
            }
            Base::Constant(value) => Cow::Borrowed(value),
            Base::Group(pipeline) => Cow::Owned(self.pipeline(pipeline, dot)?),
            Base::Function(name) => Cow::Owned(
                call(name, &[])
                    .map_err(|text| Fault::execute(self.source, operand.place, &text))?,
            ),
        };
        fields(self.source, base, operand)
    }

    fn fault_at(&self, command: &Command, text: &str) -> Fault {
        Fault::execute(self.source, command.place, text)
    }
}

/// Takes the operand's fields of `base`, one within the other.
fn fields(source: &str, base: Cow<'_, Value>, operand: &Operand) -> Result<Value, Fault> {
    let mut value: &Value = &base;
    for field in &operand.fields {
        let fault = |text: &str| Err(Fault::execute(source, operand.place, text));
        value = match value {
            Value::Object(map) => match map.get(field) {
                Some(value) => value,
                None => return fault(&format!("map has no entry for key {field:?}")),
            },
            Value::Null => {
                return fault(&format!("nil pointer evaluating interface {{}}.{field}"));
            }
            _ => {
                return fault(&format!(
                    "can't evaluate field {field} in type interface {{}}"
                ));
            }
        };
    }
    Ok(value.clone())
}
