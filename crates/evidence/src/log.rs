//! What one daemon's audit log has about what is asked, and what checking it has found. Also the form in which daemons
//! send it to each other, so every member has a default.

use serde::{Deserialize, Serialize};

/// The lines of one daemon's audit log that matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Log {
    /// The daemon's name.
    pub daemon: String,
    /// Its region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The pseudonyms under which the log has the user or session that is asked about.
    pub pseudonyms: Vec<String>,
    /// What checking the whole log has found; nothing if it could not be checked.
    pub verdict: Option<Verdict>,
    /// Why it could not be read or checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// The lines, in the order of their numbers.
    pub lines: Vec<LogLine>,
    /// Lines that are about it, and were left out for want of room.
    pub left_out: u64,
    /// Lines of the log that could not be read, and may be about it.
    pub unreadable: u64,
    /// Why what another daemon says may be believed: set by whoever asks, never by who answers.
    #[serde(skip_deserializing)]
    pub vouched: Vouched,
}

/// One line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogLine {
    /// Its exact bytes, without the line break.
    pub text: String,
    /// Whether its own hash fits.
    pub is_sealed: bool,
}

/// What checking a whole log has found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Verdict {
    /// Whether nothing is wrong.
    pub intact: bool,
    /// The first thing that is wrong, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finding: Option<String>,
    /// Number of the first line.
    pub first: Option<u64>,
    /// Number of the last line of the chain that holds.
    pub last: Option<u64>,
    /// That line, as `SEQ:HASH`.
    pub head: Option<String>,
    /// Lines that were read.
    pub lines: u64,
    /// Files that they stood in.
    pub files: u64,
    /// Entries of which the log says that they could not be written.
    pub lost: u64,
    /// Whether the last line was incomplete.
    pub incomplete: bool,
    /// What the lines are sealed with: `sha256`, or `hmac-sha256:` and the key's fingerprint.
    pub seal: String,
}

impl Verdict {
    /// Whether a line with this number is in the part of the chain that holds.
    #[must_use]
    pub fn covers(&self, seq: u64) -> bool {
        self.first.is_some_and(|first| first <= seq) && self.last.is_some_and(|last| seq <= last)
    }

    /// Whether the lines are sealed with a key.
    #[must_use]
    pub fn is_keyed(&self) -> bool {
        self.seal.starts_with("hmac-")
    }
}

/// Why what a log says may be believed to come from its daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Vouched {
    /// Its files were read here.
    Files,
    /// The daemon has sent it, with a MAC under the key that all daemons share.
    SharedKey,
    /// It came by Redis, and whoever can write there could have made it.
    #[default]
    Nobody,
}

/// A daemon that has said nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Silent {
    /// Its name; `(all)` where nobody can say who is there.
    pub daemon: String,
    /// Its region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Its Envoys, as it has registered them.
    pub envoys: Vec<String>,
    /// Why, in words.
    pub reason: String,
}
