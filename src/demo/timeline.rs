//! What happened, line by line, as it happens.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use crate::base::Mono;
use crate::decide::Event;
use crate::io::Clock;

/// How wide a line may be.
const COLUMNS: usize = 100;
/// Where the words of a line begin; what does not fit goes below, a little further in.
const INDENT: usize = 19;

/// Prints lines with the time since the beginning.
#[derive(Clone, Copy, Debug)]
pub struct Timeline {
    began: Mono,
    colour: bool,
}

/// Who a line is about; it decides the colour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who {
    World,
    Sample,
    Daemon,
    Bad,
    Good,
    Workflow,
    Client,
}

impl Timeline {
    pub fn begin() -> Self {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { began: Clock.mono(), colour }
    }

    pub fn elapsed(&self) -> Duration {
        Clock.mono().since(self.began)
    }

    /// A line without a time.
    pub fn say(&self, text: &str) {
        // Whoever reads may have gone (`| head`); the story goes on without.
        let _ = writeln!(std::io::stdout(), "{text}");
    }

    /// What is done to the world.
    pub fn act(&self, text: &str) {
        self.line(Who::World, "─────", text);
    }

    /// A line with its time.
    pub fn line(&self, who: Who, what: &str, text: &str) {
        let code = match who {
            Who::World => "1",
            Who::Sample => "2",
            Who::Daemon => "",
            Who::Bad => "31",
            Who::Good => "32",
            Who::Workflow => "35",
            Who::Client => "36",
        };
        let mut head = format!("{:6.1}s  {what:<9} ", self.elapsed().as_secs_f64());
        for part in wrap(text, COLUMNS - INDENT) {
            match self.colour && !code.is_empty() {
                true => self.say(&format!("\x1b[{code}m{head}{part}\x1b[0m")),
                false => self.say(&format!("{head}{part}")),
            }
            head = " ".repeat(INDENT + 2);
        }
    }

    /// An event, if it is part of the story.
    pub fn event(&self, event: &Event) {
        match event {
            Event::Verdict { check, to, reason, .. } => {
                self.line(Who::Daemon, "verdict", &format!("{check}: {}: {reason}", to.word()));
            }
            // Those inside a region show as verdicts.
            Event::Standing { group, to, reason, .. } if !group.contains('/') => {
                self.line(Who::Daemon, "standing", &format!("{group}: {}: {reason}", to.word()));
            }
            Event::Flip { region, from, to, generation, .. } => {
                let who = if to.is_bad() { Who::Bad } else { Who::Good };
                self.line(
                    who,
                    "flip",
                    &format!("{region}: {from} -> {to} (flip {generation} of this region)"),
                );
            }
            Event::Duty { region, to, .. } => {
                self.line(Who::Daemon, "duty", &format!("{region} is {}", to.word()));
            }
            Event::Answers { table, services } => {
                for answer in services {
                    let regions: Vec<_> = answer.regions.iter().map(|(region, _)| region.as_str()).collect();
                    let words = format!(
                        "table {table} is live: {} answers {} ({}), TTL {}",
                        answer.service,
                        regions.join("+"),
                        answer.rule,
                        answer.ttl
                    );
                    self.line(Who::Daemon, "table", &words);
                }
            }
            Event::Trigger { workflow, state, words } if state != "idle" => {
                self.line(Who::Workflow, "workflow", &format!("{workflow}: {state}: {words}"));
            }
            _ => {}
        }
    }
}

/// Breaks a text between words. A word alone may be too long.
fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        // All but the first line lie further in.
        let room = columns - if lines.len() > 1 { 2 } else { 0 };
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrap("as it is", 8), ["as it is"]);
        assert_eq!(wrap("as it is, and more", 9), ["as it is,", "and", "more"]);
        assert_eq!(wrap("unbreakable words", 4), ["unbreakable", "words"]);
        assert_eq!(wrap("", 4), [""]);
    }
}
