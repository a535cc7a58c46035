//! `portcullis audit`: checks the audit log, and shows what is in it. Works on the files alone; the
//! daemon may run and go on writing.

use std::borrow::Cow;
use std::collections::HashSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use audit::line::{Facts, Point, Seal};
use audit::verify::{Report, verify};
use audit::{AuditPlace, Lines, Names, Next, SharedKeys, list};
use clap::{ArgGroup, Args, Subcommand};
use model::subject::Subject;
use model::time::UnixMicros;
use secrecy::SecretString;
use serde_json::{Map, Value};
use system::{Stamps, wall_clock};

use super::api::{Api, ApiError};
use super::erase::body;
use super::{Client, Failure};
use crate::config::Config;
use crate::wire::Pseudonym;

const VERIFY_HELP: &str = "\
What it finds: any line that was changed, is missing, stands twice or in another place, by file:line \
and number. What was cut off at the end together with the head file it can find only if it is told \
a head that was kept elsewhere: `portcullis status` shows one, and the daemon logs one every hour.

Exit codes: 0 the log is whole; 1 it is not; 64 a file or an argument cannot be used.

Example:
  portcullis audit verify --directory /var/lib/portcullis/audit \\
      --key-file /etc/portcullis/audit.key";
const SHOW_HELP: &str = "\
A user is found through the mapping of pseudonyms: the running daemon is asked for it (--api), or \
with --store the file of a daemon that does not run is read. Lines are not checked: use `verify`.";

#[derive(Args, Debug)]
pub(super) struct Audit {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Check that no line was changed, removed, repeated or moved
    #[command(after_help = VERIFY_HELP)]
    Verify(Verify),
    /// Show lines of the audit log
    #[command(after_help = SHOW_HELP)]
    Show(Show),
}

/// Where the log is.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct Place {
    /// The directory of the audit log
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// The daemon's configuration, which names the directory and the key
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Args, Debug)]
struct Verify {
    #[command(flatten)]
    place: Place,
    /// The file with the key that the log is sealed with; a newline at its end is not part of it
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    key_file: Option<PathBuf>,
    /// A line that has to be there, as a status or the daemon's log showed it once
    #[arg(long, value_name = "SEQ:HASH", value_parser = point)]
    expect_head: Option<Point>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
#[command(group = ArgGroup::new("about").multiple(false))]
struct Show {
    #[command(flatten)]
    place: Place,
    /// Not before this time (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<UnixMicros>,
    /// Before this time (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Option<UnixMicros>,
    /// Only lines about this user
    #[arg(long, value_name = "USER", group = "about")]
    user: Option<String>,
    /// Only lines about this session
    #[arg(long, value_name = "SESSION", group = "about")]
    session: Option<String>,
    /// The daemon's store.directory, to read the pseudonyms of a daemon that does not run
    #[arg(long, value_name = "DIR", requires = "about")]
    store: Option<PathBuf>,
    /// Only lines about this event
    #[arg(long, value_name = "ID")]
    event_id: Option<String>,
    /// Only lines of this kind, such as event, push, call
    #[arg(long)]
    kind: Option<String>,
    #[command(flatten)]
    client: Client,
}

fn point(text: &str) -> Result<Point, &'static str> {
    Point::parse(text).ok_or("must be a line's number, a colon, and 64 hexadecimal digits")
}

fn time(text: &str) -> Result<UnixMicros, &'static str> {
    UnixMicros::parse_rfc3339(text).ok_or("must be an RFC 3339 time such as 2026-12-24T18:00:00Z")
}

pub(super) fn run(audit: Audit) -> Result<bool, Failure> {
    match audit.command {
        AuditCommand::Verify(verify) => self::verify_log(&verify),
        AuditCommand::Show(show) => self::show(&show),
    }
}

impl Place {
    /// The directory, and the key if the configuration names one.
    fn find(&self) -> Result<AuditPlace, Failure> {
        match (&self.directory, &self.config) {
            (Some(directory), _) => Ok(AuditPlace { directory: directory.clone(), key: None }),
            (None, Some(config)) => Ok(Config::audit_of(config)?),
            (None, None) => Err(Failure::Usage("--directory or --config is required".into())),
        }
    }
}

fn verify_log(args: &Verify) -> Result<bool, Failure> {
    let AuditPlace { directory, key } = args.place.find()?;
    let from_file = args.key_file.as_deref().map(key_of).transpose()?;
    let seal = Seal::new(from_file.or(key).as_ref());
    let cannot = |cause| Failure::Input(directory.display().to_string(), cause);
    let report = verify(&directory, &seal, args.expect_head).map_err(cannot)?;
    let mut out = io::stdout();
    if args.json {
        writeln!(out, "{}", as_json(&report))?;
    } else {
        out.write_all(in_words(&report).as_bytes())?;
    }
    Ok(report.finding.is_none())
}

