//! `portcullis dlq`: looks at the daemon's dead letters, and replays them.

use std::fmt::Write as _;
use std::io::{self, Write};

use clap::{Args, Subcommand};
use model::time::UnixMicros;
use serde_json::{Value, json};

use super::Failure;
use super::api::{Api, ApiError, Reply};
use super::client::Client;
use super::show::{refused as refused_in_words, table};
use crate::wire::{Cause, Content, Letter, Page, ReplayOrder, ReplayTry, Replayed, Results};

/// Most letters that are asked for at once.
const PAGE: usize = 500;

const REPLAY_HELP: &str = "\
A replayed event goes through the same rules as every other, except that it may be older than \
events.max_age. A letter that was replayed with success is not replayed again.

Exit codes: 0 every letter was taken in, now or before; 1 one was not, or there is none.

Example:
  portcullis dlq replay --event-id evt-7f3a --operator jane --reason \"key added, ticket 4711\"";

#[derive(Args, Debug)]
pub(super) struct Dlq {
    #[command(subcommand)]
    command: DlqCommand,
}

#[derive(Debug, Subcommand)]
enum DlqCommand {
    /// List dead letters, the oldest first
    List(List),
    /// Show one dead letter, with what was sent: personal data
    Show(Show),
    /// Try to apply dead letters again
    #[command(after_help = REPLAY_HELP)]
    Replay(Replay),
}

#[derive(Args, Debug)]
struct List {
    /// Only those that came at this time (RFC 3339) or later
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<String>,
    /// Only those that came before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Option<String>,
    /// Only those of the event with this id
    #[arg(long, value_name = "ID")]
    event_id: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    #[command(flatten)]
    client: Client,
}

#[derive(Args, Debug)]
struct Show {
    /// The letter's id, as the list shows it
    #[arg(value_name = "LETTER")]
    id: String,
    #[command(flatten)]
    client: Client,
}

#[derive(Args, Debug)]
#[command(group(clap::ArgGroup::new("which").required(true).args(["id", "event_id", "from"])))]
struct Replay {
    /// The letter with this id
    #[arg(long, value_name = "LETTER")]
    id: Option<String>,
    /// Those of the event with this id
    #[arg(long, value_name = "ID")]
    event_id: Option<String>,
    /// Those that came at this time (RFC 3339) or later; needs --to
    #[arg(long, value_name = "TIME", value_parser = time, requires = "to")]
    from: Option<String>,
    /// Those that came before this time; needs --from
    #[arg(long, value_name = "TIME", value_parser = time, requires = "from")]
    to: Option<String>,
    /// Why; kept with the letter
    #[arg(long)]
    reason: String,
    /// Who replays it; kept with the letter
    #[arg(long, value_name = "NAME")]
    operator: String,
    #[command(flatten)]
    client: Client,
}

fn time(text: &str) -> Result<String, &'static str> {
    let rule = "must be an RFC 3339 time such as 2026-12-24T18:00:00Z";
    // In UTC, so that no sign stands in a query.
    UnixMicros::parse_rfc3339(text).map(|at| at.to_string()).ok_or(rule)
}

pub(super) fn run(dlq: Dlq) -> Result<bool, Failure> {
    match dlq.command {
        DlqCommand::List(list) => self::list_letters(&list),
        DlqCommand::Show(show) => self::show(&show),
        DlqCommand::Replay(replay) => self::replay(&replay),
    }
}

/// An answer that is not what was asked for: in words, or as it is.
fn refused(client: &Client, reply: &Reply) -> Result<bool, Failure> {
    if client.json {
        writeln!(io::stdout(), "{}", reply.text)?;
        return Ok(false);
    }
    let problem = reply.problem();
    let line = match (reply.status, &problem.rule) {
        (404, None) => "no such dead letter".to_owned(),
        _ => refused_in_words(&problem),
    };
    writeln!(io::stderr(), "{line}")?;
    Ok(false)
}

fn list_letters(asked: &List) -> Result<bool, Failure> {
    let api = Api::new(&asked.client)?;
    let mut letters = Vec::new();
    let mut after = None::<String>;
    while letters.len() < asked.limit {
        let limit = asked.limit.saturating_sub(letters.len()).min(PAGE).to_string();
        let mut query = vec![("limit", limit.as_str())];
        let parts = [
            ("from", &asked.from),
            ("to", &asked.to),
            ("event_id", &asked.event_id),
            ("after", &after),
        ];
        query.extend(parts.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))));
        let reply = api.dead_letters(&query)?;
        if reply.status != 200 {
            return refused(&asked.client, &reply);
        }
        let page: Page<Value> = reply.read()?;
        letters.extend(page.letters);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let shown = match asked.client.json {
        // As it was answered, with what a newer daemon may say.
        true => format!("{}\n", json!(Page { letters, next: after })),
        false => {
            let known = letters.into_iter().map(serde_json::from_value);
            let known: Result<Vec<_>, _> = known.collect();
            letters_in_words(
                &known.map_err(|_| ApiError::Foreign(asked.client.api.clone(), 200))?,
                after.is_some(),
            )
        }
    };
    io::stdout().write_all(shown.as_bytes())?;
    Ok(true)
}

