//! Invalidations as publishers write them: JSON in, a checked [`Event`] out.
//!
//! The format is documented in `docs/event.schema.json`. Whatever is known must be right, so that a
//! typing mistake is refused rather than half applied; what is not known is told by [`Unknown`], and
//! judged elsewhere. Whether an event is new is decided in [`model::state`].

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
