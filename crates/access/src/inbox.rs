//! A publisher who puts events into an inbox in Redis, and can do nothing else there.

use model::name::Name;

use super::Authority;

/// An inbox: whatever comes out of it is from the one publisher who may write to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inbox {
    /// Its name, which is also the publisher's.
    pub name: Name,
    /// What events from it may do.
    pub authority: Authority,
}
