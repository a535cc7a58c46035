//! What daemons on one Redis know of each other, and how one of them finds out whether the Envoys of all of them
//! enforce an event: the *fence*. Plain and synchronous: no clock, no connection. Times are arguments, and the ages
//! of registrations are by Redis's clock alone.
//!
//! How it is carried over Redis is in [`crate::source`]; whether an Envoy enforces an event, in [`engine`].

mod members;
mod message;
mod tally;

#[cfg(test)]
mod tests;

pub use members::{
    DAEMONS_MAX, Members, REMEMBERED_FOR, RENEWED_EVERY, RENEWED_EVERY_MAX, RENEWED_OFTEN_MAX,
    Remembered, last_word, registration, remembered, renewed_every,
};
pub use message::{
    ASKS_MAX, Answer, Ask, FENCE_BYTES_MAX, Fence, LASTS_MAX, REPLY_BYTES_MAX, Reply, Said,
    SaidNode, SaidState, mac_text,
};
pub use tally::{COUNTS_FOR, Heard, Tally};

/// How a daemon is called among others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Called {
    /// `fleet.name`, or the host's name.
    pub name: String,
    /// `fleet.region`.
    pub region: Option<String>,
}
