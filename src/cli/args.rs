//! The command line, as clap reads it.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::base::{Prefix, parse_span};
use crate::sys::Format;

/// A health-sensing global traffic manager.
#[derive(Parser, Debug)]
#[command(name = "pointsman", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Arguments {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done, or the answer is yes · 1 the answer is no: a mistake was found, an \
order was refused, a region is not healthy · 2 wrong usage · 3 the daemon cannot be reached, or a file cannot be read";

const PROBE_EXIT_CODES: &str = "Exit codes: 0 all pass, all clusters have a quorum · 1 one fails · 2 wrong usage · \
3 none fails and one could not be measured, or the configuration cannot be read";

/// What every command takes.
#[derive(Args, Debug, Clone)]
pub struct Common {
    /// The configuration file.
    #[arg(
        short,
        long,
        global = true,
        env = "POINTSMAN_CONFIG",
        default_value = "/etc/pointsman/pointsman.yaml"
    )]
    pub config: PathBuf,
    /// The daemon's control socket; by default the one that the configuration names.
    #[arg(long, global = true, value_name = "SOCKET", env = "POINTSMAN_CONTROL")]
    pub control: Option<PathBuf>,
    /// For people, or for scripts.
    #[arg(short, long, global = true, default_value = "text")]
    pub output: Output,
}

/// For whom output is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For scripts.
    Json,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Runs the daemon.
    Serve {
        /// Where log lines go; `auto`: journald under systemd, text on a terminal, else JSON.
        #[arg(long, default_value = "auto")]
        log: Format,
    },
    /// Reads the configuration, its zones and workflows; prints every mistake, or what it guarantees.
    Check {
        /// The configuration file; by default that of `--config`.
        file: Option<PathBuf>,
        /// Reads the secrets too, as whoever runs this; else it is only looked whether they are
        /// named well.
        #[arg(long)]
        secrets: bool,
    },
    /// Prints what the server answers while every region is healthy, as dig does. Needs no daemon and
    /// opens no socket.
    Query(Query),
    /// Tells what the databases on disk say of addresses. Needs no daemon.
    Geo {
        /// Addresses of clients.
        #[arg(required = true)]
        addresses: Vec<IpAddr>,
    },
    /// Runs checks of the configuration once and shows what they see, phase by phase. Needs no daemon.
    #[command(after_help = PROBE_EXIT_CODES)]
    Probe {
        /// Checks by their names in `status` (eu-west/service/http), all those below a name (eu-west,
        /// eu-west/service), or clusters: then every voter is asked. Of what others tell by themselves
        /// (push) the daemon's word is shown.
        #[arg(required = true, value_name = "CHECK")]
        names: Vec<String>,
    },
    /// Shows regions, clusters, services and workflows as the daemon sees them.
    Status,
    /// Tells which region a name is answered with, and why each other one is not.
    Explain {
        /// A dynamic name.
        name: String,
        /// The client that asks, or the network that a resolver asks for: an address, or
        /// 192.0.2.0/24.
        #[arg(long, value_name = "ADDRESS")]
        client: Option<Prefix>,
    },
    /// Keeps traffic off a region, on it, or holds it out; every word has a reason and an end.
    #[command(subcommand)]
    Region(Region),
    /// Sets what share of a service's traffic each region gets.
    Dial {
        /// The service.
        service: String,
        /// Shares, such as eu-west=100; regions that are left out get none.
        #[arg(required = true, value_parser = share, value_name = "REGION=SHARE")]
        shares: Vec<(String, u32)>,
        #[command(flatten)]
        why: Why,
    },
    /// Switches automation off and on. Off: no workflow starts or goes on; answers still follow health.
    #[command(subcommand)]
    Automation(AutomationCommand),
    /// Checks, starts, shows and steers workflows.
    #[command(subcommand)]
    Workflow(WorkflowCommand),
    /// Makes, shows and rolls the keys of signed zones, on their files; a running daemon follows within
    /// seconds.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Takes the configuration on disk over, as SIGHUP does; prints what is new, or what is wrong.
    Reload {
        /// Only the file of this zone; mistakes in others do not stand against it.
        #[arg(long, value_name = "NAME")]
        zone: Option<String>,
    },
    /// Has the daemon hand over to a new process of the program on disk, without losing a query;
    /// if that one does not come to serve, the daemon that runs goes on.
    Upgrade,
    /// Tells the whole story on this machine, in under a minute.
    Demo {
        /// With etcd and PostgreSQL, if they are installed, instead of stand-ins.
        #[arg(long)]
        real: bool,
        /// Leaves the configuration, the journal and the logs behind.
        #[arg(long)]
        keep: bool,
    },
}

