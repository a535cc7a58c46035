//! The arguments of each subcommand, as the help texts show them.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use model::time::{DURATION_RULE, UnixMicros, parse_duration};
use store::salvage;

use super::audit::Audit;
use super::client::Client;
use super::dlq::Dlq;
use super::erase::Erase;
use super::event_signing::Signing;
use super::evidence::Evidence;
use super::input::id;
use super::keys::Keys;
use super::sign::Sign;
use super::token::Tokens;
use super::verify::Verify;

const SIGN_HELP: &str = "\
Example:
  portcullis sign --profile portcullis --key-id acme-1 --secret-file acme.secret \\
      --url https://api.example/orders --body-file order.json";
const VERIFY_HELP: &str = "\
The request file holds the request line, the headers, an empty line, and the body as it was sent.
Whether the request was used before cannot be told from it.

Exit codes: 0 accepted; 1 refused; 64 a file or an argument cannot be used.

Example:
  portcullis verify --profile portcullis --request-file captured.http \\
      --keys-file /etc/portcullis/keys.toml --at 2026-11-22T12:00:00Z";

/// Cut a user off at once: the Portcullis invalidator and its command line.
#[derive(Debug, Parser)]
#[command(
    name = "portcullis",
    version,
    after_help = "Exit codes: 0 done; 1 refused, stale, or not enforced in time by every Envoy that was waited for; \
                  64 wrong usage or configuration; \
                  69 the daemon cannot be reached or cannot listen; \
                  77 the daemon does not know the caller, or its role does not allow it."
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the daemon
    Run(Run),
    /// Reject a user's requests (403) until the block expires or is lifted
    #[command(after_help = super::exit::HELP)]
    Block(Block),
    /// Lift a user's blocks and zero
    #[command(after_help = super::exit::HELP)]
    Unblock(Unblock),
    /// Empty a user's buckets: 429 until they refill, or until a given time
    #[command(after_help = super::exit::HELP)]
    Zero(Zero),
    /// Give a user a limit of their own, or the configured one back
    #[command(after_help = super::exit::HELP)]
    Override(Override),
    /// Publish events: one JSON value, or several one after the other
    #[command(after_help = super::exit::HELP)]
    Publish(Publish),
    /// Show one daemon: its sources, its Envoys and how far behind they are
    Status(Client),
    /// Show the fleet: all daemons on the same Redis, their Envoys, and what each does now
    Nodes(Client),
    /// List, show or replay dead letters: events that could not be applied
    Dlq(Dlq),
    /// Check the audit log, or show what is in it
    Audit(Audit),
    /// Write what audit logs prove about a user or an event, and what not
    #[command(after_help = super::evidence::HELP)]
    Evidence(Evidence),
    /// Make a user a stranger to the audit log, and say what is still known of them
    Erase(Erase),
    /// List or rotate the keys that partners sign requests with
    Keys(Keys),
    /// Make a token for the API
    #[command(name = "token")]
    Tokens(Tokens),
    /// Sign a request as a partner would: prints the headers, and a curl line that sends them
    #[command(after_help = SIGN_HELP)]
    Sign(Sign),
    /// Explain step by step why a captured request is accepted or refused
    #[command(after_help = VERIFY_HELP)]
    Verify(Verify),
    /// Write what can be read of a damaged store to stdout: for `run --rebuild-store`
    #[command(name = salvage::SUBCOMMAND, hide = true)]
    Salvage(Salvage),
}

#[derive(Args, Debug)]
pub(super) struct Run {
    /// The configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    pub(super) config: PathBuf,
    /// Only check whether a daemon could run with this configuration, here and as this user, and say
    /// all that is in the way
    #[arg(long)]
    pub(super) check: bool,
    /// Check for a restart: what a running daemon has, its addresses and its locks, does not count
    #[arg(long, requires = "check")]
    pub(super) while_running: bool,
    /// If the store is damaged or gone: move it aside, start with what can be read of it, and
    /// read everything from Redis again
    #[arg(long, conflicts_with = "check")]
    pub(super) rebuild_store: bool,
}

#[derive(Args, Debug)]
pub(super) struct Salvage {
    /// A copy of the store's file, which may be written to
    #[arg(long, value_name = "FILE")]
    pub(super) file: PathBuf,
    /// How to read it
    #[arg(long, value_parser = way)]
    pub(super) way: salvage::Way,
}

fn way(name: &str) -> Result<salvage::Way, &'static str> {
    let known = salvage::Way::ALL.into_iter().find(|way| way.name() == name);
    known.ok_or("must be forwards, backwards or repaired")
}