pub(super) fn key_of(path: &Path) -> Result<SecretString, Failure> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|cause| Failure::Input(path.display().to_string(), cause))?;
    Ok(text.trim_end_matches(['\r', '\n']).into())
}

fn as_json(report: &Report) -> Value {
    let finding = report.finding.as_ref().map(|finding| {
        serde_json::json!({
            "place": finding.place.to_string(),
            "seq": finding.seq,
            "fault": finding.fault.to_string(),
            "detail": finding.detail,
        })
    });
    serde_json::json!({
        "intact": report.finding.is_none(),
        "finding": finding,
        "lines": report.lines,
        "files": report.files,
        "first": report.first,
        "head": report.last.map(|last| last.to_string()),
        "lost": report.lost,
        "torn": report.torn,
        "incomplete": report.incomplete,
    })
}

fn in_words(report: &Report) -> String {
    let mut text = String::new();
    let mut say = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    match &report.finding {
        Some(finding) => say(finding.to_string()),
        None => say(format!("intact: {} lines in {} files", report.lines, report.files)),
    }
    if let (Some(first), Some(last)) = (report.first, report.last) {
        say(format!("lines   {first} to {}", last.seq));
        say(format!("head    {last}"));
    }
    if report.lost > 0 {
        say(format!("note    {} entries were lost, and lines say so", report.lost));
    }
    if report.torn > 0 {
        say(format!("note    {} times a crash tore the last line, and lines say so", report.torn));
    }
    if report.incomplete {
        say("note    the last line is incomplete: being written, or torn by a crash".to_owned());
    }
    text
}

/// What lines have to be like to be shown.
struct Filter<'a> {
    args: &'a Show,
    whom: Whom,
    /// The events about them that have been seen.
    events: HashSet<String>,
}

fn show(args: &Show) -> Result<bool, Failure> {
    let AuditPlace { directory, .. } = args.place.find()?;
    let whom = whom(args)?;
    if matches!(whom, Whom::Nobody) {
        writeln!(io::stderr(), "portcullis: no line can be found: nobody of this id is known")?;
        return Ok(true);
    }
    let mut filter = Filter { args, whom, events: HashSet::new() };
    let cannot = |cause| Failure::Input(directory.display().to_string(), cause);
    let mut unreadable = 0_u64;
    let mut out = io::BufWriter::new(io::stdout().lock());
    for file in list(&directory).map_err(cannot)? {
        let mut lines = match Lines::of(directory.join(&file.name)) {
            // Past its retention since the files were listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            lines => lines.map_err(cannot)?,
        };
        loop {
            match lines.read().map_err(cannot)? {
                Next::Line(line) => match filter.shown(line) {
                    Some(Some(text)) => writeln!(out, "{text}")?,
                    Some(None) => {}
                    None => unreadable = unreadable.saturating_add(1),
                },
                // Being written, if it is the last line of all.
                Next::Rest(_) => {}
                Next::End => break,
            }
        }
    }
    out.flush()?;
    if unreadable > 0 {
        writeln!(io::stderr(), "portcullis: {unreadable} lines cannot be read: verify the log")?;
    }
    Ok(true)
}

