//! `${…}` in the texts of a stage.
//!
//! Five words, and nothing else: whatever a text could look up later, a retry or another
//! process could find changed. All are filled in once, at admission, and the result is frozen
//! in the journal.

use serde_json::Value;

use crate::workflow::{Op, Text};

/// What may stand between `${` and `}`.
pub(crate) const WORDS: [&str; 5] = ["activate", "deactivate", "execution", "stage", "workflow"];

/// Fills in the words that `value` knows and leaves the others as they are.
pub(crate) fn fill(text: &str, value: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        let known = after.split_once('}').and_then(|(word, after)| Some((value(word)?, after)));
        match known {
            Some((value, after)) => {
                out.push_str(&value);
                rest = after;
            }
            None => {
                out.push_str("${");
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// What is wrong with the `${…}` in a text.
pub(super) fn fault(text: &str) -> Option<String> {
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("${") {
        let Some((word, after)) = after.split_once('}') else {
            return Some("`${` without a `}` after it".to_owned());
        };
        if !WORDS.contains(&word) {
            return Some(format!("`${{{word}}}` stands for nothing"));
        }
        rest = after;
    }
    None
}

/// Visits every text of an op that may hold `${…}`.
pub(crate) fn each_text(op: &mut Op, visit: &mut dyn FnMut(&mut String)) {
    match op {
        Op::Capacity(capacity) => {
            visit(&mut capacity.url);
            capacity.headers.values_mut().for_each(|text| plain(text, visit));
            capacity.extra.values_mut().for_each(|value| inside(value, visit));
        }
        Op::Exec(exec) => {
            exec.argv.iter_mut().for_each(&mut *visit);
            exec.env.values_mut().for_each(|text| plain(text, visit));
            exec.observe.iter_mut().flatten().for_each(visit);
        }
        Op::Http(http) => {
            visit(&mut http.url);
            http.headers.values_mut().for_each(|text| plain(text, visit));
            http.body.iter_mut().for_each(&mut *visit);
            http.observe.iter_mut().for_each(|observe| visit(&mut observe.url));
        }
        Op::Notify(notify) => visit(&mut notify.message),
        Op::Database(_) | Op::Dial(_) | Op::Wait(_) => {}
    }
}

fn plain(text: &mut Text, visit: &mut dyn FnMut(&mut String)) {
    if let Text::Plain(text) = text {
        visit(text);
    }
}

fn inside(value: &mut Value, visit: &mut dyn FnMut(&mut String)) {
    match value {
        Value::String(text) => visit(text),
        Value::Array(items) => items.iter_mut().for_each(|item| inside(item, visit)),
        Value::Object(entries) => entries.values_mut().for_each(|entry| inside(entry, visit)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_what_is_known_once() {
        let value = |word: &str| match word {
            "stage" => Some("dial".to_owned()),
            // A value that looks like a word is not looked at again.
            "activate" => Some("${stage}".to_owned()),
            _ => None,
        };
        assert_eq!(fill("a ${stage} b ${execution} ${activate}", &value), "a dial b ${execution} ${stage}");
        assert_eq!(fill("$5 ${ ${stage} }", &value), "$5 ${ dial }");
        assert_eq!(fill("", &value), "");
    }

    #[test]
    fn tells_what_stands_for_nothing() {
        assert_eq!(fault("to ${activate} from ${deactivate}, $HOME, }"), None);
        assert_eq!(fault("${activat}").as_deref(), Some("`${activat}` stands for nothing"));
        assert_eq!(fault("${stage} ${").as_deref(), Some("`${` without a `}` after it"));
    }
}
