//! What is to be written: one change for each event, the newest, and nothing twice.
//!
//! Plain and synchronous. A change stays here until it is on the disk, so a failed commit loses
//! nothing: the next one takes everything again, together with what has come since.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use model::name::EventId;
use model::subject::Subject;

/// Most bytes of changes that wait for the disk, each counted with [`CHANGE_BYTES`] more. Only what
/// is to be forgotten may take more than that.
pub const PENDING_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What a waiting change takes besides the event itself, in bytes.
const CHANGE_BYTES: usize = 256;
/// Most sources with a position.
const POSITIONS_MAX: usize = 16;

/// What tells kept events apart.
pub(super) type Identity = (Subject, EventId);

/// What becomes of one event on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It is kept, as an encoded record.
    Save(Arc<[u8]>),
    /// It is removed.
    Forget,
}

/// Everything that waited at one moment: written as a whole or not at all.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) changes: Vec<(Identity, Change)>,
    pub(super) positions: Vec<(Box<str>, Box<str>)>,
    /// The number of the newest change in it.
    pub(super) upto: u64,
}

/// See the module's description.
#[derive(Debug)]
pub(super) struct Pending {
    changes: HashMap<Identity, (u64, Change)>,
    bytes: usize,
    bytes_max: usize,
    positions: BTreeMap<Box<str>, Box<str>>,
    positions_changed: bool,
    /// Events that are in force and for which there was no room here, each with those that it has
    /// overtaken: until it is kept, they are all that a restart would find.
    unkept: HashMap<Identity, Vec<Identity>>,
    issued: u64,
}

impl Pending {
    pub(super) fn new(bytes_max: usize, positions: BTreeMap<Box<str>, Box<str>>) -> Self {
        Self {
            changes: HashMap::new(),
            bytes: 0,
            bytes_max,
            positions,
            positions_changed: false,
            unkept: HashMap::new(),
            issued: 0,
        }
    }

    /// Its number, if there is room for it. If not, it is remembered that the event is not kept.
    pub(super) fn save(&mut self, identity: Identity, record: Arc<[u8]>) -> Option<u64> {
        let change = Change::Save(record);
        if !self.has_room(&identity, &change) {
            self.leave(identity);
            return None;
        }
        let overtaken = self.unkept.remove(&identity).unwrap_or_default();
        self.put(identity, change);
        overtaken.into_iter().for_each(|gone| self.put(gone, Change::Forget));
        Some(self.issued)
    }

    /// Notes that an event in force is not kept.
    pub(super) fn leave(&mut self, identity: Identity) {
        self.unkept.entry(identity).or_default();
    }

    /// The number of the newest change.
    pub(super) fn issued(&self) -> u64 {
        self.issued
    }

    /// There is always room for that: no more can be forgotten than was kept, and what came back
    /// when that which overtook it is gone as well would have its effect again.
    pub(super) fn forget(&mut self, identity: Identity) {
        for gone in self.kept_for(identity) {
            self.put(gone, Change::Forget);
        }
    }

    /// Forgets an event once the one that has overtaken it is kept, which found no room.
    pub(super) fn forget_once_kept(&mut self, by: &Identity, identity: Identity) {
        let gone = self.kept_for(identity);
        self.unkept.entry(by.clone()).or_default().extend(gone);
    }

    /// What is kept of an event: itself, or what it had overtaken if there was no room for it.
    fn kept_for(&mut self, identity: Identity) -> Vec<Identity> {
        self.unkept.remove(&identity).unwrap_or_else(|| vec![identity])
    }

    fn has_room(&self, identity: &Identity, change: &Change) -> bool {
        let before = self.changes.get(identity).map_or(0, |(_, before)| size_of(before));
        let bytes = self.bytes.saturating_sub(before).saturating_add(size_of(change));
        bytes <= self.bytes_max || size_of(change) <= before
    }

    fn put(&mut self, identity: Identity, change: Change) {
        self.issued = self.issued.saturating_add(1);
        self.bytes = self.bytes.saturating_add(size_of(&change));
        if let Some((_, before)) = self.changes.insert(identity, (self.issued, change)) {
            self.bytes = self.bytes.saturating_sub(size_of(&before));
        }
    }

    /// Up to where a source has been read: everything before is here or on the disk. Ignored while
    /// an event is not kept, so that a restart reads it again.
    pub(super) fn set_position(&mut self, source: &str, position: &str) {
        if !self.unkept.is_empty() || self.positions.get(source).is_some_and(|p| **p == *position) {
            return;
        }
        if self.positions.len() < POSITIONS_MAX || self.positions.contains_key(source) {
            self.positions.insert(source.into(), position.into());
            self.positions_changed = true;
        }
    }

    pub(super) fn position(&self, source: &str) -> Option<&str> {
        self.positions.get(source).map(|position| &**position)
    }

