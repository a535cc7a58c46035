//! Who polls.

use super::*;
use crate::node::lease::hold;

const MS: u64 = 1_000_000;

#[test]
fn the_first_holds_until_it_stops_renewing() {
    let mut memory = Memory::default();
    assert!(hold(&mut memory, 1, Rank::Worker, 0));
    assert!(!hold(&mut memory, 2, Rank::Worker, 499 * MS));
    assert!(hold(&mut memory, 1, Rank::Worker, 400 * MS), "renewed");
    assert!(!hold(&mut memory, 2, Rank::Worker, 899 * MS));
    assert!(hold(&mut memory, 2, Rank::Worker, 900 * MS), "over at its instant");
    assert!(!hold(&mut memory, 1, Rank::Worker, 900 * MS), "and not taken back");
}

#[test]
fn a_higher_rank_takes_the_lease_at_once() {
    let mut memory = Memory::default();
    assert!(hold(&mut memory, 1, Rank::Worker, 0));
    assert!(hold(&mut memory, 2, Rank::Idle, 1));
    assert!(!hold(&mut memory, 1, Rank::Worker, 2));
    assert!(!hold(&mut memory, 4, Rank::Idle, 2), "an equal one does not");
    assert!(hold(&mut memory, 3, Rank::Singleton, 3));
    assert!(!hold(&mut memory, 2, Rank::Idle, 4));
    assert!(hold(&mut memory, 3, Rank::Worker, 5), "whoever has it keeps it, whatever its rank");
    assert!(hold(&mut memory, 2, Rank::Idle, 6));
}

#[test]
fn of_two_at_once_one_wins() {
    let intruder: Intruder = Box::new(|values| {
        let lease = messages::Lease { holder: 2, rank: 1, expires_at: 500 * MS };
        values.insert(MemoryKey::Lease, (lease.encode_to_vec(), 9));
    });
    let mut memory = Memory { intruder: Some(intruder), ..Memory::default() };
    assert!(!hold(&mut memory, 1, Rank::Worker, 0));
}

#[test]
fn what_is_no_lease_is_taken() {
    let mut memory = Memory::default();
    memory.values.insert(MemoryKey::Lease, (vec![0xff; 3], 1));
    assert!(hold(&mut memory, 1, Rank::Worker, 0));
}

#[test]
fn with_no_chance_to_write_there_is_no_lease() {
    let mut memory = Memory { lose_next: u32::MAX, ..Memory::default() };
    assert!(!hold(&mut memory, 1, Rank::Singleton, 0));
}
