//! The command line: one subcommand runs the daemon, the others are clients of its API.

mod api;
mod args;
mod audit;
mod captured;
mod client;
mod dlq;
mod erase;
mod event;
mod event_signing;
mod evidence;
mod exit;
mod fleet;
mod input;
mod keys;
mod show;
mod sign;
mod tls;
mod token;
mod verify;

use std::fs::File;
use std::io::{self, Read, Write};
use std::process::ExitCode;

use clap::Parser;
use model::violation::Violation;
use serde_json::Value;
use serde_json::value::RawValue;
use signing::signer::SignError;
use store::salvage::write_rows;
use thiserror::Error;

use crate::config::Config;
use crate::daemon::{self, DaemonError};
use crate::wire::Published;
use api::{Api, ApiError, Reply};
use args::{Arguments, Command, Publish, Run, Salvage, Target};
use captured::CapturedError;
use client::Client;
use exit::Exit;
use show::Outcome;

/// The problem that another event has the id.
const CONFLICT: &str = "conflict";

/// An event was refused, or is not enforced by every Envoy that was waited for.
const EXIT_REFUSED: u8 = 1;
/// Bad usage or configuration (`EX_USAGE` of sysexits).
const EXIT_USAGE: u8 = 64;
/// What the store kept cannot be read (`EX_DATAERR`).
const EXIT_LOSS: u8 = 65;
/// The daemon cannot be reached, or cannot listen (`EX_UNAVAILABLE`).
const EXIT_UNAVAILABLE: u8 = 69;

/// How to go on without what the store kept.
const REBUILD_HELP: &str = "\
The daemon does not start without what it kept. Put the file back from a backup, or start it once with
  portcullis run --rebuild-store --config FILE
which moves the file aside as state.redb.corrupt-TIME, begins with what can be read of it, and reads everything
from Redis again. Events that came through the API alone and cannot be read have to be published again.";
/// The daemon lets the caller not in, or not do this (`EX_NOPERM`).
const EXIT_DENIED: u8 = 77;

/// What ends a command early.
#[derive(Debug, Error)]
enum Failure {
    #[error("{0}")]
    Config(#[from] Violation),
    #[error("{}", each(.0))]
    Configs(Vec<Violation>),
    #[error("{0}")]
    Daemon(#[from] DaemonError),
    #[error("{0}")]
    Api(#[from] ApiError),
    #[error("cannot read {0}: {1}")]
    Input(String, io::Error),
    #[error("event {0}: not JSON: {1}")]
    NotJson(usize, serde_json::Error),
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Captured(#[from] CapturedError),
    #[error("{0}")]
    Sign(#[from] SignError),
    #[error("{0}")]
    Damaged(#[from] redb::Error),
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
}

/// Each on a line of its own, that can be told from others in a log.
fn each(errors: &[Violation]) -> String {
    let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
    lines.join("\nportcullis: ")
}

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Configs(_) | Self::Input(..) | Self::NotJson(..) => EXIT_USAGE,
            Self::Usage(_) | Self::Captured(_) | Self::Sign(_) => EXIT_USAGE,
            Self::Daemon(error) if error.is_configuration() => EXIT_USAGE,
            Self::Daemon(error) if error.is_loss() => EXIT_LOSS,
            Self::Damaged(_) => EXIT_LOSS,
            Self::Api(error) if error.is_usage() => EXIT_USAGE,
            Self::Api(ApiError::Denied(_)) => EXIT_DENIED,
            Self::Daemon(_) | Self::Api(_) => EXIT_UNAVAILABLE,
            Self::Output(_) => EXIT_REFUSED,
        }
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are not errors; if they cannot be printed there is no one to tell.
            let _ = error.print();
            return if error.use_stderr() { EXIT_USAGE.into() } else { ExitCode::SUCCESS };
        }
    };
    match command(arguments) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            let _ = writeln!(io::stderr(), "portcullis: {failure}");
            if matches!(&failure, Failure::Daemon(error) if error.is_loss()) {
                let _ = writeln!(io::stderr(), "{REBUILD_HELP}");
            }
            failure.exit_code().into()
        }
    }
}

/// What became of the command.
fn command(arguments: Arguments) -> Result<Exit, Failure> {
    let done = match arguments.command {
        Command::Publish(publish) => return self::publish(&publish),
        Command::Block(block) => {
            return send(&block.client, &block.target, &event::block(&block));
        }
        Command::Unblock(unblock) => {
            return send(&unblock.client, &unblock.target, &event::unblock(&unblock));
        }
        Command::Zero(zero) => return send(&zero.client, &zero.target, &event::zero(&zero)),
        Command::Override(change) => {
            return send(&change.client, &change.target, &event::override_limit(&change));
        }
        Command::Evidence(evidence) => return evidence::run(&evidence),
        Command::Run(run) => self::run(&run),
        Command::Status(client) => status(&client),
        Command::Nodes(client) => nodes(&client),
        Command::Audit(audit) => audit::run(audit),
        Command::Erase(erase) => erase::run(&erase),
        Command::Keys(keys) => keys::run(keys),
        Command::Dlq(dlq) => dlq::run(dlq),
        Command::Tokens(tokens) => token::run(&tokens),
        Command::Sign(sign) => sign::run(&sign),
        Command::Verify(verify) => verify::run(verify),
        Command::Salvage(salvage) => self::salvage(&salvage),
    };
    done.map(|done| if done { Exit::Done } else { Exit::Refused })
}

