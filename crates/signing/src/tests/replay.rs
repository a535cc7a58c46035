//! What was used once is not used again, whoever comes in between.

use std::cell::RefCell;
use std::collections::{HashSet, VecDeque};

use model::hash::{HashKey, SubjectHash};
use model::memory::{Mark, MemoryKey, Mismatch, SharedMemory};
use model::testing::{Memory, Time};
use model::time::Clock as _;
use proptest::prelude::*;

use super::*;
use crate::replay::{ReplayStorage, Since, Use, admit, distrust_before, insert};

const TOLERANCE: Duration = Duration::from_secs(300);
const STORAGE: ReplayStorage =
    ReplayStorage { slabs: 16, slab_bytes_max: 256, tolerance: TOLERANCE };

/// Entries of one partner that fit.
const ROOM: u8 = 9;

fn hash_key() -> HashKey {
    HashKey::new([3; HashKey::BYTES])
}

fn verified(nonce: &str) -> Verified {
    let key = key("k1");
    let profile = Profile::Portcullis;
    let nonce = Some(nonce);
    let request = Unsigned {
        method: METHOD,
        authority: AUTHORITY,
        path: PATH,
        body: BODY,
        timestamp: EPOCH_S,
        nonce,
    };
    let lines = sign(profile, &key.id, &key.secret, &request).unwrap();
    check(profile, &headers(METHOD, PATH, lines), BODY, &set([key])).unwrap()
}

fn hash(byte: u8) -> SubjectHash {
    SubjectHash([byte; SubjectHash::BYTES])
}

fn until(byte: u8, end: i64) -> Use {
    Use { hash: hash(byte), owner: 1, since: Since::Until(at(end)) }
}

#[test]
fn a_request_is_used_once_while_it_could_be_sent_again() {
    let (mut memory, time) = (Memory::default(), Time::default());
    let mut admit = |verified: &Verified, seconds: u64| {
        time.0.set(Duration::from_secs(seconds));
        admit(&mut memory, verified, &hash_key(), STORAGE, &time)
    };
    let first = verified("a");
    assert_eq!((first.remember_for, first.valid_until), (Duration::from_secs(600), Some(at(300))));
    assert_eq!(admit(&first, 0), Ok(()));
    assert_eq!(admit(&first, 0), Err(Failure::Replay));
    assert_eq!(admit(&verified("b"), 300), Ok(()));
    assert_eq!(admit(&verified("c"), 301), Err(Failure::Stale), "its body came slowly");
    let again = Verified { valid_until: Some(at(900)), signed_at: Some(at(600)), ..first };
    assert_eq!(admit(&again, 600), Err(Failure::Replay));
    assert_eq!(admit(&again, 601), Ok(()));
}

#[test]
fn a_slab_full_of_what_counts_takes_no_more() {
    let add = |slab: Option<&[u8]>, byte: u8, end: i64, now: i64| {
        insert(slab, &until(byte, end), at(now), TOLERANCE, 256)
    };
    let mut slab = add(None, 0, 0, 0).unwrap();
    for byte in 1..ROOM {
        slab = add(Some(&slab), byte, i64::from(byte), 0).unwrap();
    }
    assert_eq!(add(Some(&slab), ROOM, 60, 0), Err(Failure::ReplayFull));
    assert_eq!(add(Some(&slab), 3, 60, 0), Err(Failure::Replay), "what is there is still found");
    let later = add(Some(&slab), ROOM, 60, 1).unwrap();
    assert_eq!(later.len(), slab.len(), "the first made room, and no other");
    for byte in 1..=ROOM {
        assert_eq!(add(Some(&later), byte, 60, 1), Err(Failure::Replay), "{byte}");
    }
}

#[test]
fn what_cannot_be_remembered_is_rejected() {
    let add = |slab: &[u8]| insert(Some(slab), &until(1, 1), at(0), TOLERANCE, 256);
    let impossible = [&[2; 9][..], &[0; 16], &[0; 4], &[0xff; 8]].concat();
    for unreadable in [&[2][..], &[1, 0], &[1; 24], &[0], &[2; 8], &[2; 36], &[3; 37], &impossible]
    {
        assert_eq!(add(unreadable), Err(Failure::ReplayFull), "{unreadable:?}");
    }
    assert!(add(&[]).is_ok() && add(&[1]).is_ok() && add(&[2, 0, 0, 0, 0, 0, 0, 0, 0]).is_ok());
    let mut memory = Memory { lose_next: u32::MAX, ..Memory::default() };
    let crowded = admit(&mut memory, &verified("a"), &hash_key(), STORAGE, &Time::default());
    assert_eq!(crowded, Err(Failure::ReplayFull));
}

/// One request: its nonce, when it was signed, and how long after the one before it comes.
#[derive(Clone, Copy, Debug)]
struct Task {
    nonce: u8,
    signed_s: i64,
    after_s: u64,
}

