//! What is wrong with something a person wrote, where, and how to mend it.
//!
//! Reading a file never stops at the first mistake: it gathers them, and whoever asked gets
//! all of them at once, each with its place and a snippet.

use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use super::{Place, Source};

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// Loads, but deserves a thought.
    Warning,
    /// Does not load.
    Error,
}

/// One mistake.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mistake {
    /// Whether it stops the load.
    pub severity: Severity,
    /// Where it stands.
    pub place: Place,
    /// What is wrong.
    pub message: String,
    /// How to mend it, if there is a way to tell.
    pub help: Option<String>,
}

/// The mistakes found so far. An empty list is a clean bill.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Mistakes(Vec<Mistake>);

/// More than this many are not shown one by one: the file is not what it claims to be.
const SHOWN_MAX: usize = 50;

impl Mistakes {
    /// Notes an error.
    pub fn error(&mut self, place: &Place, message: impl Into<String>) -> &mut Mistake {
        self.add(Severity::Error, place, message.into())
    }

    /// Notes something that loads but deserves a thought.
    pub fn warn(&mut self, place: &Place, message: impl Into<String>) -> &mut Mistake {
        self.add(Severity::Warning, place, message.into())
    }

    fn add(&mut self, severity: Severity, place: &Place, message: String) -> &mut Mistake {
        self.0.push(Mistake { severity, place: place.clone(), message, help: None });
        self.0.last_mut().expect("one was pushed")
    }

    /// A mistake about a file that could not even be read.
    pub fn unreadable(path: &str, why: impl fmt::Display) -> Self {
        let mut mistakes = Self::default();
        mistakes.error(&Place::whole(&Source::new(path, "")), format!("cannot read the file: {why}"));
        mistakes
    }

    /// Takes in what another reader found.
    pub fn extend(&mut self, other: Mistakes) {
        self.0.extend(other.0);
    }

    /// Adds one that was made elsewhere.
    pub fn push(&mut self, mistake: Mistake) {
        self.0.push(mistake);
    }

    /// Whether any of them stops the load.
    pub fn fatal(&self) -> bool {
        self.0.iter().any(|mistake| mistake.severity == Severity::Error)
    }

    /// How many stop the load.
    pub fn errors(&self) -> usize {
        self.0.iter().filter(|mistake| mistake.severity == Severity::Error).count()
    }

    /// Whether there are none at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In the order they stand in their files.
    pub fn iter(&self) -> std::slice::Iter<'_, Mistake> {
        self.0.iter()
    }

    /// Sorts by file and place, and drops repeats.
    pub fn sorted(mut self) -> Self {
        self.0.sort_by(|a, b| {
            let key =
                |m: &Mistake| (m.place.source().name().to_owned(), m.place.span().start, m.message.clone());
            key(a).cmp(&key(b))
        });
        self.0.dedup();
        self
    }

    /// The value if nothing stops the load, else the mistakes.
    pub fn unless_fatal<T>(self, value: Option<T>) -> Result<(T, Mistakes), Mistakes> {
        match value {
            Some(value) if !self.fatal() => Ok((value, self)),
            _ => Err(self.sorted()),
        }
    }

    /// As text for a person: `file:line:column`, a snippet, the mistake, the cure.
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let mut out = String::new();
        for mistake in self.0.iter().take(SHOWN_MAX) {
            let _ = writeln!(out, "{}\n", mistake.render(&renderer));
        }
        if self.0.len() > SHOWN_MAX {
            let _ = writeln!(out, "… and {} more", self.0.len() - SHOWN_MAX);
        }
        out
    }
}

impl Mistake {
    /// Adds the cure.
    pub fn help(&mut self, help: impl Into<String>) -> &mut Self {
        self.help = Some(help.into());
        self
    }

    /// Adds the cure if there is one to offer.
    pub fn maybe_help(&mut self, help: Option<String>) -> &mut Self {
        self.help = help.or(self.help.take());
        self
    }

    fn render(&self, renderer: &Renderer) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let source: &Arc<Source> = self.place.source();
        let snippet = Snippet::source(source.text())
            .path(source.name())
            .annotation(AnnotationKind::Primary.span(self.place.span()));
        let mut group = level.primary_title(self.message.as_str()).element(snippet);
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        renderer.render(&[group])
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, mistake) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str("; ")?;
            }
            mistake.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_place_snippet_and_cure() {
        let source = Source::new("pointsman.yaml", "version: 1\nmod: act\n");
        let mut mistakes = Mistakes::default();
        mistakes.error(&Place::new(&source, 11..14), "unknown key `mod`").help("did you mean `mode`?");
        let text = mistakes.render(false);
        assert!(text.contains("pointsman.yaml:2:1"), "{text}");
        assert!(text.contains("mod: act"), "{text}");
        assert!(text.contains("did you mean `mode`?"), "{text}");
    }
}
