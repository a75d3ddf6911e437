//! Where in which file something was written.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// A text and what to call it in messages; usually a file and its path.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    name: String,
    text: String,
    /// Byte offset of the start of each line.
    lines: Vec<usize>,
}

impl Source {
    /// Keeps a text for messages about it.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        let text = text.into();
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Arc::new(Self { name: name.into(), text, lines })
    }

    /// What to call it: the path as the user gave it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Line and column of a byte offset, both counted from 1; the column counts characters.
    pub fn line_column(&self, offset: usize) -> (usize, usize) {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let line = self.lines.partition_point(|start| *start <= offset);
        let start = self.lines[line - 1];
        (line, self.text[start..offset].chars().count() + 1)
    }
}

/// A stretch of a [`Source`]. Cheap to clone; printed as `file:line:column`.
#[derive(Clone, PartialEq, Eq)]
pub struct Place {
    source: Arc<Source>,
    span: Range<usize>,
}

impl Place {
    /// A stretch of bytes of a source, clipped to its text.
    pub fn new(source: &Arc<Source>, span: Range<usize>) -> Self {
        let end = span.end.min(source.text.len());
        Self { source: Arc::clone(source), span: span.start.min(end)..end }
    }

    /// The source as a whole, for mistakes that have no better place.
    pub fn whole(source: &Arc<Source>) -> Self {
        Self::new(source, 0..0)
    }

    /// The text that holds it.
    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// Its bytes.
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// What is written there.
    pub fn text(&self) -> &str {
        self.source.text.get(self.span()).unwrap_or_default()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.source.line_column(self.span.start);
        write!(f, "{}:{line}:{column}", self.source.name)
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_lines_and_characters_from_one() {
        let source = Source::new("zone", "a\nbü c\n");
        assert_eq!(Place::new(&source, 0..1).to_string(), "zone:1:1");
        assert_eq!(Place::new(&source, 6..7).to_string(), "zone:2:4");
        assert_eq!(Place::new(&source, 6..7).text(), "c");
        assert_eq!(Place::new(&source, 99..120).to_string(), "zone:3:1");
    }
}