/// Whom an event is about, and how it is named.
#[derive(Args, Debug)]
pub(super) struct Target {
    /// The user's id
    #[arg(value_name = "USER", value_parser = id)]
    pub(super) id: String,
    /// USER is the id of a session
    #[arg(long)]
    pub(super) session: bool,
    /// The event's id, to repeat a command without repeating its effect [default: a new one]
    #[arg(long, value_name = "ID")]
    pub(super) event_id: Option<String>,
    /// Who publishes the event: keys may be for certain publishers only
    #[arg(long, value_name = "NAME")]
    pub(super) publisher: Option<String>,
    /// Wait for the Envoys of every daemon on the same Redis, and say which do not enforce it [default: for those of
    /// the daemon that is called]
    #[arg(long)]
    pub(super) everywhere: bool,
    #[command(flatten)]
    pub(super) signing: Signing,
}

/// How long an effect lasts; until it is lifted when neither is given.
#[derive(Args, Debug)]
pub(super) struct Expiry {
    /// For how long, such as 30m, 24h or 7d
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub(super) span: Option<String>,
    /// Until when (RFC 3339), such as 2026-12-24T18:00:00Z
    #[arg(long, value_name = "TIME", value_parser = timestamp, conflicts_with = "span")]
    pub(super) until: Option<String>,
}

#[derive(Args, Debug)]
pub(super) struct Block {
    #[command(flatten)]
    pub(super) target: Target,
    /// Why, such as cooling_off; blocks with different reasons stand side by side
    #[arg(long)]
    pub(super) reason: Option<String>,
    /// Only these route groups [default: every route]
    #[arg(long, value_name = "GROUP,..", value_delimiter = ',')]
    pub(super) scope: Vec<String>,
    #[command(flatten)]
    pub(super) expiry: Expiry,
    /// Let the client see the reason
    #[arg(long, requires = "reason")]
    pub(super) disclose: bool,
    #[command(flatten)]
    pub(super) client: Client,
}

#[derive(Args, Debug)]
pub(super) struct Unblock {
    #[command(flatten)]
    pub(super) target: Target,
    /// Lift only the block with this reason [default: every block and the zero]
    #[arg(long)]
    pub(super) reason: Option<String>,
    #[command(flatten)]
    pub(super) client: Client,
}

#[derive(Args, Debug)]
pub(super) struct Zero {
    #[command(flatten)]
    pub(super) target: Target,
    /// Only these route groups [default: every route]
    #[arg(long, value_name = "GROUP,..", value_delimiter = ',')]
    pub(super) scope: Vec<String>,
    #[command(flatten)]
    pub(super) expiry: Expiry,
    #[command(flatten)]
    pub(super) client: Client,
}

#[derive(Args, Debug)]
pub(super) struct Override {
    #[command(flatten)]
    pub(super) target: Target,
    /// Name of the limit
    #[arg(long)]
    pub(super) limit: String,
    /// Size of the bucket
    #[arg(long, value_name = "N", required_unless_present = "default")]
    pub(super) max_tokens: Option<u32>,
    /// Tokens added per interval [default: the size of the bucket]
    #[arg(long, value_name = "N", requires = "max_tokens")]
    pub(super) tokens_per_fill: Option<u32>,
    /// The interval
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "60s")]
    pub(super) fill_interval: String,
    /// Back to the configured limit
    #[arg(long, conflicts_with_all = ["max_tokens", "tokens_per_fill", "fill_interval"])]
    pub(super) default: bool,
    #[command(flatten)]
    pub(super) expiry: Expiry,
    #[command(flatten)]
    pub(super) client: Client,
}

#[derive(Args, Debug)]
pub(super) struct Publish {
    /// A file of events, or - for standard input
    #[arg(value_name = "FILE|-")]
    pub(super) file: String,
    /// Wait for the Envoys of every daemon on the same Redis, and say which do not enforce it [default: for those of
    /// the daemon that is called]
    #[arg(long, conflicts_with = "print")]
    pub(super) everywhere: bool,
    #[command(flatten)]
    pub(super) signing: Signing,
    /// Print each event on a line of its own instead, to be published elsewhere
    #[arg(long)]
    pub(super) print: bool,
    #[command(flatten)]
    pub(super) client: Client,
}

fn duration(text: &str) -> Result<String, &'static str> {
    parse_duration(text).map(|_| text.to_owned()).ok_or(DURATION_RULE)
}

fn timestamp(text: &str) -> Result<String, &'static str> {
    let rule = "must be an RFC 3339 time such as 2026-12-24T18:00:00Z";
    UnixMicros::parse_rfc3339(text).map(|_| text.to_owned()).ok_or(rule)
}