/// Whom lines are to be about.
enum Whom {
    /// That is not asked.
    Anybody,
    /// Somebody of whom there can be no line.
    Nobody,
    /// `user` or `session`, and the pseudonyms.
    Somebody(&'static str, Vec<String>),
}

/// What stands for the user or session that is asked for.
fn whom(args: &Show) -> Result<Whom, Failure> {
    let subject = match (&args.user, &args.session) {
        (Some(id), _) => Subject::user(id),
        (None, Some(id)) => Subject::session(id),
        (None, None) => return Ok(Whom::Anybody),
    };
    let subject = subject.ok_or_else(|| Failure::Usage(format!("the id {}", Subject::RULE)))?;
    let found = match &args.store {
        Some(store) => {
            let shared = args.place.config.as_deref().map(shared_of).transpose()?;
            mapped(store, shared.unwrap_or_default(), &subject)?
        }
        None => ask(&args.client, &subject)?,
    };
    Ok(match found.is_empty() {
        true => Whom::Nobody,
        false => Whom::Somebody(subject.kind_name(), found),
    })
}

/// The keys of pseudonyms that a configuration names.
fn shared_of(config: &Path) -> Result<SharedKeys, Failure> {
    let file = Config::evidence_of(config)?.pseudonym_key_file;
    let keys = file.map(|file| SharedKeys::load(&file, &mut Stamps::new())).transpose()?;
    Ok(keys.unwrap_or_default())
}

/// All pseudonyms of somebody, by the mapping of a daemon that does not run.
pub(super) fn mapped(
    store: &Path,
    shared: SharedKeys,
    subject: &Subject,
) -> Result<Vec<String>, Failure> {
    let found = Names::open(store, 1).and_then(|names| {
        names.share(shared);
        names.find_all(subject, wall_clock())
    });
    found.map_err(|error| Failure::Usage(format!("{}: {error}", store.display())))
}

/// All pseudonyms of somebody, by the running daemon.
pub(super) fn ask(client: &Client, subject: &Subject) -> Result<Vec<String>, Failure> {
    let reply = Api::new(client)?.post("/v1/audit/pseudonym", &body(subject))?;
    if reply.status != 200 {
        return Err(ApiError::Foreign(client.api.clone(), reply.status).into());
    }
    let Pseudonym { pseudonym, mut pseudonyms } = reply.read()?;
    // An older daemon says one.
    pseudonyms.extend(pseudonym.filter(|_| pseudonyms.is_empty()));
    Ok(pseudonyms)
}

/// Most events of one user that calls of the API are matched with.
const EVENTS_MAX: usize = 1_000_000;

impl Filter<'_> {
    /// Whether a line is about whom is asked for. A call that brought an event about somebody is
    /// about them too, also where it does not say so itself: lines of the first format never do, and
    /// a replay may be about many.
    fn is_about(&mut self, kind: &str, fields: &Map<String, Value>) -> bool {
        let Whom::Somebody(of, names) = &self.whom else { return true };
        let text = |field: &str| fields.get(field).and_then(Value::as_str);
        if text(of).is_some_and(|whom| names.iter().any(|name| name == whom)) {
            let id = text("event_id").filter(|_| kind == "event");
            if let Some(id) = id.filter(|_| self.events.len() < EVENTS_MAX) {
                self.events.insert(id.to_owned());
            }
            return true;
        }
        let is_of_nobody = text("user").or_else(|| text("session")).is_none();
        let several = fields.get("event_ids").and_then(Value::as_array).into_iter().flatten();
        let mut ids = several.filter_map(Value::as_str).chain(text("event_id"));
        kind == "call" && is_of_nobody && ids.any(|id| self.events.contains(id))
    }

    /// The line as it is to be shown, nothing if it is not; nothing at all if it cannot be read.
    #[expect(clippy::option_option, reason = "left out, and not readable, differ")]
    fn shown(&mut self, line: &[u8]) -> Option<Option<String>> {
        let facts = Facts::of(line)?;
        let at = facts.at()?;
        let fields: Map<String, Value> = serde_json::from_slice(line).ok()?;
        // Looked at always: the event may be older than the call, and of another kind.
        let about = self.is_about(&facts.kind, &fields);
        let args = self.args;
        let in_time = args.from.is_none_or(|from| at >= from) && args.to.is_none_or(|to| at < to);
        let of_kind = args.kind.as_ref().is_none_or(|kind| *kind == facts.kind);
        if !in_time || !of_kind {
            return Some(None);
        }
        let has = |name: &str, value: &str| fields.get(name).is_some_and(|is| is == value);
        let several = |id: &String| {
            let ids = fields.get("event_ids").and_then(Value::as_array);
            ids.is_some_and(|ids| ids.iter().any(|one| one == id))
        };
        let event = args.event_id.as_ref().is_none_or(|id| has("event_id", id) || several(id));
        if !about || !event {
            return Some(None);
        }
        let text = match args.client.json {
            true => String::from_utf8_lossy(line).into_owned(),
            false => in_columns(&facts, &fields),
        };
        Some(Some(text))
    }
}

/// Number, time and kind, then the fields that are left, without what seals the line.
fn in_columns(facts: &Facts<'_>, fields: &Map<String, Value>) -> String {
    let mut text = format!("{:>8} {:<27} {:<7}", facts.seq, facts.time, facts.kind);
    let sealing = ["seq", "time", "kind", "prev", "hash"];
    for (name, value) in fields.iter().filter(|(name, _)| !sealing.contains(&name.as_str())) {
        let value = match value {
            Value::String(value) if value.chars().all(|c| c.is_ascii_graphic()) => {
                Cow::Borrowed(value.as_str())
            }
            value => Cow::Owned(value.to_string()),
        };
        text.push_str(&format!(" {name}={value}"));
    }
    text
}