fn letters_in_words(letters: &[Letter], more: bool) -> String {
    if letters.is_empty() {
        return "no dead letters\n".to_owned();
    }
    let header = ["LETTER", "FIRST", "TIMES", "SOURCE", "CAUSE", "FIELD", "EVENT", "REPLAYED"];
    let rows = letters.iter().map(|letter| {
        let tried = !letter.replays.is_empty();
        [
            letter.id.clone(),
            letter.first_at.clone(),
            letter.count.to_string(),
            letter.source.clone(),
            letter.cause.kind.clone(),
            letter.cause.field.clone(),
            letter.event_id.clone().unwrap_or_else(|| "-".to_owned()),
            if letter.replayed {
                "yes"
            } else if tried {
                "refused"
            } else {
                "no"
            }
            .to_owned(),
        ]
    });
    let mut shown = table(std::iter::once(header.map(str::to_owned)).chain(rows).collect());
    if more {
        shown.push_str("there are more: raise --limit, or narrow it with --from and --to\n");
    }
    shown
}

fn show(asked: &Show) -> Result<bool, Failure> {
    let reply = Api::new(&asked.client)?.dead_letter(&asked.id)?;
    if reply.status != 200 {
        return refused(&asked.client, &reply);
    }
    let shown =
        if asked.client.json { format!("{}\n", reply.text) } else { in_words(&reply.read()?) };
    io::stdout().write_all(shown.as_bytes())?;
    Ok(true)
}

fn in_words(content: &Content) -> String {
    let Content { letter, raw, raw_base64 } = content;
    let mut out = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(out, "{name:<9}{value}");
    };
    line("letter", &letter.id);
    line("source", &letter.source);
    if let Some(inbox) = &letter.inbox {
        line("inbox", inbox);
    }
    let Cause { kind, field, rule } = &letter.cause;
    line("cause", &format!("{kind}: {field}: {rule}"));
    line("event", letter.event_id.as_deref().unwrap_or("-"));
    let (first, last) = (&letter.first_at, &letter.last_at);
    match letter.count {
        1 => line("came", first),
        count => line("came", &format!("{count} times, from {first} to {last}")),
    }
    for ReplayTry { at, operator, reason, result, cause } in &letter.replays {
        let result = match cause {
            Some(Cause { field, rule, .. }) => format!("refused: {field}: {rule}"),
            None => result.clone(),
        };
        line("replayed", &format!("{at} by {operator} ({reason}): {result}"));
    }
    let note = if letter.truncated { ", of which the first 16384:" } else { ":" };
    line("sent", &format!("{} bytes{note}", letter.bytes));
    match raw {
        // Escaped: what somebody sent must not steer a terminal.
        Some(raw) => out.extend(raw.chars().flat_map(escaped)),
        None => out.push_str(&format!("(Base64) {raw_base64}")),
    }
    out.push('\n');
    out
}

fn escaped(c: char) -> Vec<char> {
    if c.is_control() && c != '\n' { c.escape_default().collect() } else { vec![c] }
}

fn replay(asked: &Replay) -> Result<bool, Failure> {
    let Replay { id, event_id, from, to, reason, operator, .. } = asked;
    let order = ReplayOrder {
        id: id.clone(),
        event_id: event_id.clone(),
        from: from.clone(),
        to: to.clone(),
        reason: reason.clone(),
        operator: operator.clone(),
    };
    let reply = Api::new(&asked.client)?.replay(&json!(order).to_string())?;
    if reply.status != 200 {
        return refused(&asked.client, &reply);
    }
    let Results { results } = reply.read()?;
    let shown = if asked.client.json { format!("{}\n", reply.text) } else { outcomes(&results) };
    io::stdout().write_all(shown.as_bytes())?;
    Ok(!results.iter().any(|one| matches!(one.result.as_str(), "refused" | "truncated")))
}

fn outcomes(results: &[Replayed]) -> String {
    let mut out = String::new();
    for Replayed { id, event_id, result, cause } in results {
        let event = event_id.as_deref().unwrap_or("-");
        let words = match (result.as_str(), cause) {
            ("refused", Some(Cause { field, rule, .. })) => {
                format!("refused again: {field}: {rule}")
            }
            ("refused", None) => "refused again".to_owned(),
            ("stale", _) => "changes nothing: a newer event about this subject is known".to_owned(),
            ("duplicate", _) => "known already: this event was taken in before".to_owned(),
            ("already_replayed", _) => "was replayed before".to_owned(),
            ("truncated", _) => "cannot be replayed: only its beginning was kept".to_owned(),
            (other, _) => other.to_owned(),
        };
        let _ = writeln!(out, "{id} (event {event}): {words}");
    }
    out
}
