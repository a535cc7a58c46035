//! `portcullis evidence`: a document for an auditor, of what audit logs prove about a user, a session or an event, and what
//! not. Reads this daemon's log by itself, whether the daemon runs or not; the logs of all daemons through one of them.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use audit::line::Seal;
use audit::{AuditPlace, SharedKeys};
use clap::{ArgGroup, Args};
use evidence::Document;
use model::name::EventId;
use model::subject::Subject;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;
use system::{Stamps, wall_clock};

use super::api::{Api, ApiError};
use super::audit::{ask, key_of, mapped};
use super::exit::Exit;
use super::{Client, Failure, show};
use crate::config::Config;
use crate::fence::Called;
use crate::inquiry::{self, Place, Question, ROOM_HERE, made_by};
use crate::wire::{EvidenceOrder, Named};

pub(super) const HELP: &str = "\
Without --fleet the files of one audit log are read, whether its daemon runs or not. With it the daemon at --api \
asks all daemons on the same Redis, which must have the same fleet.pseudonym_key_file; those that do not answer are named.

Exit codes:
  0   the document is written, and all that it says is proven by logs that are whole
  1   the document is written, and it names what is not proven: a log that is not whole, a daemon that did not
      answer, an Envoy without an acknowledgement; or the daemon refused
  2   the document is written, and no line is about the user, the session or the event
  64  wrong usage, or a file cannot be used    69  the daemon cannot be reached    77  not allowed

Example:
  portcullis evidence alice --config /etc/portcullis/portcullis.toml --out alice.json";

/// Mode of the document: it names a person.
const MODE: u32 = 0o600;

#[derive(Args, Debug)]
#[command(group = ArgGroup::new("about").required(true).multiple(false).args(["id", "event_id"]))]
#[command(group = ArgGroup::new("from").required(true).multiple(false).args(["config", "directory", "fleet"]))]
pub(super) struct Evidence {
    /// The user's id
    #[arg(value_name = "USER")]
    id: Option<String>,
    /// USER is the id of a session
    #[arg(long, requires = "id")]
    session: bool,
    /// The id of an event, instead of a user's
    #[arg(long, value_name = "ID")]
    event_id: Option<String>,
    /// Where the document is written; there must be no such file yet. - for standard output
    #[arg(long, value_name = "FILE|-")]
    out: PathBuf,
    /// The daemon's configuration, which names the log, its key, and where the pseudonyms are
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The directory of an audit log
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// The file with the key that the log is sealed with
    #[arg(long, value_name = "FILE", requires = "directory")]
    audit_key_file: Option<PathBuf>,
    /// The daemon's store.directory, to read the pseudonyms of a daemon that does not run
    #[arg(long, value_name = "DIR", requires = "directory")]
    store: Option<PathBuf>,
    /// Ask all daemons on the same Redis
    #[arg(long)]
    fleet: bool,
    /// For how many seconds daemons are waited for, 1 to 30
    #[arg(long, value_name = "SECONDS", requires = "fleet")]
    within: Option<u64>,
    #[command(flatten)]
    client: Client,
}

/// What there is to say of a document at a terminal.
#[derive(Debug, Default, Deserialize)]
struct Told {
    events: Vec<Value>,
    statement: Statement,
}

#[derive(Debug, Default, Deserialize)]
struct Statement {
    proven: Vec<String>,
    not_proven: Vec<String>,
}

pub(super) fn run(args: &Evidence) -> Result<Exit, Failure> {
    let question = question(args)?;
    // Before anything is asked: nobody waits for what cannot be written.
    if args.out.as_os_str() != "-" && args.out.exists() {
        return Err(Failure::Usage(format!("--out: {} exists already", args.out.display())));
    }
    let document = match args.fleet {
        true => match of_fleet(args, &question)? {
            Some(document) => document,
            None => return Ok(Exit::Refused),
        },
        false => of_files(args, &question)?,
    };
    let told: Told = serde_json::from_value(document.clone()).unwrap_or_default();
    write(&args.out, &document)?;
    tell(args, &told)?;
    Ok(match (told.events.is_empty(), told.statement.not_proven.is_empty()) {
        (true, _) => Exit::NothingKnown,
        (false, true) => Exit::Done,
        (false, false) => Exit::Refused,
    })
}

fn question(args: &Evidence) -> Result<Question, Failure> {
    if let Some(id) = &args.event_id {
        let id = EventId::parse(id);
        let broken = || Failure::Usage(format!("--event-id: {}", EventId::RULE));
        return id.map(Question::Event).ok_or_else(broken);
    }
    let id = args.id.as_deref().unwrap_or_default();
    let subject = if args.session { Subject::session(id) } else { Subject::user(id) };
    let broken = || Failure::Usage(format!("the id {}", Subject::RULE));
    subject.map(Question::Subject).ok_or_else(broken)
}