/// Why an order is given, and by whom.
#[derive(Args, Debug, Clone)]
pub struct Why {
    /// Why; it is journaled and shown.
    #[arg(long)]
    pub reason: String,
    /// Who; by default the user who is logged in.
    #[arg(long, env = "POINTSMAN_OWNER")]
    pub owner: Option<String>,
}

#[derive(Args, Debug)]
pub struct Query {
    /// A single zone file, whatever the configuration says.
    #[arg(long, value_name = "FILE")]
    pub zone: Option<PathBuf>,
    /// The zone's apex, if the file does not begin with $ORIGIN or a full SOA name.
    #[arg(long, requires = "zone", value_name = "NAME")]
    pub origin: Option<String>,
    /// The name to ask for.
    pub name: String,
    /// The type to ask for.
    #[arg(default_value = "A")]
    pub qtype: String,
    /// The client that asks.
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS")]
    pub client: IpAddr,
    /// The network that the client asks for (EDNS client subnet), such as 192.0.2.0/24.
    #[arg(long, value_name = "NETWORK", conflicts_with = "no_edns")]
    pub subnet: Option<Prefix>,
    /// Asks for signatures (the DO bit).
    #[arg(long, conflicts_with = "no_edns")]
    pub dnssec: bool,
    /// The largest UDP answer that the client takes.
    #[arg(long, default_value_t = 1232, value_name = "OCTETS", conflicts_with = "no_edns")]
    pub bufsize: u16,
    /// Asks without EDNS.
    #[arg(long)]
    pub no_edns: bool,
    /// Over UDP alone, even if not all fits; by default a truncated answer is asked for again over TCP.
    #[arg(long, conflicts_with = "tcp")]
    pub udp: bool,
    /// Over TCP from the start.
    #[arg(long)]
    pub tcp: bool,
}

#[derive(Subcommand, Debug)]
pub enum Region {
    /// No traffic to the region, although it is healthy.
    Drain(RegionWord),
    /// Traffic to the region, whatever its health.
    Force(RegionWord),
    /// Once the region is out, it stays out.
    Hold(RegionWord),
    /// Takes the word back, and lets the region return where it was held.
    Release {
        /// The region.
        region: String,
        #[command(flatten)]
        why: Why,
    },
}

#[derive(Args, Debug)]
pub struct RegionWord {
    /// The region.
    pub region: String,
    /// For how long, at most 72h.
    #[arg(long, value_parser = parse_span, value_name = "DURATION")]
    pub expires: Duration,
    /// Even if it leaves a service without a fit region.
    #[arg(long)]
    pub even_if_empty: bool,
    #[command(flatten)]
    pub why: Why,
}

#[derive(Subcommand, Debug)]
pub enum AutomationCommand {
    /// Stops workflows from starting and going on.
    Off {
        /// For how long, at most 72h.
        #[arg(long, value_parser = parse_span, value_name = "DURATION")]
        expires: Duration,
        #[command(flatten)]
        why: Why,
    },
    /// Lets them start and go on again.
    On {
        #[command(flatten)]
        why: Why,
    },
}

