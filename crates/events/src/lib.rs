//! Invalidations as publishers write them: JSON or protobuf in, a checked [`Event`] out.
//!
//! **For**: the format that `docs/event.schema.json` documents, its signature ([`signature`]), and its form on the
//! disk ([`record`]). Whatever is known must be right, so that a typing mistake is refused rather than half
//! applied; what is not known is reported by [`Unknown`], and judged elsewhere.
//!
//! **Not for**: whether an event is new, or wins against another, which is decided in [`model::state`]; and
//! whether its publisher may send it, which is decided in the daemon.
//!
//! **Begin with** [`Event`] and [`Document`]: a document is the JSON as it came, an event what it says.
//! [`protobuf`] turns the binary form into the same JSON, so that there is one set of rules.

mod document;
mod error;
mod event;
pub mod protobuf;
mod raw;
pub mod record;
pub mod signature;
mod unknown;

pub use document::{Document, EVENT_BYTES_MAX};
pub use error::{EventError, EventErrorKind};
pub use event::{CLOCK_AHEAD_MAX, Event, REASON_DEFAULT};
pub use raw::{SCHEMA_MAJOR, SCHEMA_MINOR};
pub use unknown::Unknown;
