//! Lists of networks: a text file of lines `prefix label`.
//!
//! ```text
//! # our offices
//! 192.0.2.0/24      berlin
//! 192.0.2.128/25    berlin-lab    # the longest prefix wins
//! 2001:db8::/32     berlin
//! ```

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::facts::Facts;
use super::runs::Runs;
use super::world::{Database, Interned, Layer, Stamp};
use crate::base::{Mistakes, Place, Prefix, Source};

/// Characters of a label.
pub const LABEL_MAX: usize = 63;

/// Reads a list.
///
/// # Errors
/// Every mistake in it. A network that stands twice with the same label is a warning.
pub fn parse_networks(source: &Arc<Source>) -> Result<(Layer, Mistakes), Mistakes> {
    let mut mistakes = Mistakes::default();
    let mut labels: BTreeMap<Prefix, (&str, Place)> = BTreeMap::new();
    for words in lines(source.text()) {
        let place = |word: &str| {
            let at = word.as_ptr() as usize - source.text().as_ptr() as usize;
            Place::new(source, at..at + word.len())
        };
        let (network, label) = match words[..] {
            [network, label] => (network, label),
            [network] => {
                mistakes.error(&place(network), "a label is missing").help("a line is `192.0.2.0/24 label`");
                continue;
            }
            _ => {
                mistakes
                    .error(&place(words[2]), "there is more than a network and a label")
                    .help("a line is `192.0.2.0/24 label`; a label has no spaces, a comment begins with #");
                continue;
            }
        };
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_./:".contains(c);
        if label.len() > LABEL_MAX || !label.chars().all(fits) {
            mistakes
                .error(&place(label), format!("`{label}` is not a label"))
                .help(format!("up to {LABEL_MAX} ASCII letters, digits and -_./:"));
            continue;
        }
        let prefix: Prefix = match network.parse() {
            Ok(prefix) => prefix,
            Err(why) => {
                mistakes.error(&place(network), format!("{why}"));
                continue;
            }
        };
        match labels.get(&prefix) {
            None => drop(labels.insert(prefix, (label, place(network)))),
            Some((other, first)) if *other == label => {
                mistakes.warn(&place(network), format!("{prefix} stands at {first} already"));
            }
            Some((other, first)) => {
                mistakes
                    .error(
                        &place(network),
                        format!("{prefix} is `{other}` at {first}, and cannot be `{label}` too"),
                    )
                    .help("one list gives a network one label; another list may give it another");
            }
        }
    }
    if labels.is_empty() && !mistakes.fatal() {
        mistakes.warn(&Place::whole(source), "the list has no networks");
    }
    let layer = layer(source.name(), &labels);
    mistakes.unless_fatal(Some(layer))
}

/// The words of each line, up to a comment; lines without any are left out.
fn lines(text: &str) -> impl Iterator<Item = Vec<&str>> {
    let words = text.lines().map(|line| line.split('#').next().unwrap_or_default().split_whitespace());
    words.map(Iterator::collect).filter(|words: &Vec<_>| !words.is_empty())
}

/// In the order of [`Prefix`] wide networks stand before the narrow ones inside them.
fn layer(file: &str, labels: &BTreeMap<Prefix, (&str, Place)>) -> Layer {
    let mut known = Interned::default();
    known.number(Facts::default());
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for (prefix, (label, _)) in labels {
        let facts = known.number(Facts { networks: vec![(*label).into()], ..Facts::default() });
        match (prefix.first(), prefix.last()) {
            (IpAddr::V4(first), IpAddr::V4(last)) => v4.push((first.to_bits(), last.to_bits(), facts)),
            (IpAddr::V6(first), IpAddr::V6(last)) => v6.push((first.to_bits(), last.to_bits(), facts)),
            _ => unreachable!("both ends of a network are of one family"),
        }
    }
    Layer {
        database: Database {
            file: file.to_owned(),
            kind: "networks".to_owned(),
            built: None,
            networks: labels.len(),
            stamp: Stamp::default(),
        },
        facts: known.facts,
        v4: Runs::nest(v4.into_iter()),
        v6: Runs::nest(v6.into_iter()),
    }
}