    /// Everything that waits.
    pub(super) fn batch(&self) -> Batch {
        let changes = self.changes.iter();
        Batch {
            changes: changes.map(|(id, (_, change))| (id.clone(), change.clone())).collect(),
            positions: self.positions.iter().map(|(s, p)| (s.clone(), p.clone())).collect(),
            upto: self.issued,
        }
    }

    /// Notes that a batch is on the disk: what has changed since then still waits.
    pub(super) fn written(&mut self, batch: &Batch) {
        for (identity, _) in &batch.changes {
            if self.changes.get(identity).is_some_and(|(number, _)| *number <= batch.upto)
                && let Some((_, change)) = self.changes.remove(identity)
            {
                self.bytes = self.bytes.saturating_sub(size_of(&change));
            }
        }
        let mut written = batch.positions.iter();
        self.positions_changed = self.positions.len() != batch.positions.len()
            || self.positions.iter().any(|now| written.next().is_none_or(|(s, p)| now != (s, p)));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty() && !self.positions_changed
    }

    /// What waits for this event, if something does.
    pub(super) fn change(&self, identity: &Identity) -> Option<&(u64, Change)> {
        self.changes.get(identity)
    }

    pub(super) fn is_unkept(&self, identity: &Identity) -> bool {
        self.unkept.contains_key(identity)
    }

    pub(super) fn len(&self) -> usize {
        self.changes.len()
    }

    pub(super) fn unkept(&self) -> usize {
        self.unkept.len()
    }
}

fn size_of(change: &Change) -> usize {
    let record = match change {
        Change::Save(record) => record.len(),
        Change::Forget => 0,
    };
    record.saturating_add(CHANGE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(event: &str) -> Identity {
        (Subject::user("alice").unwrap(), EventId::parse(event).unwrap())
    }

    fn record() -> Arc<[u8]> {
        vec![0; 100].into()
    }

    fn pending(changes: usize) -> Pending {
        Pending::new(changes * (100 + CHANGE_BYTES), BTreeMap::new())
    }

    #[test]
    fn what_is_not_written_waits_for_the_next_batch() {
        let mut pending = pending(9);
        assert_eq!(pending.save(id("1"), record()), Some(1));
        assert_eq!(pending.save(id("2"), record()), Some(2));
        let failed = pending.batch();
        assert_eq!((failed.changes.len(), failed.upto), (2, 2));
        pending.forget(id("1"));
        let batch = pending.batch();
        assert_eq!((batch.changes.len(), batch.upto), (2, 3));
        assert_eq!(pending.save(id("2"), record()), Some(4));
        pending.written(&batch);
        assert_eq!((pending.len(), pending.change(&id("2")).unwrap().0), (1, 4));
        pending.written(&pending.batch());
        assert!(pending.is_empty() && pending.bytes == 0);
    }

    #[test]
    fn what_finds_no_room_is_named_until_it_is_saved_or_forgotten() {
        let mut pending = pending(2);
        assert!(pending.save(id("1"), record()).is_some());
        assert!(pending.save(id("2"), record()).is_some());
        assert_eq!(pending.save(id("3"), record()), None);
        assert_eq!(pending.save(id("4"), record()), None);
        assert!(pending.is_unkept(&id("3")) && pending.unkept() == 2);
        pending.forget(id("4"));
        assert_eq!(pending.unkept(), 1);
        // Nothing is let go of that waits already, and forgetting it makes room.
        pending.forget(id("1"));
        pending.written(&pending.batch());
        assert!(pending.save(id("3"), record()).is_some());
        assert_eq!(pending.unkept(), 0);
    }

    #[test]
    fn a_position_never_passes_an_event_that_is_not_kept() {
        let mut pending = pending(1);
        pending.set_position("redis", "1-0");
        pending.save(id("1"), record());
        pending.save(id("2"), record());
        pending.set_position("redis", "2-0");
        assert_eq!(pending.position("redis"), Some("1-0"));
        let batch = pending.batch();
        pending.written(&batch);
        assert!(pending.is_empty());
        pending.save(id("2"), record());
        pending.set_position("redis", "2-0");
        assert!(!pending.is_empty() && pending.position("redis") == Some("2-0"));
    }

    #[test]
    fn a_position_alone_is_something_to_write() {
        let mut pending = pending(1);
        pending.set_position("redis", "1-0");
        let batch = pending.batch();
        assert!(!pending.is_empty());
        pending.set_position("redis", "2-0");
        pending.written(&batch);
        assert!(!pending.is_empty(), "a newer one has come meanwhile");
        pending.written(&pending.batch());
        assert!(pending.is_empty());
        pending.set_position("redis", "2-0");
        assert!(pending.is_empty(), "nothing new");
    }
}
