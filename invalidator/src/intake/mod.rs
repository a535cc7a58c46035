//! From bytes to a checked event: where they come from, and which rules hold there.
//!
//! Plain and synchronous. What an event means is decided in `policy`; taking it in, counting and
//! logging it is for [`crate::shared`].

mod origin;

pub use origin::{Origin, Path};
