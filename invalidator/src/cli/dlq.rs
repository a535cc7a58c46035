//! `portcullis dlq`: looks at the daemon's dead letters, and replays them.

use std::fmt::Write as _;
use std::io::{self, Write};

use clap::{Args, Subcommand};
use model::time::UnixMicros;
use serde_json::{Map, Value, json};

use super::Failure;
use super::api::{Api, Reply};
use super::args::Client;
use super::show::{list, number, table, text};

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
    let line = match (reply.status, reply.json.get("rule").and_then(Value::as_str)) {
        (404, None) => "no such dead letter".to_owned(),
        (_, Some(rule)) => format!("refused: {}: {rule}", text(&reply.json, "field")),
        (_, None) => format!("refused: {}", text(&reply.json, "title")),
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
        letters.extend(list(&reply.json, "letters").iter().cloned());
        after = reply.json.get("next").and_then(Value::as_str).map(str::to_owned);
        if after.is_none() {
            break;
        }
    }
    let shown = match asked.client.json {
        true => format!("{}\n", json!({ "letters": letters, "next": after })),
        false => letters_in_words(&letters, after.is_some()),
    };
    io::stdout().write_all(shown.as_bytes())?;
    Ok(true)
}

fn letters_in_words(letters: &[Value], more: bool) -> String {
    if letters.is_empty() {
        return "no dead letters\n".to_owned();
    }
    let header = ["LETTER", "FIRST", "TIMES", "SOURCE", "CAUSE", "FIELD", "EVENT", "REPLAYED"];
    let rows = letters.iter().map(|letter| {
        let replayed = letter.get("replayed") == Some(&Value::Bool(true));
        let tried = !list(letter, "replays").is_empty();
        [
            text(letter, "id").to_owned(),
            text(letter, "first_at").to_owned(),
            number(letter, "count").to_string(),
            text(letter, "source").to_owned(),
            text(letter, "kind").to_owned(),
            text(letter, "field").to_owned(),
            letter.get("event_id").and_then(Value::as_str).unwrap_or("-").to_owned(),
            if replayed {
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
    let shown = if asked.client.json { format!("{}\n", reply.text) } else { in_words(&reply.json) };
    io::stdout().write_all(shown.as_bytes())?;
    Ok(true)
}

fn in_words(letter: &Value) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(out, "{name:<9}{value}");
    };
    line("letter", text(letter, "id"));
    line("source", text(letter, "source"));
    if let Some(inbox) = letter.get("inbox").and_then(Value::as_str) {
        line("inbox", inbox);
    }
    let (kind, field, rule) = (text(letter, "kind"), text(letter, "field"), text(letter, "rule"));
    line("cause", &format!("{kind}: {field}: {rule}"));
    line("event", letter.get("event_id").and_then(Value::as_str).unwrap_or("-"));
    let (first, last) = (text(letter, "first_at"), text(letter, "last_at"));
    match number(letter, "count") {
        1 => line("came", first),
        count => line("came", &format!("{count} times, from {first} to {last}")),
    }
    for replay in list(letter, "replays") {
        let (at, who) = (text(replay, "at"), text(replay, "operator"));
        let why = text(replay, "reason");
        let result = match replay.get("cause").filter(|cause| cause.is_object()) {
            Some(cause) => format!("refused: {}: {}", text(cause, "field"), text(cause, "rule")),
            None => text(replay, "result").to_owned(),
        };
        line("replayed", &format!("{at} by {who} ({why}): {result}"));
    }
    let cut = letter.get("truncated") == Some(&Value::Bool(true));
    let (bytes, note) =
        (number(letter, "bytes"), if cut { ", of which the first 16384:" } else { ":" });
    line("sent", &format!("{bytes} bytes{note}"));
    match letter.get("raw").and_then(Value::as_str) {
        // Escaped: what somebody sent must not steer a terminal.
        Some(raw) => out.extend(raw.chars().flat_map(escaped)),
        None => out.push_str(&format!("(Base64) {}", text(letter, "raw_base64"))),
    }
    out.push('\n');
    out
}

fn escaped(c: char) -> Vec<char> {
    if c.is_control() && c != '\n' { c.escape_default().collect() } else { vec![c] }
}

fn replay(asked: &Replay) -> Result<bool, Failure> {
    let mut order = Map::new();
    let parts = [
        ("id", &asked.id),
        ("event_id", &asked.event_id),
        ("from", &asked.from),
        ("to", &asked.to),
    ];
    for (name, value) in parts {
        if let Some(value) = value {
            order.insert(name.to_owned(), value.as_str().into());
        }
    }
    order.insert("reason".to_owned(), asked.reason.as_str().into());
    order.insert("operator".to_owned(), asked.operator.as_str().into());
    let reply = Api::new(&asked.client)?.replay(&Value::from(order).to_string())?;
    if reply.status != 200 {
        return refused(&asked.client, &reply);
    }
    let results = list(&reply.json, "results");
    let shown = if asked.client.json { format!("{}\n", reply.text) } else { outcomes(results) };
    io::stdout().write_all(shown.as_bytes())?;
    Ok(!results.iter().any(|result| matches!(text(result, "result"), "refused" | "truncated")))
}

fn outcomes(results: &[Value]) -> String {
    let mut out = String::new();
    for result in results {
        let event = result.get("event_id").and_then(Value::as_str).unwrap_or("-");
        let words = match text(result, "result") {
            "refused" => {
                let cause = result.get("cause").unwrap_or(&Value::Null);
                format!("refused again: {}: {}", text(cause, "field"), text(cause, "rule"))
            }
            "stale" => "changes nothing: a newer event about this subject is known".to_owned(),
            "duplicate" => "known already: this event was taken in before".to_owned(),
            "already_replayed" => "was replayed before".to_owned(),
            "truncated" => "cannot be replayed: only its beginning was kept".to_owned(),
            other => other.to_owned(),
        };
        let _ = writeln!(out, "{} (event {event}): {words}", text(result, "id"));
    }
    out
}