/// A memory at which several workers arrive: before each of its steps, others may take theirs.
#[derive(Default)]
struct World {
    memory: RefCell<Memory>,
    time: Time,
    tasks: RefCell<VecDeque<Task>>,
    script: RefCell<VecDeque<usize>>,
    /// Which nonces were used, by the time of signing.
    used: RefCell<HashSet<(u8, i64)>>,
}

struct Worker<'a>(&'a World);

impl Worker<'_> {
    fn let_others_in(&self) {
        let others = self.0.script.borrow_mut().pop_front().unwrap_or(0);
        (0..others).for_each(|_| self.0.run_next());
    }
}

impl SharedMemory for Worker<'_> {
    fn read(&mut self, key: MemoryKey) -> (Option<Vec<u8>>, Mark) {
        self.let_others_in();
        self.0.memory.borrow_mut().read(key)
    }

    fn write(&mut self, key: MemoryKey, value: &[u8], mark: Mark) -> Result<(), Mismatch> {
        self.let_others_in();
        self.0.memory.borrow_mut().write(key, value, mark)
    }
}

impl World {
    fn run_next(&self) {
        let Some(Task { nonce, signed_s, after_s }) = self.tasks.borrow_mut().pop_front() else {
            return;
        };
        self.time.pass(Duration::from_secs(after_s));
        let valid_until = Some(at(signed_s + 300));
        // The headers have been checked by now.
        if !(at(signed_s - 300)..=at(signed_s + 300)).contains(&self.time.wall()) {
            return;
        }
        let signed_at = Some(at(signed_s));
        let request = Verified { valid_until, signed_at, ..verified(&nonce.to_string()) };
        let storage = ReplayStorage { slabs: 1, ..STORAGE };
        let admitted = admit(&mut Worker(self), &request, &hash_key(), storage, &self.time);
        if admitted.is_ok() {
            assert!(self.used.borrow_mut().insert((nonce, signed_s)), "{nonce} was used twice");
        }
    }
}

#[test]
fn no_race_makes_a_request_usable_twice() {
    let after_s = prop_oneof![6 => Just(0), 2 => 1..5u64, 1 => 290..310u64];
    let task = (0..6u8, 0..5i64, after_s);
    let task =
        task.prop_map(|(nonce, slot, after_s)| Task { nonce, signed_s: slot * 300, after_s });
    let tasks = proptest::collection::vec(task, 1..60);
    let script = proptest::collection::vec(0..4usize, 0..60);
    proptest!(ProptestConfig::with_cases(256), |(tasks in tasks, script in script)| {
        let (tasks, script) = (RefCell::new(tasks.into()), RefCell::new(script.into()));
        let world = World { tasks, script, ..World::default() };
        while !world.tasks.borrow().is_empty() {
            world.run_next();
        }
    });
}

#[test]
fn of_many_that_race_for_one_request_exactly_one_wins() {
    for others in [1usize, 2, 3, 7] {
        let task = Task { nonce: 1, signed_s: 0, after_s: 0 };
        let tasks = RefCell::new(vec![task; 64].into());
        let script = RefCell::new(vec![others; 64].into());
        let world = World { tasks, script, ..World::default() };
        while !world.tasks.borrow().is_empty() {
            world.run_next();
        }
        assert_eq!(world.used.borrow().len(), 1);
    }
}

#[test]
fn what_another_memory_may_know_is_not_used_here() {
    let (mut memory, time) = (Memory::default(), Time::default());
    distrust_before(&mut memory, at(0)).unwrap();
    let mut admit = |verified: &Verified| admit(&mut memory, verified, &hash_key(), STORAGE, &time);
    assert_eq!(admit(&verified("a")), Err(Failure::Stale));
    assert_eq!(admit(&Verified { signed_at: Some(at(1)), ..verified("a") }), Ok(()));
    assert_eq!(admit(&Verified { signed_at: None, ..verified("b") }), Ok(()), "nobody can tell");
}

fn signed(byte: u8, owner: u32, at_s: i64) -> Use {
    Use { hash: hash(byte), owner, since: Since::Signed(at(at_s)) }
}

#[test]
fn a_partner_takes_no_room_of_another() {
    let add = |slab: &[u8], byte: u8, owner: u32| {
        insert(Some(slab), &signed(byte, owner, 0), at(0), TOLERANCE, 256)
    };
    let mut slab = add(&[], 100, 2).unwrap();
    for byte in 0..ROOM {
        slab = add(&slab, byte, 1).unwrap();
    }
    assert_eq!(add(&slab, ROOM, 1), Err(Failure::ReplayFull));
    for byte in 101..100 + ROOM {
        slab = add(&slab, byte, 2).unwrap();
    }
    assert_eq!(add(&slab, 200, 2), Err(Failure::ReplayFull));
    assert_eq!(add(&slab, 0, 2), Err(Failure::Replay), "whoever sends it");
    let less = insert(Some(&slab), &signed(200, 3, 0), at(0), TOLERANCE, 256).unwrap();
    assert_eq!(less.len(), slab.len() + 28, "less room than there was drops nothing");
}

