//! Where log lines go, and in which form.
//!
//! Every line is an event with fields, whichever form it takes: journald keeps the fields under
//! systemd, a terminal gets text, anything else gets JSON, one object per line.

use std::io::IsTerminal;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, fmt};

/// The form of log lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum Format {
    /// Journald under systemd, text on a terminal, else JSON.
    #[default]
    Auto,
    /// To journald, with fields.
    Journald,
    /// One JSON object per line, to standard error.
    Json,
    /// Text for people, to standard error.
    Text,
}

/// Starts logging for the rest of the process. `POINTSMAN_LOG` filters (`debug`,
/// `pointsman::probe=trace`); the default is `info`.
///
/// # Errors
/// journald was asked for and is not there, or logging was started before.
pub fn start(format: Format) -> Result<(), String> {
    let filter = || EnvFilter::try_from_env("POINTSMAN_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let format = match format {
        Format::Auto if std::env::var_os("JOURNAL_STREAM").is_some() => Format::Journald,
        Format::Auto if std::io::stderr().is_terminal() => Format::Text,
        Format::Auto => Format::Json,
        chosen => chosen,
    };
    let layer = match format {
        Format::Journald => {
            let journald = tracing_journald::layer()
                .map_err(|why| format!("cannot reach journald: {why}; try --log json"))?
                .with_field_prefix(Some("POINTSMAN".to_owned()));
            journald.with_filter(filter()).boxed()
        }
        Format::Text => {
            let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            let text = fmt::layer().with_writer(std::io::stderr).with_ansi(colour).with_target(false);
            text.with_filter(filter()).boxed()
        }
        _ => {
            let json = fmt::layer().json().flatten_event(true).with_writer(std::io::stderr);
            json.with_filter(filter()).boxed()
        }
    };
    tracing_subscriber::registry().with(layer).try_init().map_err(|why| format!("logging: {why}"))
}
