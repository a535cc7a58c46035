//! One event as it is kept on disk: its bytes as published, where they came from, and when.
//!
//! A state can always be made again from the events that are not overtaken yet, and only this crate
//! decides which those are, so what is kept are events and never states. The bytes stay as they
//! came, signature included. This module does not look into them, nor at where records are stored.
//!
//! ```text
//! 0      version, 1
//! 1..5   CRC-32 (IEEE) of everything else, little-endian
//! 5..13  first heard, microseconds since the Unix epoch, little-endian
//! 13     length of the source's name
//! 14..   the source's name, then the event up to the end
//! ```

use std::fmt;

use crc32fast::Hasher;
use model::time::UnixMicros;

use crate::EVENT_BYTES_MAX;

/// The version that is written. It and the checksum have their place in every version.
pub const RECORD_VERSION: u8 = 1;
/// Longest name of a source, in bytes.
pub const SOURCE_BYTES_MAX: usize = 64;
/// Bytes before the source's name.
const HEAD_BYTES: usize = 14;
/// Longest record, in bytes.
pub const RECORD_BYTES_MAX: usize = HEAD_BYTES + SOURCE_BYTES_MAX + EVENT_BYTES_MAX;

/// One kept event; see the module's description. Its `Debug` form does not show the event.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// When it was first heard: when a `zero` empties the buckets, and what a maximum age is
    /// counted from.
    pub first_heard: UnixMicros,
    /// The source that brought it first; at most [`SOURCE_BYTES_MAX`] bytes.
    pub source: Box<str>,
    /// The event as published; at most [`EVENT_BYTES_MAX`] bytes.
    pub event: Box<[u8]>,
}

/// Why bytes are no record, or a record cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// Not as long as its own head says.
    Length,
    /// The checksum is not that of the rest.
    Checksum,
    /// Another version than [`RECORD_VERSION`].
    Version(u8),
    /// The source's name is too long, or not UTF-8.
    Source,
    /// The event is longer than [`EVENT_BYTES_MAX`].
    TooLarge,
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length => f.write_str("the record is cut short"),
            Self::Checksum => f.write_str("the record's checksum is wrong"),
            Self::Version(found) => {
                write!(f, "the record has version {found}: this program knows {RECORD_VERSION}")
            }
            Self::Source => write!(f, "source: must be UTF-8 of at most {SOURCE_BYTES_MAX} bytes"),
            Self::TooLarge => write!(f, "event: must be at most {EVENT_BYTES_MAX} bytes"),
        }
    }
}

impl std::error::Error for RecordError {}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("first_heard", &self.first_heard)
            .field("source", &self.source)
            .field("event_bytes", &self.event.len())
            .finish()
    }
}

impl Record {
    /// The record as bytes: the same ones for equal records.
    ///
    /// # Errors
    /// If the source's name or the event is too long.
    pub fn encode(&self) -> Result<Vec<u8>, RecordError> {
        if self.event.len() > EVENT_BYTES_MAX {
            return Err(RecordError::TooLarge);
        }
        let source_bytes = u8::try_from(self.source.len()).map_err(|_| RecordError::Source)?;
        if self.source.len() > SOURCE_BYTES_MAX {
            return Err(RecordError::Source);
        }
        let mut rest = Vec::with_capacity(HEAD_BYTES + self.source.len() + self.event.len());
        rest.extend(self.first_heard.0.to_le_bytes());
        rest.push(source_bytes);
        rest.extend(self.source.as_bytes());
        rest.extend(&*self.event);
        let mut bytes = vec![RECORD_VERSION];
        bytes.extend(checksum(RECORD_VERSION, &rest).to_le_bytes());
        bytes.append(&mut rest);
        Ok(bytes)
    }

    /// Reads what [`Record::encode`] has written. Takes arbitrary bytes.
    ///
    /// # Errors
    /// If the bytes are not exactly one record of a known version.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let (version, after) = bytes.split_first().ok_or(RecordError::Length)?;
        let (expected, rest) = after.split_first_chunk().ok_or(RecordError::Length)?;
        if checksum(*version, rest) != u32::from_le_bytes(*expected) {
            return Err(RecordError::Checksum);
        }
        if *version != RECORD_VERSION {
            return Err(RecordError::Version(*version));
        }
        let (first_heard, rest) = rest.split_first_chunk().ok_or(RecordError::Length)?;
        let (source_bytes, rest) = rest.split_first().ok_or(RecordError::Length)?;
        let source_bytes = usize::from(*source_bytes);
        let (source, event) = rest.split_at_checked(source_bytes).ok_or(RecordError::Length)?;
        let source = std::str::from_utf8(source).map_err(|_| RecordError::Source)?;
        if source.len() > SOURCE_BYTES_MAX {
            return Err(RecordError::Source);
        }
        if event.len() > EVENT_BYTES_MAX {
            return Err(RecordError::TooLarge);
        }
        let first_heard = UnixMicros(u64::from_le_bytes(*first_heard));
        Ok(Self { first_heard, source: source.into(), event: event.into() })
    }
}

fn checksum(version: u8, rest: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&[version]);
    hasher.update(rest);
    hasher.finalize()
}

#[cfg(test)]
mod tests;
