//! Finds the lines of the log that are about a user, a session or an event, with what whoever judges them has to know
//! beside: which nodes were there, and what the log says of itself. Streams, in memory that does not grow with the log;
//! the daemon may go on writing.
//!
//! What the lines mean is not decided here, nor whether the log is whole: that is [`super::verify`].

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use serde_json::{Map, Value};

use super::directory::{self, Lines, Next};
use super::line::Seal;

/// Most nodes whose standing is remembered while the log is read.
const NODES_MAX: usize = 4_096;
/// Most lines beside those that are about what is looked for.
const CONTEXT_MAX: usize = 2_048;
/// Most events of one user whose calls are looked for.
const EVENTS_MAX: usize = 100_000;
/// Most pseudonyms that one search looks for.
const NAMES_MAX: usize = 64;
/// Kinds of lines about nodes, and about the log as a whole.
const OF_NODES: &str = "node";
/// What such a line says of a node that polls no more.
const GONE: &str = "gone";
const OF_THE_LOG: [&str; 6] = ["start", "stop", "gap", "torn", "damaged", "clock"];

/// What is looked for.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// `user` or `session`, and a pseudonym: lines about any of them.
    pub names: Vec<(String, String)>,
    /// Lines about this event, and the events about the same user or session.
    pub event_id: Option<String>,
}

/// How much is wanted of it.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Most lines.
    pub lines: usize,
    /// Most bytes of all lines together.
    pub bytes: usize,
}

/// One line that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundLine {
    /// Its number.
    pub seq: u64,
    /// Its bytes, without the line break.
    pub text: String,
    /// Whether its own hash fits.
    pub is_sealed: bool,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The lines, in the order of their numbers.
    pub lines: Vec<FoundLine>,
    /// Lines for which there was no room.
    pub left_out: u64,
    /// Lines that cannot be read.
    pub unreadable: u64,
    /// `user` or `session`, and the pseudonyms that the lines are about.
    pub names: Vec<(String, String)>,
}

/// Looks through the log in a directory, for as long as `goes_on` says.
///
/// # Errors
/// If the directory or a file cannot be read, or `goes_on` says no ([`io::ErrorKind::TimedOut`]).
pub fn search(
    directory: &Path,
    seal: &Seal,
    wanted: &Wanted,
    room: Room,
    goes_on: &dyn Fn() -> bool,
) -> io::Result<Found> {
    let mut names: BTreeSet<_> = wanted.names.iter().take(NAMES_MAX).cloned().collect();
    if let Some(event_id) = &wanted.event_id {
        // Whom it is about is known only from its lines, and some of those about them may stand before.
        each_line(directory, goes_on, |line| {
            let fields = Fields::read(line).filter(|fields| fields.is("event_id", event_id));
            let name = fields.and_then(|fields| fields.name());
            names.extend(name.filter(|_| names.len() < NAMES_MAX));
        })?;
    }
    let mut search = Search::new(seal, names, wanted.event_id.as_deref(), room);
    each_line(directory, goes_on, |line| search.line(line))?;
    Ok(search.finish())
}

fn each_line(
    directory: &Path,
    goes_on: &dyn Fn() -> bool,
    mut then: impl FnMut(&[u8]),
) -> io::Result<()> {
    for file in directory::list(directory)? {
        let mut lines = match Lines::of(directory.join(&file.name)) {
            // Past its retention since the files were listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            lines => lines?,
        };
        loop {
            if !goes_on() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match lines.read()? {
                Next::Line(line) => then(line),
                // Being written, if it is the last line of all.
                Next::Rest(_) => {}
                Next::End => break,
            }
        }
    }
    Ok(())
}

/// One line, read.
struct Fields(Map<String, Value>);

impl Fields {
    fn read(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok().map(Self)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    fn is(&self, name: &str, text: &str) -> bool {
        self.text(name) == Some(text)
    }

    /// Whether it says of a pseudonym that it belongs to nobody.
    fn erases(&self, name: &str) -> bool {
        let several = self.0.get("pseudonyms").and_then(Value::as_array).into_iter().flatten();
        self.is("pseudonym", name) || several.filter_map(Value::as_str).any(|one| one == name)
    }

    /// `user` or `session`, and the pseudonym.
    fn name(&self) -> Option<(String, String)> {
        let of = |kind: &str| Some((kind.to_owned(), self.text(kind)?.to_owned()));
        of("user").or_else(|| of("session"))
    }

    /// Every event that it names.
    fn events(&self) -> impl Iterator<Item = &str> {
        let list = |name: &str| self.0.get(name).and_then(Value::as_array);
        let lists = ["event_ids", "overruled_by", "ended"].map(list);
        let several = lists.into_iter().flatten().flatten();
        self.text("event_id").into_iter().chain(several.filter_map(Value::as_str))
    }
}

struct Search<'a> {
    seal: &'a Seal,
    names: BTreeSet<(String, String)>,
    event_id: Option<&'a str>,
    room: Room,
    found: Found,
    bytes: usize,
    /// The events about whom is looked for.
    events: BTreeSet<String>,
    /// The last line about each node that is there, and about the daemon's start.
    standing: BTreeMap<(String, String), FoundLine>,
    started: Option<FoundLine>,
    /// What has been kept of each node since this run of the daemon began.
    told: BTreeSet<(String, String, String)>,
    context: Vec<FoundLine>,
    /// Whether what is looked for has been found, so that what follows matters.
    follows: bool,
}