#[test]
fn a_raised_tolerance_makes_nothing_usable_again() {
    let short = Duration::from_secs(10);
    let add = |slab: &[u8], what: &Use, now: i64, tolerance| {
        insert(Some(slab), what, at(now), tolerance, 256)
    };
    let slab = add(&[], &signed(1, 1, 0), 0, short).unwrap();
    let kept = add(&slab, &signed(2, 1, 20), 20, short).unwrap();
    assert_eq!(add(&kept, &signed(1, 1, 0), 20, TOLERANCE), Err(Failure::Replay));
    let forgotten = add(&slab, &signed(2, 1, 21), 21, short).unwrap();
    assert_eq!(add(&forgotten, &signed(1, 1, 0), 21, TOLERANCE), Err(Failure::Stale));
    assert_eq!(
        add(&forgotten, &signed(3, 2, 0), 21, TOLERANCE),
        Err(Failure::Stale),
        "nobody knows"
    );
    assert!(add(&forgotten, &signed(3, 2, 1), 21, TOLERANCE).is_ok(), "signed later than that");
    let untimed = Use { since: Since::Until(at(100)), ..signed(3, 2, 0) };
    assert!(add(&forgotten, &untimed, 21, TOLERANCE).is_ok());
    let claimed = Use { since: Since::Claimed(at(0)), ..signed(1, 1, 0) };
    let slab = add(&[], &claimed, 10, short).unwrap();
    assert_eq!(add(&slab, &claimed, 30, short), Err(Failure::Replay), "used at 10, and 20 s go by");
}

#[test]
fn what_an_older_module_has_written_counts_until_its_end() {
    let mut old = vec![1];
    for byte in 1..=10u8 {
        old.extend_from_slice(&[byte; 16]);
        old.extend_from_slice(&at(10 * i64::from(byte)).0.to_le_bytes());
    }
    let add =
        |slab: &[u8], byte, now| insert(Some(slab), &signed(byte, 1, now), at(now), TOLERANCE, 256);
    assert_eq!(add(&old, 5, 50), Err(Failure::Replay));
    let new = add(&old, 5, 51).unwrap();
    assert_eq!(new.len(), 9 + 28 * 6, "and is nobody's share");
    for byte in 5..=10 {
        assert_eq!(add(&new, byte, 51), Err(Failure::Replay), "{byte}");
    }
}

proptest! {
    /// Beside a list that forgets nothing, with tolerances and clocks that change at any time: what was
    /// used is never used again, and who is in time, and whose clock and tolerance have not changed, is refused
    /// for lack of his own room alone.
    #[test]
    fn nothing_is_used_twice_whatever_the_tolerance(
        steps in prop::collection::vec(
            (0u8..40, 0u32..3, -40i64..40, 0i64..20, prop_oneof![8 => Just(0i64), 1 => -60i64..60]),
            1..150,
        ),
        tolerances in prop::collection::vec(1u64..60, 1..4),
        is_calm: bool,
    ) {
        let mut slab: Option<Vec<u8>> = None;
        let mut used: HashSet<(u8, i64)> = HashSet::new();
        let (mut now, mut owned) = (1_000, vec![0usize; 3]);
        for (number, (byte, owner, skew, pass, step)) in steps.into_iter().enumerate() {
            now += pass + if is_calm { 0 } else { step };
            let which = if is_calm { 0 } else { number / 40 % tolerances.len() };
            let tolerance = Duration::from_secs(tolerances[which]);
            let signed_s = now + skew;
            if skew.unsigned_abs() > tolerances[which] {
                continue;
            }
            // A nonce is signed with one time only, as honest signers do.
            let id = [byte, owner as u8, 0, 0, 0, 0, 0, 0];
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&id);
            bytes[8..].copy_from_slice(&signed_s.to_le_bytes());
            let since = Since::Signed(at(signed_s));
            let what = Use { hash: SubjectHash(bytes), owner: owner + 1, since };
            match insert(slab.as_deref(), &what, at(now), tolerance, 256) {
                Ok(new) => {
                    let mark = (byte * 3 + owner as u8, signed_s);
                    prop_assert!(used.insert(mark), "used twice");
                    owned[owner as usize] += 1;
                    slab = Some(new);
                }
                Err(Failure::Replay) => {
                    prop_assert!(used.contains(&(byte * 3 + owner as u8, signed_s)));
                }
                Err(Failure::ReplayFull) => prop_assert!(owned[owner as usize] >= 9),
                Err(other) => {
                    prop_assert_eq!(other, Failure::Stale);
                    prop_assert!(!is_calm, "a request in time was refused");
                }
            }
        }
    }
}
