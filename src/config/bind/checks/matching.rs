//! What an answer must be like, and octets to send.

use regex::bytes::{Regex, RegexBuilder};

use crate::config::bind::Binder;
use crate::config::model::{JsonTest, JsonWanted, Match};
use crate::config::read::{Placed, read};
use crate::config::spec;
use crate::config::yaml::{Node, Value};
use crate::wire::{Base64, from_hex};

/// Memory that one regular expression may take, compiled.
const REGEX_BYTES_MAX: usize = 1 << 20;

impl Binder<'_> {
    /// A text as it stands, or octets as `{hex: …}` or `{base64: …}`.
    pub(super) fn octets(&mut self, node: &Node) -> Option<Vec<u8>> {
        match text(node) {
            Some(text) => Some(text.into_bytes()),
            None => match read::<spec::Octets>(node, self.mistakes)? {
                spec::Octets::Hex(text) => self.hex(&text),
                spec::Octets::Base64(text) => self.base64(&text),
            },
        }
    }

    /// A text that must be in the answer, or what else must hold of it.
    pub(super) fn matching(&mut self, node: &Node) -> Option<Match> {
        let test = match text(node) {
            Some(text) => Match::Contains(text.into_bytes()),
            None => match read::<spec::Match>(node, self.mistakes)? {
                spec::Match::Contains(text) => Match::Contains(text.into_bytes()),
                spec::Match::Equals(text) => Match::Equals(text),
                spec::Match::Matches(text) => Match::Regex(Box::new(self.regex(&text)?)),
                spec::Match::Hex(text) => Match::Contains(self.hex(&text)?),
                spec::Match::Base64(text) => Match::Contains(self.base64(&text)?),
            },
        };
        if matches!(&test, Match::Contains(wanted) if wanted.is_empty()) {
            self.mistakes.error(&node.place, "an empty text is in every answer: say what must come");
        }
        Some(test)
    }

    /// What must stand where in a JSON document.
    pub(super) fn json_test(&mut self, pointer: &Placed<String>, node: &Node) -> Option<JsonTest> {
        if !is_pointer(&pointer.value) {
            self.mistakes
                .error(&pointer.place, format!("`{}` is not a JSON pointer (RFC 6901)", pointer.value))
                .help("write the way to the value, as in `/status` or `/nodes/0/role`; `~1` is a slash in a key");
            return None;
        }
        let wanted = match &node.value {
            Value::Null => JsonWanted::Scalar(serde_json::Value::Null),
            Value::Bool(value) => JsonWanted::Scalar((*value).into()),
            Value::Int(value) => JsonWanted::Scalar((*value).into()),
            Value::Float(value) => JsonWanted::Scalar((*value).into()),
            Value::Text(text) => JsonWanted::Scalar(text.as_str().into()),
            Value::Map(_) | Value::List(_) => JsonWanted::Text(self.matching(node)?),
        };
        Some(JsonTest { pointer: pointer.value.clone(), wanted })
    }

    fn regex(&mut self, text: &Placed<String>) -> Option<Regex> {
        match RegexBuilder::new(&text.value).size_limit(REGEX_BYTES_MAX).build() {
            Ok(regex) => Some(regex),
            Err(why) => {
                // The last line says what is wrong; those before it draw it.
                let why = why.to_string();
                let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ");
                self.mistakes
                    .error(&text.place, format!("`{}` is not a regular expression: {why}", text.value))
                    .help("the syntax is RE2's: no back-references, no look-around");
                None
            }
        }
    }

    fn hex(&mut self, text: &Placed<String>) -> Option<Vec<u8>> {
        let digits: Vec<u8> = text.value.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let mut octets = Vec::new();
        if !from_hex(&digits, &mut octets) {
            self.mistakes.error(&text.place, "not hexadecimal: two digits for each octet, as in `0d 0a`");
            return None;
        }
        Some(octets)
    }

    fn base64(&mut self, text: &Placed<String>) -> Option<Vec<u8>> {
        let (mut base64, mut octets) = (Base64::default(), Vec::new());
        let sound = text.value.split_ascii_whitespace().all(|word| base64.push(word.as_bytes(), &mut octets));
        if !sound || !base64.finish() {
            self.mistakes.error(&text.place, "not base 64 (RFC 4648 §4)");
            return None;
        }
        Some(octets)
    }
}

/// A scalar as it is written.
fn text(node: &Node) -> Option<String> {
    match &node.value {
        Value::Text(text) => Some(text.clone()),
        Value::Int(_) | Value::Float(_) | Value::Bool(_) => Some(node.place.text().to_owned()),
        _ => None,
    }
}

/// Empty, or steps that each begin with a slash; a tilde escapes itself (`~0`) and the slash (`~1`).
fn is_pointer(text: &str) -> bool {
    (text.is_empty() || text.starts_with('/'))
        && text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_begin_with_a_slash() {
        assert!(["", "/", "/a/0/b", "/a~1b/m~0n"].iter().all(|text| is_pointer(text)));
        assert!(!["a", "a/b", "/a~2", "/a~", "$.a"].iter().any(|text| is_pointer(text)));
    }
}
