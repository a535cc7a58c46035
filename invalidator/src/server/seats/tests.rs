//! Who leaves for whom.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// So late that every connection made before may end.
fn late() -> Instant {
    static CALLS: AtomicU32 = AtomicU32::new(1);
    Instant::now() + STRANGERS_TIME * CALLS.fetch_add(1, Ordering::Relaxed)
}

fn is_ended(seat: &Seat) -> bool {
    !seat.place.seats.lock().taken.contains_key(&seat.place.number)
}

fn ended(seats: &[Seat]) -> Vec<usize> {
    (0..seats.len()).filter(|index| is_ended(&seats[*index])).collect()
}

fn sit(all: &Arc<Seats>, owner: Option<(&str, bool)>, count: usize) -> Vec<Seat> {
    let sit = |_| {
        let (seat, _) = all.try_take(late()).unwrap();
        if let Some((name, stays)) = owner {
            seat.place.belongs_to(name, stays);
        }
        seat
    };
    (0..count).map(sit).collect()
}

#[test]
fn a_free_seat_ends_nobody() {
    let all = Seats::new(8);
    let first = sit(&all, None, 8);
    assert!(ended(&first).is_empty());
    drop(first);
    assert!(all.lock().taken.is_empty());
    assert_eq!(all.try_take(late()).unwrap().1, None);
}

#[test]
fn a_stranger_has_some_time_however_many_others_wait() {
    let all = Seats::new(8);
    let now = late();
    let strangers: Vec<_> = (0..8).map(|_| all.try_take(now).unwrap().0).collect();
    let later = all.try_take(now + STRANGERS_TIME / 2).unwrap_err();
    assert_eq!(later, now + STRANGERS_TIME);
    assert!(ended(&strangers).is_empty());
    let (_new, of_stranger) = all.try_take(later).unwrap();
    assert_eq!((ended(&strangers), of_stranger), (vec![0], Some(true)));
    // Nobody waits for a stranger's time if a place is free.
    drop(strangers);
    assert!(all.try_take(now).is_ok());
}

#[test]
fn who_has_more_than_all_strangers_leaves_before_they_have_to_wait() {
    let all = Seats::new(80);
    let known = sit(&all, Some(("greedy", false)), 60);
    let now = late();
    let strangers: Vec<_> = (0..60).map_while(|_| all.try_take(now).ok()).collect();
    // Half each, and from then on strangers wait for each other.
    assert_eq!((ended(&known).len(), strangers.len()), (20, 40));
    assert!(strangers.iter().skip(20).all(|(_, of_stranger)| *of_stranger == Some(false)));
}

#[test]
fn of_many_strangers_the_oldest_leaves_and_no_known_caller() {
    let all = Seats::new(16);
    let known = sit(&all, Some(("risk", false)), 6);
    let strangers = sit(&all, None, 10);
    let (_new, of_stranger) = all.try_take(late()).unwrap();
    assert_eq!(of_stranger, Some(true));
    assert_eq!((ended(&known), ended(&strangers)), (vec![], vec![0]));
}

#[test]
fn who_has_most_connections_leaves_an_idle_one_first() {
    let all = Seats::new(16);
    let few = sit(&all, Some(("few", false)), 2);
    let operator = sit(&all, Some(("ops", true)), 6);
    let many = sit(&all, Some(("many", false)), 8);
    for seat in &many {
        seat.place.is_busy(true);
    }
    many[3].place.is_busy(false);
    let (new, of_stranger) = all.try_take(late()).unwrap();
    assert_eq!(of_stranger, Some(false));
    assert_eq!((ended(&few), ended(&operator), ended(&many)), (vec![], vec![], vec![3]));
    drop(new);
    let _new = sit(&all, Some(("ops", true)), 3);
    assert_eq!((ended(&operator), ended(&many)), (vec![], vec![0, 1, 3]));
}

#[test]
fn among_those_with_one_connection_each_it_is_a_stranger_who_leaves() {
    let all = Seats::new(8);
    let mut known = Vec::new();
    for number in 0..7 {
        known.extend(sit(&all, Some((&format!("edge-{number}"), false)), 1));
    }
    let stranger = sit(&all, None, 1);
    let _new = all.try_take(late()).unwrap();
    assert_eq!((ended(&known), ended(&stranger)), (vec![], vec![0]));
}

#[test]
fn if_all_stay_it_is_the_one_with_most_of_them() {
    let all = Seats::new(4);
    let one = sit(&all, Some(("one", true)), 1);
    let two = sit(&all, Some(("two", true)), 3);
    let _new = all.try_take(late()).unwrap();
    assert_eq!((ended(&one), ended(&two)), (vec![], vec![0]));
}
