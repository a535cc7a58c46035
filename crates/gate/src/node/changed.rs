//! Of whom something was heard that may end what they have open: a list in shadow of the slabs, which every worker
//! reads from where it stopped, so that what it has to look at again does not grow with what it has open.
//!
//! The list is a ring of parts. It says too much rather than too little: a subject is in it after its status is in its
//! slab, and a worker that has fallen behind by more than there is room for looks at everything.

use model::hash::SubjectHash;
use model::memory::{Contention, MemoryKey, SharedMemory, Step, update};

/// Subjects in one part.
const PART_SUBJECTS: usize = 128;

/// Parts that there are; the oldest is written over.
const PARTS: u64 = 32;

/// The number of a part, as it stands before its subjects.
const NUMBER_BYTES: usize = 8;

const SUBJECT_BYTES: usize = 16;

/// How far one worker has read: so many subjects have ever been put into the list before that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position(u64);

/// What has come since a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// About these, of whom some may be named twice.
    These(Vec<SubjectHash>),
    /// About more than there is room for.
    Anybody,
}

/// Puts subjects into the list. Their status is in their slabs by now.
pub(super) fn put(
    shared: &mut impl SharedMemory,
    subjects: &[SubjectHash],
) -> Result<(), Contention> {
    let mut left = subjects;
    while !left.is_empty() {
        let number = read_end(shared) / PART_SUBJECTS as u64;
        let (taken, end) = update(shared, key(number), |part| {
            let known = part.and_then(|part| of_number(part, number)).unwrap_or_default();
            let has = known.len() / SUBJECT_BYTES;
            let taken = left.len().min(PART_SUBJECTS.saturating_sub(has));
            let mut part = Vec::with_capacity(NUMBER_BYTES + (has + taken) * SUBJECT_BYTES);
            part.extend_from_slice(&number.to_le_bytes());
            part.extend_from_slice(known);
            left.iter().take(taken).for_each(|subject| part.extend_from_slice(&subject.0));
            let end = number * PART_SUBJECTS as u64 + (has + taken) as u64;
            Step::Write(part, (taken, end))
        })?;
        left = left.get(taken..).unwrap_or_default();
        // Whoever has written more has said so.
        update(shared, MemoryKey::ChangedEnd, |known| {
            let known = known.and_then(number_of).unwrap_or(0);
            if known >= end { Step::Keep(()) } else { Step::Write(end.to_le_bytes().into(), ()) }
        })?;
    }
    Ok(())
}

/// Where the list ends now.
pub fn end(shared: &mut impl SharedMemory) -> Position {
    Position(read_end(shared))
}

/// What has come since a position, which is moved to the end.
pub fn since(shared: &mut impl SharedMemory, position: &mut Position) -> Changed {
    let end = read_end(shared);
    let from = std::mem::replace(position, Position(end)).0;
    let mut subjects = Vec::new();
    let mut at = from;
    while at < end {
        let number = at / PART_SUBJECTS as u64;
        if end.saturating_sub(at) > (PARTS - 1) * PART_SUBJECTS as u64 {
            return Changed::Anybody;
        }
        let (part, _) = shared.read(key(number));
        // Written over meanwhile.
        let Some(known) = part.as_deref().and_then(|part| of_number(part, number)) else {
            return Changed::Anybody;
        };
        let skipped = usize::try_from(at % PART_SUBJECTS as u64).unwrap_or(0) * SUBJECT_BYTES;
        let (new, _) = known.get(skipped..).unwrap_or_default().as_chunks();
        subjects.extend(new.iter().copied().map(SubjectHash));
        at = (number + 1) * PART_SUBJECTS as u64;
    }
    Changed::These(subjects)
}

fn key(number: u64) -> MemoryKey {
    MemoryKey::Changed(u32::try_from(number % PARTS).unwrap_or(0))
}

fn read_end(shared: &mut impl SharedMemory) -> u64 {
    let (end, _) = shared.read(MemoryKey::ChangedEnd);
    end.as_deref().and_then(number_of).unwrap_or(0)
}

fn number_of(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.first_chunk()?))
}

/// The subjects of a part, if it is the one of this number.
fn of_number(part: &[u8], number: u64) -> Option<&[u8]> {
    (number_of(part)? == number).then(|| part.get(NUMBER_BYTES..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use model::testing::Memory;
    use proptest::prelude::*;

    use super::*;

    fn subject(number: u32) -> SubjectHash {
        let mut hash = [0; SUBJECT_BYTES];
        hash[..4].copy_from_slice(&number.to_le_bytes());
        SubjectHash(hash)
    }

    const ROOM: usize = (PARTS as usize - 1) * PART_SUBJECTS;

    proptest! {
        /// Whoever reads from time to time hears of everybody once and in turn, or that it may be anybody.
        #[test]
        fn nobody_is_left_out(steps in prop::collection::vec((0..600_usize, 0..3_usize), 1..60)) {
            let mut shared = Memory::default();
            let mut readers = [(Position::default(), 0_u32); 2];
            let mut put_so_far = 0_u32;
            for (many, who) in steps {
                let new: Vec<_> = (put_so_far..).take(many).map(subject).collect();
                put(&mut shared, &new).unwrap();
                put_so_far += u32::try_from(many).unwrap();
                let Some((position, heard)) = readers.get_mut(who) else { continue };
                let missing: Vec<_> = (*heard..put_so_far).map(subject).collect();
                match since(&mut shared, position) {
                    Changed::These(named) => prop_assert_eq!(named, missing),
                    Changed::Anybody => prop_assert!(missing.len() > ROOM),
                }
                *heard = put_so_far;
                prop_assert_eq!(*position, end(&mut shared));
            }
        }
    }

    #[test]
    fn what_is_damaged_or_written_over_may_be_about_anybody() {
        let mut shared = Memory::default();
        let mut position = Position::default();
        assert_eq!(since(&mut shared, &mut position), Changed::These(Vec::new()));
        put(&mut shared, &[subject(1)]).unwrap();
        let (_, mark) = shared.read(MemoryKey::Changed(0));
        shared.write(MemoryKey::Changed(0), b"x", mark).unwrap();
        assert_eq!(since(&mut shared, &mut position), Changed::Anybody);
        assert_eq!(since(&mut shared, &mut position), Changed::These(Vec::new()), "once");
    }
}
