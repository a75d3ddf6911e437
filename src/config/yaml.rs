//! YAML text → a tree in which every value knows its place.
//!
//! Reading a file in two steps (tree, then types) is what lets [`super::read`] report every
//! mistake at once: a value that does not fit is cut out of the tree and reading goes on.

use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::{Location, Spanned};

use crate::base::{Mistake, Mistakes, Place, Source};

/// A value and where it stands.
#[derive(Clone, PartialEq, Debug)]
pub struct Node {
    /// Where.
    pub place: Place,
    /// What.
    pub value: Value,
}

/// A YAML value, as far as configuration uses them.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// Nothing: `~`, `null`, or no text at all.
    Null,
    /// `true` or `false`; no other spelling.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// Anything else.
    Text(String),
    /// `- …` or `[…]`.
    List(Vec<Node>),
    /// `key: …` or `{…}`, in the order of the file; keys are unique.
    Map(Vec<(Key, Node)>),
}

/// The key of an entry and where it stands.
#[derive(Clone, PartialEq, Debug)]
pub struct Key {
    /// Where.
    pub place: Place,
    /// What.
    pub text: String,
}

impl Value {
    /// What to call it in a message.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Int(_) | Self::Float(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

impl Node {
    /// The value of a key, if this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|(k, _)| k.text == key).map(|(_, node)| node),
            _ => None,
        }
    }

    /// The keys, if this is a mapping.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        match &self.value {
            Value::Map(entries) => entries.as_slice(),
            _ => &[],
        }
        .iter()
        .map(|(key, _)| key)
    }
}

/// Larger files than this are refused: no configuration of ours needs them.
const BYTES_MAX: usize = 64 << 20;

/// Reads one YAML document.
///
/// # Errors
/// Syntax errors, duplicate keys, tabs, alias bombs: the first one, since what follows it
/// cannot be told apart.
pub fn parse(source: &Arc<Source>) -> Result<Node, Mistakes> {
    if source.text().len() > BYTES_MAX {
        return Err(only(Place::whole(source), format!("the file is larger than {} MiB", BYTES_MAX >> 20)));
    }
    let options = serde_yaml::options! {
        // `on`, `off`, `yes`, `no` are words in our files, not booleans.
        strict_booleans: true,
        budget: serde_yaml::budget! { max_nodes: 4_000_000, max_events: 8_000_000 },
        // Enough for honest anchors; a bomb goes off in a millisecond.
        alias_limits: serde_yaml::alias_limits! { max_total_replayed_events: 20_000 },
    };
    let read: Result<Spanned<Raw>, _> = serde_yaml::from_str_with_options(source.text(), options);
    match read {
        Ok(raw) => build(source, raw),
        Err(error) => {
            let place = error.location().map_or_else(|| Place::whole(source), |at| place(source, at));
            Err(only(place, plain_message(&error)))
        }
    }
}

fn only(place: Place, message: String) -> Mistakes {
    let mut mistakes = Mistakes::default();
    mistakes.error(&place, message);
    mistakes
}

/// The reader's message without the position and snippet that it repeats.
fn plain_message(error: &serde_yaml::Error) -> String {
    let text = error.without_snippet().to_string();
    let first = text.lines().next().unwrap_or_default();
    let first = first.strip_prefix("error: ").unwrap_or(first);
    let message = match first.split_once(": ") {
        Some((position, rest)) if position.starts_with("line ") => rest,
        _ => first,
    };
    match message.split_once(", set DuplicateKeyPolicy") {
        Some((message, _)) => message.to_owned(),
        None => message.strip_suffix(" at line").unwrap_or(message).to_owned(),
    }
}

fn place(source: &Arc<Source>, at: Location) -> Place {
    let span = at.span();
    let (start, len) = match (span.byte_offset(), span.byte_len()) {
        (Some(start), Some(len)) => (start as usize, len as usize),
        // Positions in characters only: count them out.
        _ => {
            let mut bytes = source.text().char_indices().map(|(byte, _)| byte);
            (bytes.nth(span.offset() as usize).unwrap_or(source.text().len()), 1)
        }
    };
    Place::new(source, start..start.saturating_add(len))
}