fn run(run: &Run) -> Result<bool, Failure> {
    let (config, written) = Config::load_all(&run.config).map_err(Failure::Configs)?;
    if run.check {
        let broken = daemon::check(config, run.while_running);
        if !broken.is_empty() {
            return Err(Failure::Configs(broken));
        }
        writeln!(io::stdout(), "{}: the configuration is valid", run.config.display())?;
        return Ok(true);
    }
    daemon::run(config, (&run.config, written), run.rebuild_store)?;
    Ok(true)
}

fn salvage(from: &Salvage) -> Result<bool, Failure> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    write_rows(&from.file, from.way, &mut out)?;
    out.flush()?;
    Ok(true)
}

fn status(client: &Client) -> Result<bool, Failure> {
    let reply = Api::new(client)?.status()?;
    let text = if client.json { format!("{}\n", reply.text) } else { show::status(&reply.json) };
    io::stdout().write_all(text.as_bytes())?;
    Ok(reply.status == 200)
}

fn nodes(client: &Client) -> Result<bool, Failure> {
    let reply = Api::new(client)?.fleet()?;
    if reply.status != 200 {
        writeln!(io::stderr(), "{}", show::refused(&reply.problem()))?;
        return Ok(false);
    }
    let text = match client.json {
        true => format!("{}\n", reply.text),
        false => fleet::nodes(&reply.read()?),
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(true)
}

fn send(client: &Client, target: &Target, event: &Value) -> Result<Exit, Failure> {
    let signer = target.signing.signer()?;
    let event = event_signing::signed(signer.as_ref(), event.to_string())?;
    let reply = Api::new(client)?.publish(&event, target.everywhere)?;
    report(client, &reply)
}

/// Publishes each JSON value of the input in order; goes on after one that is refused.
fn publish(publish: &Publish) -> Result<Exit, Failure> {
    let Publish { client, file: name, everywhere, signing, print } = publish;
    let signer = signing.signer()?;
    let cannot = |error| Failure::Input(name.to_owned(), error);
    let input: Box<dyn Read> = if name == "-" {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(name).map_err(cannot)?)
    };
    let api = Api::new(client)?;
    let mut worst = Exit::Done;
    let events = serde_json::Deserializer::from_reader(io::BufReader::new(input));
    for (index, event) in events.into_iter::<Box<RawValue>>().enumerate() {
        let event = event.map_err(|error| match error.io_error_kind() {
            Some(kind) => cannot(kind.into()),
            None => Failure::NotJson(index.saturating_add(1), error),
        })?;
        let event = event_signing::signed(signer.as_ref(), event.get().to_owned())?;
        if *print {
            writeln!(io::stdout(), "{event}")?;
        } else {
            worst = worst.max(report(client, &api.publish(&event, *everywhere)?)?);
        }
    }
    Ok(worst)
}

/// Prints the answer to one event; says whether what it asks for is enforced, or why not.
fn report(client: &Client, reply: &Reply) -> Result<Exit, Failure> {
    let (exit, shown) = match reply.status {
        200 | 202 => {
            let (published, is_settled) = (reply.read::<Published>()?, reply.status == 200);
            let exit = match () {
                () if !is_settled => Exit::Refused,
                () if !published.is_in_effect() => Exit::NotInEffect,
                () if published.has_no_effect() => Exit::NoEffect,
                () => Exit::Done,
            };
            let mut shown = show::outcome(&published, is_settled);
            if let Some(all) = published.fleet.as_ref().filter(|_| published.is_in_effect()) {
                shown.line = format!("{}\n{}", fleet::everywhere(all), shown.line);
            }
            (exit, shown)
        }
        _ => {
            let problem = reply.problem();
            let exit = if problem.is(CONFLICT) { Exit::Conflict } else { Exit::Refused };
            (exit, Outcome { line: show::refused(&problem), warnings: Vec::new() })
        }
    };
    if client.json {
        writeln!(io::stdout(), "{}", reply.text)?;
        return Ok(exit);
    }
    let enforced = exit == Exit::Done;
    let mut out: Box<dyn Write> =
        if enforced { Box::new(io::stdout()) } else { Box::new(io::stderr()) };
    writeln!(out, "{}", shown.line)?;
    for warning in shown.warnings {
        writeln!(io::stderr(), "warning: {warning}")?;
    }
    Ok(exit)
}
