//! Master file text → entries → words (RFC 1035 §5.1).
//!
//! An entry is a line, or several that parentheses join. Nothing is copied: a word is a slice
//! of the text.

use std::ops::Range;

use crate::wire::{Word, WordKind, Words};

/// Walks through a text, entry by entry, word by word.
pub(super) struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    /// Where the parenthesis stands that is open now.
    open: Option<usize>,
    /// Whether the words of this entry are used up.
    ended: bool,
    /// Where the word read last stands; where it should stand, if it is missing.
    last: Range<usize>,
}

/// What a character does to a bare word.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// Is part of it.
    Plain,
    /// Space, tab, carriage return: ends it.
    Blank,
    /// Ends the entry, outside parentheses.
    Newline,
    /// Ends it and means something of its own: `;` `(` `)`.
    Special,
    /// `"`
    Quote,
    /// `\`: takes the next character with it.
    Escape,
}

static MARKS: [Mark; 256] = {
    let mut marks = [Mark::Plain; 256];
    marks[b' ' as usize] = Mark::Blank;
    marks[b'\t' as usize] = Mark::Blank;
    marks[b'\r' as usize] = Mark::Blank;
    marks[b'\n' as usize] = Mark::Newline;
    marks[b';' as usize] = Mark::Special;
    marks[b'(' as usize] = Mark::Special;
    marks[b')' as usize] = Mark::Special;
    marks[b'"' as usize] = Mark::Quote;
    marks[b'\\' as usize] = Mark::Escape;
    marks
};

fn mark(octet: u8) -> Mark {
    MARKS[usize::from(octet)]
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        // An editor's byte order mark is not part of the first name.
        let at = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        Self { text: text.as_bytes(), at, open: None, ended: true, last: at..at }
    }

    /// Goes to the next entry that has words. Tells whether it starts with a blank, which
    /// stands for the owner of the record before it; `None` at the end of the text.
    pub(super) fn next_entry(&mut self) -> Option<bool> {
        self.skip_entry();
        let mut line = self.at;
        loop {
            match mark(*self.text.get(self.at)?) {
                Mark::Newline => {
                    self.at += 1;
                    line = self.at;
                }
                Mark::Blank => self.at += 1,
                Mark::Special if self.text[self.at] == b';' => self.skip_comment(),
                _ => break,
            }
        }
        self.ended = false;
        Some(self.at > line)
    }

    /// Goes on behind the entry, whatever stands in its rest.
    pub(super) fn skip_entry(&mut self) {
        while !self.ended {
            // What is wrong here has been told, or follows from it.
            let _ = self.next_word();
        }
    }

    /// Where the word read last stands; where it should stand, if it is missing.
    pub(super) fn last(&self) -> Range<usize> {
        self.last.clone()
    }

    fn skip_comment(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.iter().position(|octet| *octet == b'\n').unwrap_or(rest.len());
    }

    fn quoted(&mut self) -> Result<Word<'a>, String> {
        let start = self.at;
        let inside = self.through_quotes(start + 1)?;
        self.last = start..self.at;
        Ok(Word { text: &self.text[inside], kind: WordKind::Quoted })
    }

    /// From behind an opening quote to behind the closing one; what stands between them.
    fn through_quotes(&mut self, start: usize) -> Result<Range<usize>, String> {
        let mut at = start;
        loop {
            match self.text.get(at) {
                Some(b'"') => {
                    self.at = at + 1;
                    return Ok(start..at);
                }
                Some(b'\\') if self.text.get(at + 1) != Some(&b'\n') => at += 2,
                Some(b'\n') | None => {
                    self.last = start - 1..at.min(self.text.len());
                    self.at = at.min(self.text.len());
                    return Err("this quote is not closed on its line".into());
                }
                Some(_) => at += 1,
            }
        }
    }

    fn bare(&mut self) -> Result<Word<'a>, String> {
        let start = self.at;
        let mut at = start;
        let mut kind = WordKind::Plain;
        while let Some(octet) = self.text.get(at) {
            match mark(*octet) {
                Mark::Plain => at += 1,
                // What follows is part of the word, unless it is the end of the line.
                Mark::Escape => {
                    at += if self.text.get(at + 1).is_none_or(|next| *next == b'\n') { 1 } else { 2 }
                }
                Mark::Quote if kind == WordKind::Plain && self.text[at - 1] == b'=' => {
                    kind = WordKind::Pair;
                    self.through_quotes(at + 1)?;
                    at = self.at;
                }
                Mark::Quote => {
                    self.last = start..at + 1;
                    self.at = at + 1;
                    return Err("a quote in the middle of a word; put all of it in quotes".into());
                }
                Mark::Blank | Mark::Newline | Mark::Special => break,
            }
        }
        (self.at, self.last) = (at, start..at);
        Ok(Word { text: &self.text[start..at], kind })
    }
}

