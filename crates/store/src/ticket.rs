//! Places in the order of changes.

/// A place in the order of changes: durable once everything up to it is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub(super) u64);

impl Ticket {
    /// Of what finds no room in memory to wait for the disk.
    pub(super) const NEVER: Self = Self(u64::MAX);
}