fn build(source: &Arc<Source>, raw: Spanned<Raw>) -> Result<Node, Mistakes> {
    let place = place(source, raw.referenced);
    let value = match raw.value {
        Raw::Null => Value::Null,
        Raw::Bool(value) => Value::Bool(value),
        Raw::Int(value) => Value::Int(value),
        // What reads as a number but is not written as one (`1.1.1`, `012`, `.5`) is a text.
        Raw::Float(_) if !looks_like_a_number(place.text()) => Value::Text(place.text().to_owned()),
        Raw::Float(value) => Value::Float(value),
        Raw::Text(value) => Value::Text(value),
        Raw::List(items) => {
            Value::List(items.into_iter().map(|item| build(source, item)).collect::<Result<_, _>>()?)
        }
        Raw::Map(entries) => {
            let mut built: Vec<(Key, Node)> = Vec::with_capacity(entries.len());
            for (key, value) in entries {
                let key = build(source, key)?;
                let text = match key.value {
                    Value::List(_) | Value::Map(_) => {
                        return Err(only(key.place, "a key must be a word".to_owned()));
                    }
                    Value::Text(text) => text,
                    _ => key.place.text().to_owned(),
                };
                built.push((Key { place: key.place, text }, build(source, value)?));
            }
            Value::Map(built)
        }
    };
    Ok(Node { place, value })
}

fn looks_like_a_number(text: &str) -> bool {
    let digits = text.trim_start_matches(['-', '+']);
    digits == "0" || !digits.starts_with('0') || digits.starts_with("0.")
}

/// What the YAML reader hands us, before places are resolved.
enum Raw {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<Raw>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(i64::try_from(value).map_or(Raw::Float(value as f64), Raw::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Raw, E> {
        Ok(Raw::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

/// A mistake at a node, for readers of the tree that are not driven by types.
pub fn mistake_at(node: &Node, message: impl Into<String>) -> Mistake {
    Mistake {
        severity: crate::base::Severity::Error,
        place: node.place.clone(),
        message: message.into(),
        help: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first_error(text: &str) -> String {
        parse(&Source::new("f", text)).unwrap_err().to_string()
    }

    #[test]
    fn keeps_order_places_and_words() {
        let source = Source::new("f", "b: [x, 5]\na: {on: yes}\nn: ~\nversion: 1.10\nzip: 012\n");
        let node = parse(&source).unwrap();
        let keys: Vec<_> = node.keys().map(|key| (key.text.as_str(), key.place.to_string())).collect();
        assert_eq!(keys[0], ("b", "f:1:1".to_owned()));
        assert_eq!(keys[1], ("a", "f:2:1".to_owned()));
        assert_eq!(
            node.get("a").and_then(|a| a.get("on")).map(|n| &n.value),
            Some(&Value::Text("yes".into()))
        );
        assert_eq!(node.get("n").map(|n| &n.value), Some(&Value::Null));
        assert_eq!(node.get("zip").map(|n| &n.value), Some(&Value::Text("012".into())));
        let Some(Value::List(items)) = node.get("b").map(|n| &n.value) else { panic!() };
        assert_eq!(items[1].place.to_string(), "f:1:8");
    }

    #[test]
    fn refuses_what_is_not_yaml_with_its_place() {
        assert_eq!(first_error("a: 1\na: 2\n"), "f:2:1: duplicate mapping key: a");
        assert!(first_error("a: [1\n").starts_with("f:1:4: "), "{}", first_error("a: [1\n"));
        assert!(first_error("a:\n\t- b").starts_with("f:2:"), "{}", first_error("a:\n\t- b"));
        assert!(first_error("x: &a [*a]").starts_with("f:1:"));
        assert!(first_error("a: 1\n---\nb: 2\n").starts_with("f:3:1: multiple YAML documents"));
    }

    #[test]
    fn an_alias_bomb_is_stopped() {
        let mut text = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for n in 1..12 {
            let list = vec![format!("*a{}", n - 1); 10].join(",");
            text.push_str(&format!("a{n}: &a{n} [{list}]\n"));
        }
        assert!(parse(&Source::new("f", text)).is_err());
    }
}