impl<'a> Words<'a> for Lexer<'a> {
    /// The next word of this entry; the first one ends up after the blank that may start it.
    fn next_word(&mut self) -> Result<Option<Word<'a>>, String> {
        if self.ended {
            return Ok(None);
        }
        loop {
            let Some(octet) = self.text.get(self.at).copied() else {
                self.ended = true;
                self.last = self.at..self.at;
                return match self.open.take() {
                    Some(open) => {
                        self.last = open..open + 1;
                        Err("this parenthesis is never closed".into())
                    }
                    None => Ok(None),
                };
            };
            match mark(octet) {
                Mark::Plain | Mark::Escape => return self.bare().map(Some),
                Mark::Quote => return self.quoted().map(Some),
                Mark::Blank => self.at += 1,
                Mark::Newline => {
                    if self.open.is_none() {
                        self.last = self.at..self.at;
                        self.at += 1;
                        self.ended = true;
                        return Ok(None);
                    }
                    self.at += 1;
                }
                Mark::Special => match octet {
                    b';' => self.skip_comment(),
                    b'(' if self.open.is_none() => {
                        self.open = Some(self.at);
                        self.at += 1;
                    }
                    b')' if self.open.is_some() => {
                        self.open = None;
                        self.at += 1;
                    }
                    _ => {
                        self.last = self.at..self.at + 1;
                        self.at += 1;
                        return Err(match octet {
                            b'(' => "a parenthesis inside parentheses".into(),
                            _ => "this parenthesis was never opened".into(),
                        });
                    }
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each entry: whether it starts with a blank, and its words, quotes shown.
    fn entries(text: &str) -> Vec<(bool, Vec<String>)> {
        let mut lexer = Lexer::new(text);
        let mut entries = Vec::new();
        while let Some(blank) = lexer.next_entry() {
            let mut words = Vec::new();
            loop {
                match lexer.next_word() {
                    Ok(None) => break,
                    Ok(Some(word)) if word.kind == WordKind::Quoted => {
                        words.push(format!("\"{}\"", word.shown()))
                    }
                    Ok(Some(word)) => words.push(word.shown()),
                    Err(why) => words.push(format!("! {why} at {:?}", lexer.last())),
                }
            }
            entries.push((blank, words));
        }
        entries
    }

    fn words(text: &str) -> Vec<String> {
        let mut entries = entries(text);
        assert_eq!(entries.len(), 1, "{entries:?}");
        entries.remove(0).1
    }

    #[test]
    fn cuts_lines_into_words() {
        assert_eq!(
            entries("\u{feff}; first\n\na  b\tc ; rest\r\n  d\n \t ; nothing\ne"),
            [
                (false, vec!["a".into(), "b".into(), "c".into()]),
                (true, vec!["d".into()]),
                (false, vec!["e".into()])
            ]
        );
    }

    #[test]
    fn parentheses_join_lines() {
        assert_eq!(words("a ( b ; c\n d\n\n)e\n"), ["a", "b", "d", "e"]);
        assert_eq!(words("(a\n  b)\n"), ["a", "b"]);
        assert_eq!(words("a(b)c"), ["a", "b", "c"]);
        assert_eq!(words("a \\( \\; b"), ["a", "\\(", "\\;", "b"]);
        assert_eq!(words("a ( b"), ["a", "b", "! this parenthesis is never closed at 2..3"]);
        assert_eq!(words("a ) b"), ["a", "! this parenthesis was never opened at 2..3", "b"]);
        assert_eq!(words("a ( ( b )"), ["a", "! a parenthesis inside parentheses at 4..5", "b"]);
    }

    #[test]
    fn quotes_hold_words_together() {
        assert_eq!(
            words(r#"a "b ; (c" "" "d\"e" "\\""#),
            ["a", "\"b ; (c\"", "\"\"", "\"d\\\"e\"", "\"\\\\\""]
        );
        assert_eq!(words(r#""a""b""#), ["\"a\"", "\"b\""]);
        assert_eq!(
            words("a \"b\nc".split('\n').next().unwrap()),
            ["a", "! this quote is not closed on its line at 2..4"]
        );
        assert_eq!(words(r#"k="v w" x"#), ["k=\"v w\"", "x"]);
        assert_eq!(words(r#"k="v"w"#), ["k=\"v\"w"]);
        assert_eq!(
            words(r#"k"v" x"#),
            [
                "! a quote in the middle of a word; put all of it in quotes at 0..2",
                "! a quote in the middle of a word; put all of it in quotes at 2..4",
                "x"
            ]
        );
    }

    #[test]
    fn an_escape_does_not_swallow_the_line() {
        assert_eq!(entries("a\\\nb").len(), 2);
        assert_eq!(words("a\\"), ["a\\"]);
        assert_eq!(entries("\"a\\\nb\"\n").len(), 2);
    }

    #[test]
    fn what_is_skipped_ends_where_the_entry_ends() {
        let mut lexer = Lexer::new("a ( b\nc ) d\ne");
        lexer.next_entry();
        lexer.next_word().unwrap();
        lexer.next_entry();
        assert_eq!(lexer.next_word().unwrap().unwrap().text, b"e");
    }
}