#[derive(Subcommand, Debug)]
pub enum WorkflowCommand {
    /// Checks workflow files against the configuration, without a daemon.
    Lint {
        /// The files; by default those that the configuration names.
        files: Vec<PathBuf>,
    },
    /// Lists workflows, what would start them, and their executions.
    List,
    /// Shows one execution: its stages, attempts, and what it waits for.
    Show {
        /// The execution.
        execution: String,
    },
    /// Starts a workflow by hand.
    Run {
        /// The workflow.
        workflow: String,
        /// The region to leave.
        #[arg(long, value_name = "REGION")]
        from: String,
        /// The region to move to; by default the other one.
        #[arg(long, value_name = "REGION")]
        to: Option<String>,
        #[command(flatten)]
        why: Why,
    },
    /// Allows what a stage asks.
    Approve(Steered),
    /// Does not allow it; the execution stays paused.
    Decline(Steered),
    /// Starts nothing new until resumed.
    Pause(Steered),
    /// Goes on.
    Resume(Steered),
    /// Ends the execution at the next safe point.
    Cancel(Steered),
    /// Tries a failed stage again.
    Retry(Steered),
    /// Takes a stage as settled without doing it.
    Skip(Steered),
    /// States what became of a stage whose outcome nobody knows.
    Resolve {
        #[command(flatten)]
        steered: Steered,
        /// What became of it.
        #[arg(long = "as", value_name = "OUTCOME")]
        resolution: Resolution,
    },
}

#[derive(Subcommand, Debug)]
pub enum KeysCommand {
    /// Lists the keys of all signed zones.
    List,
    /// Shows a zone's keys, and what each waits for until when.
    Status {
        /// The zone.
        zone: String,
    },
    /// Prints the DS records that the parent should have.
    Ds {
        /// The zone.
        zone: String,
    },
    /// Makes the keys that a zone lacks. With one site the daemon does so itself at its first start.
    Generate {
        /// The zone.
        zone: String,
    },
    /// Takes in keys of BIND or ldns that are in use: their .private and .key files.
    Import {
        /// The zone.
        zone: String,
        /// The files, without an ending or with either.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Makes a successor for a zone's key; caches and the parent permitting, it takes over.
    Roll {
        /// The zone.
        zone: String,
        /// Of which key, where there are two: by default the zone-signing one.
        #[arg(long)]
        role: Option<KeyRole>,
    },
    /// States that all servers of the parent have the DS record of a key.
    DsSeen {
        /// The zone.
        zone: String,
        /// The key's tag.
        tag: u16,
    },
    /// Moves on what is due, where no daemon does: several sites have the same files.
    Advance {
        /// The zone.
        zone: String,
    },
    /// Begins the way back to an unsigned zone: the parent is asked to take its DS away.
    Unsign {
        /// The zone.
        zone: String,
        /// States that no server of the parent has a DS record any more.
        #[arg(long, conflicts_with = "cancel")]
        ds_gone: bool,
        /// The zone stays signed after all.
        #[arg(long)]
        cancel: bool,
    },
}

/// What a key is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum KeyRole {
    /// The parent points at it, and it signs everything.
    Csk,
    /// The parent points at it, and it signs the DNSKEY set.
    Ksk,
    /// It signs everything else.
    Zsk,
}

#[derive(Args, Debug)]
pub struct Steered {
    /// The execution.
    pub execution: String,
    /// One of its stages, where that is meant.
    pub stage: Option<String>,
    #[command(flatten)]
    pub why: Why,
}

/// What became of a stage.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Resolution {
    /// It was applied.
    Applied,
    /// It was not, and cannot still happen.
    NotApplied,
}

fn share(text: &str) -> Result<(String, u32), String> {
    let (region, share) =
        text.split_once('=').ok_or_else(|| format!("`{text}` is not of the form region=share"))?;
    let share = share.parse().map_err(|_| format!("`{share}` is not a whole number"))?;
    Ok((region.to_owned(), share))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        super::Arguments::command().debug_assert();
    }
}
