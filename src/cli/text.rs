//! Text for people: columns, times, colour on a terminal only.

use std::io::{IsTerminal as _, Write as _};

use serde::Serialize;

use crate::base::Timestamp;

/// Prints to standard output. A reader that has gone away (`| head`) ends the printing, not the
/// program with a panic.
pub(super) fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Prints a value as JSON.
pub(super) fn print_json(value: &impl Serialize) {
    let text = serde_json::to_string_pretty(value).expect("views have texts for keys");
    print(&format!("{text}\n"));
}

/// Prints to standard error.
pub(super) fn complain(words: &str) {
    if !words.is_empty() {
        let _ = writeln!(std::io::stderr(), "{}", words.trim_end());
    }
}

/// Whether standard output, or standard error, may be coloured.
pub(super) fn colour(error: bool) -> bool {
    let terminal = if error { std::io::stderr().is_terminal() } else { std::io::stdout().is_terminal() };
    terminal && std::env::var_os("NO_COLOR").is_none()
}

/// How a cell is painted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Paint {
    #[default]
    Plain,
    Good,
    Warn,
    Bad,
    Dim,
}

/// A cell of a table.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    text: String,
    paint: Paint,
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), paint: Paint::Plain }
    }
}

pub(super) fn painted(text: impl Into<String>, paint: Paint) -> Cell {
    Cell { text: text.into(), paint }
}

/// Columns under their headings; the last one is not padded.
pub(super) fn table(headings: &[&str], rows: &[Vec<Cell>]) -> String {
    let mut widths: Vec<usize> = headings.iter().map(|heading| heading.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.text.chars().count());
        }
    }
    let colour = colour(false);
    let mut out = String::new();
    let headings: Vec<Cell> = headings.iter().map(|heading| painted(*heading, Paint::Dim)).collect();
    for row in std::iter::once(&headings).chain(rows) {
        let last = row.len().saturating_sub(1);
        for (column, cell) in row.iter().enumerate() {
            let pad = if column == last { 0 } else { widths[column] - cell.text.chars().count() + 2 };
            out.push_str(&paint(&cell.text, cell.paint, colour));
            out.push_str(&" ".repeat(pad));
        }
        out.push('\n');
    }
    out
}

pub(super) fn paint(text: &str, paint: Paint, colour: bool) -> String {
    let code = match paint {
        Paint::Good => "32",
        Paint::Warn => "33",
        Paint::Bad => "31;1",
        Paint::Dim => "2",
        Paint::Plain => "",
    };
    match colour && !code.is_empty() {
        true => format!("\x1b[{code}m{text}\x1b[0m"),
        false => text.to_owned(),
    }
}

/// How long ago something was, in its largest two units.
pub(super) fn ago(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(then).as_secs().max(0).unsigned_abs();
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest}s"),
        (0, 0, _) => format!("{minutes}m{rest}s"),
        (0, _, _) => format!("{hours}h{minutes}m"),
        _ => format!("{days}d{hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [vec!["a".into(), "x".into()], vec!["longer".into(), "y".into()]];
        assert_eq!(table(&["NAME", "WHAT"], &rows), "NAME    WHAT\na       x\nlonger  y\n");
    }

    #[test]
    fn ages_are_short() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let ago = |seconds: i64| ago(Timestamp::from_second(1_000_000 - seconds).unwrap(), now);
        assert_eq!([ago(5), ago(75), ago(3725), ago(90_061), ago(-3)], ["5s", "1m15s", "1h2m", "1d1h", "0s"]);
    }
}
