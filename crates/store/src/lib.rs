//! What the daemon knows, on disk: so that a restart, also after a crash or a power cut, can tell
//! every Envoy what is in force before any source has been reached.
//!
//! The store keeps the events that are not overtaken yet, and for ten minutes those that are (`retired`), as they were published. It does not
//! decide which those are: the engine merges, and says which event to keep and which to let go.
//! One thread writes ([`Keeper`] is the handle to it), with a real fsync for each group of changes.
//! Saving never waits: what waits for the disk does so in memory, and stays there until it is
//! written, however long the disk refuses. Enforcement does not depend on any of it.
//!
//! When more waits than [`PENDING_BYTES_MAX`], what comes new is not kept: its publisher is told,
//! the store counts as `behind` and says how many events it lacks, and a source's position stays
//! where it was, so that a restart reads them again. They are saved when they are heard again.
//! Nothing that waits already is given up for them: which block is less worth keeping than another
//! is nothing that a queue can know.
//!
//! Begin with [`open()`], which says what was found, and [`Keeper`].

mod config;
mod inner;
mod keeper;
mod look;
mod mark;
mod meters;
mod names;
mod open;
mod pending;
mod place;
mod retired;
pub mod salvage;
mod table;
mod ticket;
mod witness;
mod writer;

pub use config::{RawStore, Settings, WitnessPlace};
pub use keeper::{Keeper, KeptEvent, StoreStatus};
pub use look::look;
pub use meters::Meters;
pub use ticket::Ticket;

pub use names::{FILE_NAME, MARK_NAME};
pub use open::{Opened, Opening, Start, open};
pub use pending::PENDING_BYTES_MAX;
pub use retired::REPEATED_WITHIN;
pub use witness::Witness;

#[cfg(test)]
mod tests;
