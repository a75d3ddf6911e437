//! What a target says of itself: JSON that says whether it works, why, and what it measured.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::health::Finding;

/// So much of a reason is kept.
const REASON_CHARS_MAX: usize = 256;
/// Facts in one report.
const FACTS_MAX: usize = 16;
/// Octets in the name of a fact.
const FACT_NAME_MAX: usize = 64;

/// A report.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Said {
    /// Whether it works.
    #[serde(rename = "status")]
    pub says: Says,
    /// Why, for a person.
    #[serde(default)]
    pub reason: String,
    /// What was measured.
    #[serde(default)]
    pub facts: BTreeMap<String, f64>,
    /// Grows from report to report, so that an old one that comes late is told from a new one.
    #[serde(default)]
    pub sequence: Option<u64>,
}

/// Whether a target works, by its own word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Says {
    /// It does.
    Pass,
    /// It does not.
    Fail,
    /// It cannot tell.
    Unknown,
}

impl Says {
    /// As written in labels.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Unknown => "unknown",
        }
    }
}

impl Said {
    /// Reads a report.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(body: &[u8]) -> Result<Self, String> {
        let said: Self = serde_json::from_slice(body).map_err(|why| {
            format!("not a report: {why}; it reads like {{\"status\": \"pass\", \"reason\": \"…\", \"facts\": {{\"lag_seconds\": 0.4}}}}")
        })?;
        if said.facts.len() > FACTS_MAX {
            return Err(format!("{} facts: at most {FACTS_MAX} are taken", said.facts.len()));
        }
        let fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let is_name = |name: &str| !name.is_empty() && name.len() <= FACT_NAME_MAX && name.bytes().all(fine);
        match said.facts.keys().find(|name| !is_name(name)) {
            None => Ok(said),
            Some(_) => Err(format!(
                "a fact's name has up to {FACT_NAME_MAX} letters, digits and `_`, such as lag_seconds"
            )),
        }
    }

    /// What that means for the check.
    pub(super) fn finding(&self) -> Finding {
        let word = self.says.word();
        let mut words = match plain(&self.reason) {
            reason if reason.is_empty() => format!("says {word}"),
            reason => format!("says {word}: {reason}"),
        };
        if !self.facts.is_empty() {
            let facts: Vec<_> = self.facts.iter().map(|(name, value)| format!("{name} {value}")).collect();
            words.push_str(&format!(" ({})", facts.join(", ")));
        }
        match self.says {
            Says::Pass => Finding::Pass(words),
            Says::Fail => Finding::Fail(words),
            Says::Unknown => Finding::Unknown(words),
        }
    }
}

/// On one line, and not too long: it goes into logs and terminals.
pub(super) fn plain(text: &str) -> String {
    let mut chars = text.trim().chars().map(|char| if char.is_control() { ' ' } else { char });
    let mut out: String = chars.by_ref().take(REASON_CHARS_MAX).collect();
    if chars.next().is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, String> {
        Said::read(text.as_bytes()).map(|said| {
            let finding = said.finding();
            format!("{}: {}", finding.word(), finding.words())
        })
    }

    #[test]
    fn reports_become_words() {
        assert_eq!(read(r#"{"status": "pass"}"#).unwrap(), "pass: says pass");
        assert_eq!(
            read(r#"{"status":"fail","reason":"disk\nfull\u001b[2J","facts":{"free_bytes":0,"lag_seconds":1.5}}"#).unwrap(),
            "fail: says fail: disk full [2J (free_bytes 0, lag_seconds 1.5)"
        );
        assert_eq!(read(r#"{"status":"unknown","sequence":7}"#).unwrap(), "unknown: says unknown");
        let long = read(&format!(r#"{{"status":"pass","reason":"{}"}}"#, "x".repeat(5000))).unwrap();
        assert!(long.ends_with("xx…") && long.chars().count() < 300, "{long}");
    }

    #[test]
    fn what_is_no_report_is_told_with_the_cure() {
        let many: Vec<_> = (0..17).map(|n| format!("\"f{n}\":1")).collect();
        let many = format!(r#"{{"status":"pass","facts":{{{}}}}}"#, many.join(","));
        for (text, words) in [
            ("", "not a report"),
            ("pass", "it reads like {\"status\": \"pass\""),
            (r#"{"status":"ok"}"#, "unknown variant `ok`"),
            (r#"{"reason":"x"}"#, "missing field `status`"),
            (r#"{"status":"pass","ttl":"5s"}"#, "unknown field `ttl`"),
            (r#"{"status":"pass","facts":{"a b":1}}"#, "a fact's name"),
            (r#"{"status":"pass","facts":{"a":"1"}}"#, "not a report"),
            (&many, "17 facts"),
        ] {
            let why = read(text).unwrap_err();
            assert!(why.contains(words), "{text}: {why}");
        }
    }
}