impl<'a> Search<'a> {
    fn new(
        seal: &'a Seal,
        names: BTreeSet<(String, String)>,
        event_id: Option<&'a str>,
        room: Room,
    ) -> Self {
        Self {
            seal,
            names,
            event_id,
            room,
            found: Found::default(),
            bytes: 0,
            events: BTreeSet::new(),
            standing: BTreeMap::new(),
            started: None,
            told: BTreeSet::new(),
            context: Vec::new(),
            follows: false,
        }
    }

    fn line(&mut self, line: &[u8]) {
        let read = Fields::read(line);
        let seq = read.as_ref().and_then(|fields| fields.0.get("seq")?.as_u64());
        let Some((fields, seq)) = read.zip(seq) else {
            self.found.unreadable = self.found.unreadable.saturating_add(1);
            return;
        };
        let kind = fields.text("kind").unwrap_or_default();
        let made = || FoundLine {
            seq,
            text: String::from_utf8_lossy(line).into_owned(),
            is_sealed: self.seal.check(line).is_some(),
        };
        if self.is_about(kind, &fields) {
            let line = made();
            self.keep(line, kind == "event");
        } else if kind == OF_NODES {
            self.node(&fields, made());
        } else if OF_THE_LOG.contains(&kind) {
            let line = made();
            if kind == "start" {
                // The nodes of an earlier run begin anew.
                self.standing.clear();
                self.told.clear();
                self.started = Some(line.clone());
            }
            if self.follows {
                self.beside(line);
            }
        }
    }

    /// Whether a line is about what is looked for.
    fn is_about(&mut self, kind: &str, fields: &Fields) -> bool {
        let is_named = fields.name().is_some_and(|name| self.names.contains(&name));
        let is_wanted = |wanted: &str| fields.events().any(|id| id == wanted);
        let is_event = self.event_id.is_some_and(is_wanted);
        if kind == "event"
            && (is_named || is_event)
            && self.events.len() < EVENTS_MAX
            && let Some(id) = fields.text("event_id")
        {
            self.events.insert(id.to_owned());
        }
        // A call that brought an event about somebody is about them too, also where it does not say so itself.
        let is_call = kind == "call" && fields.events().any(|id| self.events.contains(id));
        let is_erasure = kind == "erase" && self.names.iter().any(|(_, name)| fields.erases(name));
        is_named || is_event || is_call || is_erasure
    }

    /// Keeps a line that is about what is looked for; with an event what was there when it came.
    fn keep(&mut self, line: FoundLine, is_event: bool) {
        if is_event {
            self.follows = true;
            let beside = self
                .started
                .take()
                .into_iter()
                .chain(std::mem::take(&mut self.standing).into_values());
            for line in beside.collect::<Vec<_>>() {
                self.beside(line);
            }
        }
        let bytes = self.bytes.saturating_add(line.text.len());
        if self.found.lines.len() >= self.room.lines || bytes > self.room.bytes {
            self.found.left_out = self.found.left_out.saturating_add(1);
            return;
        }
        self.bytes = bytes;
        self.found.lines.push(line);
    }

    /// Of a node that comes later the first line of each sort matters, and not how often it comes back.
    fn node(&mut self, fields: &Fields, line: FoundLine) {
        let text = |name: &str| fields.text(name).unwrap_or_default().to_owned();
        let (node, boot_id, state) = (text("node"), text("boot_id"), text("state"));
        if self.follows {
            let is_full = self.told.len() >= CONTEXT_MAX;
            if state != GONE && (is_full || self.told.insert((node, boot_id, state))) {
                self.beside(line);
            }
            return;
        }
        let key = (node, boot_id);
        if state == GONE {
            self.standing.remove(&key);
        } else if self.standing.len() < NODES_MAX || self.standing.contains_key(&key) {
            self.standing.insert(key, line);
        }
    }

    /// Keeps a line that says what else was so.
    fn beside(&mut self, line: FoundLine) {
        if self.context.len() >= CONTEXT_MAX {
            self.found.left_out = self.found.left_out.saturating_add(1);
        } else {
            self.context.push(line);
        }
    }

    fn finish(mut self) -> Found {
        for line in self.context {
            let bytes = self.bytes.saturating_add(line.text.len());
            if self.found.lines.len() >= self.room.lines || bytes > self.room.bytes {
                self.found.left_out = self.found.left_out.saturating_add(1);
            } else {
                self.bytes = bytes;
                self.found.lines.push(line);
            }
        }
        self.found.lines.sort_by_key(|line| line.seq);
        self.found.names = self.names.into_iter().collect();
        self.found
    }
}
