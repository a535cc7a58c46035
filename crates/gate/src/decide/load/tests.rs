//! The account of one worker: no order of events takes more than there is, or keeps what was given back.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::testing::{base, config};

const MIB: usize = 1024 * 1024;
const SECOND: u64 = 1_000_000_000;

/// Two integrations of the same size, and one that holds nothing.
fn bounded(held: Value) -> Load {
    let mut value = base();
    value["integrations"] = json!([
        {"name": "a", "match": [{"path": {"prefix": "/a"}}], "body_bytes_max": 100},
        {"name": "b", "match": [{"path": {"prefix": "/b"}}], "body_bytes_max": 100},
        {"name": "c", "match": [{"path": {"prefix": "/c"}}]},
    ]);
    value["held"] = held;
    Load::new(&config(&value))
}

fn small() -> Load {
    bounded(json!({"requests_max": 8, "bytes_max": 800,
                   "address_requests_max": 3, "address_bytes_max": 200}))
}

fn from(address: u8) -> SubjectHash {
    SubjectHash([address; 16])
}

#[test]
fn an_address_has_its_part_and_gets_it_back() {
    let load = small();
    let held: Vec<_> = (0..3).map(|_| load.hold(0, from(1), None, true).unwrap()).collect();
    assert_eq!(load.hold(1, from(1), None, true).unwrap_err(), LoadRefusal::AddressFull);
    assert!(load.hold(0, from(2), None, true).is_ok());
    drop(held);
    assert_eq!(load.held(), (0, 0));
    let mut hold = load.hold(0, from(1), None, true).unwrap();
    assert_eq!(hold.grow(200), Ok(()));
    assert_eq!(hold.grow(1), Err(LoadRefusal::AddressFull));
    assert_eq!(load.hold(0, from(1), Some(1), true).unwrap_err(), LoadRefusal::AddressFull);
    assert_eq!(load.held(), (1, 200));
    drop(hold);
    assert_eq!(load.held(), (0, 0));
    assert!(load.hold(2, from(1), None, false).is_err(), "it has nothing to hold");
}

#[test]
fn one_integration_cannot_take_what_another_needs() {
    let load = small();
    let mut taken = Vec::new();
    for address in 1..=4 {
        taken.push(load.hold(0, from(address), None, true).unwrap());
    }
    assert_eq!(load.hold(0, from(5), None, true).unwrap_err(), LoadRefusal::IntegrationFull);
    let mut other = load.hold(1, from(5), Some(100), true).unwrap();
    taken.iter_mut().for_each(|hold| assert_eq!(hold.grow(100), Ok(())));
    assert_eq!(taken[0].grow(1), Err(LoadRefusal::IntegrationFull));
    assert_eq!(other.grow(100), Ok(()));
}

#[test]
fn what_is_hashed_in_vain_is_paid_for_by_its_address_alone() {
    let load = bounded(json!({}));
    let start = 100_000 * SECOND;
    load.tick(start);
    let in_vain = |address, bytes| {
        let mut hold = load.hold(0, from(address), None, true)?;
        hold.charge();
        hold.hashed(bytes);
        Ok::<_, LoadRefusal>(())
    };
    for _ in 0..31 {
        in_vain(1, MIB).unwrap();
    }
    // The last one may begin before everything is spent.
    in_vain(1, MIB).unwrap();
    let refused = in_vain(1, MIB).unwrap_err();
    assert!(matches!(refused, LoadRefusal::Unverified(wait) if wait < Duration::from_secs(1)));
    assert_eq!(in_vain(2, MIB), Ok(()), "another address");
    assert!(load.hold(0, from(1), None, false).is_ok(), "what is not signed is not hashed");
    load.tick(start + SECOND);
    assert_eq!(in_vain(1, 0), Ok(()));
    // However much is owed, nobody waits for longer than a bucket takes to fill.
    load.tick(start + 20 * SECOND);
    in_vain(1, 1_000 * MIB).unwrap();
    assert_eq!(in_vain(1, 0), Err(LoadRefusal::Unverified(Duration::from_nanos(8 * SECOND + 1))));
}

#[test]
fn what_was_verified_or_had_no_room_costs_nothing() {
    let load = small();
    for _ in 0..100 {
        let mut good = load.hold(0, from(1), None, true).unwrap();
        good.charge();
        good.hashed(MIB);
        good.verified();
    }
    for _ in 0..100 {
        let fillers: Vec<_> = (2..6)
            .map(|address| {
                let mut hold = load.hold(0, from(address), None, true).unwrap();
                if address > 2 {
                    hold.grow(130).unwrap();
                }
                hold
            })
            .collect();
        drop(fillers);
        let mut others = [3, 4].map(|address| load.hold(0, from(address), None, true).unwrap());
        others.iter_mut().for_each(|hold| hold.grow(200).unwrap());
        let mut crowded = load.hold(0, from(1), None, true).unwrap();
        crowded.charge();
        crowded.hashed(MIB);
        assert_eq!(crowded.grow(1), Err(LoadRefusal::IntegrationFull));
    }
    assert!(load.hold(0, from(1), None, true).is_ok());
}

proptest! {
    /// Whatever is taken and given back, nobody has more than their share, and in the end all is free.
    #[test]
    fn no_order_takes_more_than_there_is(
        steps in prop::collection::vec((0..3_u8, 0..2_usize, 0..6_u8, 0..150_usize), 0..200)
    ) {
        let load = small();
        let mut held: Vec<Hold> = Vec::new();
        for (step, integration, address, bytes) in steps {
            match step {
                0 => held.extend(load.hold(integration, from(address), Some(bytes), true).ok()),
                1 => {
                    let at = bytes % held.len().max(1);
                    let _ = held.get_mut(at).map(|hold| hold.grow(bytes));
                }
                _ if held.is_empty() => {}
                _ => drop(held.remove(bytes % held.len())),
            }
            for one in 0..2 {
                let mine = held.iter().filter(|hold| hold.integration == one);
                prop_assert!(mine.clone().count() <= 4);
                prop_assert!(mine.map(|hold| hold.bytes).sum::<usize>() <= 400);
            }
            for one in 0..6 {
                let mine = held.iter().filter(|hold| hold.address == from(one));
                prop_assert!(mine.clone().count() <= 3);
                prop_assert!(mine.map(|hold| hold.bytes).sum::<usize>() <= 200);
            }
            let sum = held.iter().map(|hold| hold.bytes).sum();
            prop_assert_eq!(load.held(), (held.len(), sum));
        }
        drop(held);
        prop_assert_eq!(load.held(), (0, 0));
        prop_assert!(load.0.borrow().addresses.is_empty());
    }
}
