//! What an answer must be like: a test of its octets, or of a value in its JSON.

use std::borrow::Cow;

use regex::bytes::Regex;
use serde_json::Value;

/// So much of what was wanted, or found, is told.
const SHOWN_CHARS_MAX: usize = 60;

/// A test of what was answered.
#[derive(Clone, Debug)]
pub enum Match {
    /// It has these octets in it.
    Contains(Vec<u8>),
    /// It is this text, white space around either left out.
    Equals(String),
    /// It has a match of this regular expression in it.
    Regex(Box<Regex>),
}

impl Match {
    /// Whether it holds for what was answered.
    pub fn holds(&self, answer: &[u8]) -> bool {
        match self {
            Self::Contains(wanted) => {
                wanted.is_empty() || answer.windows(wanted.len()).any(|window| window == wanted)
            }
            Self::Equals(wanted) => answer.trim_ascii() == wanted.trim().as_bytes(),
            Self::Regex(regex) => regex.is_match(answer),
        }
    }

    /// What is wanted, for a person: "`+PONG`".
    pub fn shown(&self) -> String {
        match self {
            Self::Contains(wanted) => format!("`{}`", shown(wanted)),
            Self::Equals(wanted) => format!("exactly `{}`", shown(wanted.trim().as_bytes())),
            Self::Regex(regex) => format!("a match of `{}`", regex.as_str()),
        }
    }
}

/// A test of one value in a JSON document.
#[derive(Clone, Debug)]
pub struct JsonTest {
    /// Where it stands (RFC 6901); the empty text is the whole document.
    pub pointer: String,
    /// What it must be.
    pub wanted: JsonWanted,
}

/// What a value must be.
#[derive(Clone, Debug)]
pub enum JsonWanted {
    /// This scalar; numbers by their value, so that 1 is 1.0.
    Scalar(Value),
    /// A text that passes, or a number or a boolean whose text does.
    Text(Match),
}

impl JsonTest {
    /// Whether it holds in a document.
    ///
    /// # Errors
    /// What is there instead, for a person.
    pub fn check(&self, document: &Value) -> Result<(), String> {
        let place = if self.pointer.is_empty() { "the document" } else { self.pointer.as_str() };
        let Some(found) = document.pointer(&self.pointer) else {
            return Err(format!("there is no `{place}`, wanted {}", self.wanted()));
        };
        let holds = match &self.wanted {
            JsonWanted::Scalar(wanted) => match (wanted.as_f64(), found.as_f64()) {
                (Some(wanted), Some(found)) => wanted == found,
                _ => wanted == found,
            },
            JsonWanted::Text(test) => match found {
                Value::Object(_) | Value::Array(_) | Value::Null => false,
                Value::String(text) => test.holds(text.as_bytes()),
                other => test.holds(other.to_string().as_bytes()),
            },
        };
        match holds {
            true => Ok(()),
            false => {
                Err(format!("`{place}` is {}, wanted {}", shown(found.to_string().as_bytes()), self.wanted()))
            }
        }
    }

    fn wanted(&self) -> Cow<'static, str> {
        match &self.wanted {
            JsonWanted::Scalar(value) => value.to_string().into(),
            JsonWanted::Text(test) => test.shown().into(),
        }
    }
}

/// The beginning of what was sent, on one line, for a person.
pub fn shown(octets: &[u8]) -> String {
    let text = String::from_utf8_lossy(octets);
    let mut out = String::new();
    for (n, char) in text.trim().chars().enumerate() {
        if n == SHOWN_CHARS_MAX {
            out.push('…');
            break;
        }
        match char {
            '\r' => out.push_str("\\r"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            char if char.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(char))),
            char => out.push(char),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn octets_are_matched() {
        let contains = |wanted: &[u8], answer: &[u8]| Match::Contains(wanted.to_vec()).holds(answer);
        assert!(contains(b"PONG", b"+PONG\r\n") && contains(b"\xff\x00", b"a\xff\x00b"));
        assert!(!contains(b"PONG", b"+PON") && !contains(b"pong", b"+PONG"));
        let equals = |wanted: &str, answer: &[u8]| Match::Equals(wanted.to_owned()).holds(answer);
        assert!(equals("ok", b"ok\r\n") && !equals("ok", b"not ok"));
        let regex =
            |wanted: &str, answer: &[u8]| Match::Regex(Regex::new(wanted).unwrap().into()).holds(answer);
        assert!(regex("^SSH-2\\.0-", b"SSH-2.0-OpenSSH_9.2") && !regex("^OK$", b"NOT OK"));
        // What is not UTF-8 is no reason to fall over.
        assert!(regex("ab", b"\xff\xfeab"));
    }

    #[test]
    fn values_are_found_by_their_pointer() {
        let document = json!({"status": "green", "shards": {"lost": 0, "a/b": true}, "list": [{"n": 1.0}], "none": null});
        let test = |pointer: &str, wanted: Value| {
            JsonTest { pointer: pointer.to_owned(), wanted: JsonWanted::Scalar(wanted) }.check(&document)
        };
        for (pointer, wanted) in [
            ("/status", json!("green")),
            ("/shards/lost", json!(0)),
            ("/shards/a~1b", json!(true)),
            ("/list/0/n", json!(1)),
            ("/none", json!(null)),
        ] {
            assert_eq!(test(pointer, wanted), Ok(()), "{pointer}");
        }
        assert_eq!(test("/status", json!("red")).unwrap_err(), "`/status` is \"green\", wanted \"red\"");
        assert_eq!(test("/shards/lost", json!("0")).unwrap_err(), "`/shards/lost` is 0, wanted \"0\"");
        assert_eq!(test("/nowhere", json!(1)).unwrap_err(), "there is no `/nowhere`, wanted 1");
        let text = |pointer: &str, regex: &str| {
            let wanted = JsonWanted::Text(Match::Regex(Regex::new(regex).unwrap().into()));
            JsonTest { pointer: pointer.to_owned(), wanted }.check(&document)
        };
        assert_eq!(text("/status", "^(green|yellow)$"), Ok(()));
        assert_eq!(text("/shards/lost", "^0$"), Ok(()));
        // A list or a mapping is no text, whatever it would look like as one.
        assert!(text("/shards", "lost").is_err() && text("/none", "null").is_err());
    }

    #[test]
    fn what_is_told_fits_a_line() {
        assert_eq!(shown(b"+PONG\r\nx\x01\xff"), "+PONG\\r\\nx\\x01\u{fffd}");
        assert_eq!(shown(&[b'a'; 1000]).chars().count(), SHOWN_CHARS_MAX + 1);
    }
}