/// What the daemon at hand has put together; nothing if it refuses.
fn of_fleet(args: &Evidence, question: &Question) -> Result<Option<Value>, Failure> {
    let Named { user_id, session_id } = question.subject().map(Named::from).unwrap_or_default();
    let event_id = match question {
        Question::Event(id) => Some(id.to_string()),
        Question::Subject(_) => None,
    };
    let order = EvidenceOrder { user_id, session_id, event_id, fleet: true, within_s: args.within };
    let body = serde_json::json!(order).to_string();
    let reply = Api::new(&args.client)?.post("/v1/evidence", &body)?;
    if reply.status == 200 {
        return Ok(Some(reply.json));
    }
    writeln!(io::stderr(), "portcullis: {}", show::refused(&reply.problem()))?;
    Ok(None)
}

/// One log that is read here, and what is needed to find somebody in it.
struct Here {
    directory: PathBuf,
    key: Option<SecretString>,
    /// The directory of the mapping, where it may be read.
    store: Option<PathBuf>,
    shared: SharedKeys,
    called: Called,
}

fn of_files(args: &Evidence, question: &Question) -> Result<Value, Failure> {
    let here = here(args)?;
    let pseudonyms = match question.subject() {
        Some(subject) => pseudonyms(args, &here, subject)?,
        None => Vec::new(),
    };
    let seal = Seal::new(here.key.as_ref());
    let place = Place { directory: &here.directory, seal: &seal, called: &here.called };
    let log = inquiry::read(place, question, pseudonyms, ROOM_HERE, &|| true);
    if let Some(failure) = log.failure.as_ref().filter(|_| log.verdict.is_none()) {
        return Err(Failure::Usage(format!("{}: {failure}", here.directory.display())));
    }
    let (about, now) = (question.about(), wall_clock());
    let document = Document::of(about, &[log], Vec::new(), now, &made_by());
    serde_json::to_value(&document).map_err(|error| Failure::Output(error.into()))
}

fn here(args: &Evidence) -> Result<Here, Failure> {
    if let Some(config) = &args.config {
        let place = Config::evidence_of(config)?;
        let AuditPlace { directory, key } = place.audit;
        let shared = place.pseudonym_key_file.as_deref();
        let shared = shared.map(|path| SharedKeys::load(path, &mut Stamps::new())).transpose()?;
        let (store, called) = (Some(place.store), place.called);
        return Ok(Here { directory, key, store, shared: shared.unwrap_or_default(), called });
    }
    let directory = args.directory.clone().unwrap_or_default();
    let key = args.audit_key_file.as_deref().map(key_of).transpose()?;
    let called = Called { name: directory.display().to_string(), region: None };
    let (store, shared) = (args.store.clone(), SharedKeys::default());
    Ok(Here { directory, key, store, shared, called })
}

/// The pseudonyms of somebody: of the running daemon, which has the mapping, or of its file if no daemon has it.
fn pseudonyms(args: &Evidence, here: &Here, subject: &Subject) -> Result<Vec<String>, Failure> {
    if let Some(store) = &args.store {
        return mapped(store, here.shared.clone(), subject);
    }
    match (ask(&args.client, subject), &here.store) {
        (Err(Failure::Api(ApiError::Unreachable(..))), Some(store)) => {
            mapped(store, here.shared.clone(), subject)
        }
        (asked, _) => asked,
    }
}

fn write(out: &Path, document: &Value) -> Result<(), Failure> {
    let mut text = serde_json::to_string_pretty(document).map_err(io::Error::from)?;
    text.push('\n');
    if out.as_os_str() == "-" {
        return Ok(io::stdout().write_all(text.as_bytes())?);
    }
    let opened = OpenOptions::new().write(true).create_new(true).mode(MODE).open(out);
    let mut file =
        opened.map_err(|cause| Failure::Usage(format!("--out: {}: {cause}", out.display())))?;
    file.write_all(text.as_bytes())?;
    Ok(file.sync_all()?)
}

/// What is not proven, for whoever has to do something about it; the rest is in the document.
fn tell(args: &Evidence, told: &Told) -> Result<(), Failure> {
    let Statement { proven, not_proven } = &told.statement;
    let mut err = io::stderr();
    let events = show::count(told.events.len(), "event");
    writeln!(err, "{events}; {} proven, {} not", proven.len(), not_proven.len())?;
    for what in not_proven {
        writeln!(err, "NOT PROVEN: {what}")?;
    }
    if args.out.as_os_str() != "-" {
        writeln!(io::stdout(), "{}", args.out.display())?;
    }
    Ok(())
}
