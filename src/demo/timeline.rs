//! What happened, line by line, as it happens.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use crate::base::Mono;
use crate::decide::Event;
use crate::io::Clock;

/// Prints lines with the time since the beginning.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeline {
    began: Mono,
    colour: bool,
}

/// Who a line is about; it decides the colour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Who {
    World,
    Sample,
    Daemon,
    Bad,
    Good,
    Workflow,
    Client,
}

impl Timeline {
    pub(super) fn begin() -> Self {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { began: Clock.mono(), colour }
    }

    pub(super) fn elapsed(&self) -> Duration {
        Clock.mono().since(self.began)
    }

    /// A line without a time.
    pub(super) fn say(&self, text: &str) {
        // Whoever reads may have gone (`| head`); the story goes on without.
        let _ = writeln!(std::io::stdout(), "{text}");
    }

    /// What is done to the world.
    pub(super) fn act(&self, text: &str) {
        self.line(Who::World, "─────", text);
    }

    /// A line with its time.
    pub(super) fn line(&self, who: Who, what: &str, text: &str) {
        let code = match who {
            Who::World => "1",
            Who::Sample => "2",
            Who::Daemon => "",
            Who::Bad => "31",
            Who::Good => "32",
            Who::Workflow => "35",
            Who::Client => "36",
        };
        let line = format!("{:6.1}s  {what:<9} {text}", self.elapsed().as_secs_f64());
        match self.colour && !code.is_empty() {
            true => self.say(&format!("\x1b[{code}m{line}\x1b[0m")),
            false => self.say(&line),
        }
    }

    /// An event, if it is part of the story.
    pub(super) fn event(&self, event: &Event) {
        match event {
            Event::Verdict { check, to, reason, .. } => {
                self.line(Who::Daemon, "verdict", &format!("{check}: {}: {reason}", to.word()));
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
                        "table {table} is live: {} answers {} ({})",
                        answer.service,
                        regions.join("+"),
                        answer.rule
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
