//! Many of the same are one letter with their number, and nothing is uncounted.

use super::*;

fn start(directory: &tempfile::TempDir, pace: throttle::Pace) -> (DeadLetters, DeadLetterMetrics) {
    let metrics = DeadLetterMetrics::default();
    let bounds = Bounds { pace, ..bounds(10_000) };
    (DeadLetters::start(directory.path(), bounds, metrics.clone()).unwrap(), metrics)
}

fn all(letters: &DeadLetters) -> Vec<Letter> {
    assert!(letters.flush(Duration::from_secs(20)));
    let letters = letters.list(&Filter::default(), 10_000).unwrap();
    letters.into_iter().map(|(_, letter)| letter).collect()
}

#[test]
fn a_flood_of_garbage_is_some_letters_and_one_with_the_number_of_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let (letters, _) = start(&directory, throttle::Pace { burst: 5, per_minute: 1 });
    let now = wall_clock().0;
    for number in 0..5_000_u64 {
        let text = format!("rubbish {number}");
        letters.keep(refused("malformed", Proof::NotAsked, &text, now + number));
    }
    letters.keep(refused("bad_signature", Proof::None, "forged", now));
    letters.keep(refused("unknown_key", Proof::None, "good", now));
    let found = all(&letters);
    let of = |kind: &str| found.iter().filter(|letter| letter.cause.kind == kind).count();
    // A flood that goes on over the second in which the writer looks is still one letter.
    assert_eq!((of("malformed"), of("bad_signature"), of("unknown_key")), (6, 1, 1));
    let folded: Vec<_> = found.iter().filter(|letter| letter.folded).collect();
    let [many] = &folded[..] else { panic!("{folded:?}") };
    assert_eq!((many.count, many.first_at, many.last_at), (4_995, now + 5, now + 4_999));
    assert_eq!(many.raw(), b"rubbish 5");
    assert_eq!(found.iter().map(|letter| letter.count).sum::<u64>(), 5_002);
    assert!(found.iter().any(|letter| letter.raw() == b"good" && !letter.folded));
    drop(letters);
    let (again, _) = start(&directory, throttle::Pace { burst: 1, per_minute: 1 });
    again.keep(refused("malformed", Proof::NotAsked, "one", now + 5_000));
    again.keep(refused("malformed", Proof::NotAsked, "more", now + 6_000));
    let found = all(&again);
    let many = found.iter().find(|letter| letter.folded).unwrap();
    assert_eq!((many.count, many.last_at), (4_996, now + 6_000));
}

#[test]
fn no_class_takes_the_places_of_another_behind_a_disk_that_hangs() {
    let directory = tempfile::tempdir().unwrap();
    // A file that cannot be used: everything waits.
    let path = directory.path().join(FILE_NAME);
    std::fs::write(&path, "no database").unwrap();
    let (letters, _) = start(&directory, throttle::Pace { burst: 10_000, per_minute: 600_000 });
    let now = wall_clock().0;
    for number in 0..5_000_u64 {
        let text = format!("rubbish {number}");
        letters.keep(refused("malformed", Proof::NotAsked, &text, now));
    }
    for number in 0..5_000_u64 {
        let text = format!("passing {number}");
        letters.keep(refused("unknown_key", Proof::None, &text, now));
    }
    for number in 0..300_u64 {
        let text = format!("good {number}");
        letters.keep(refused("unknown_key", Proof::Signed, &text, now));
    }
    std::fs::remove_file(&path).unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !letters.flush(Duration::from_millis(200)) {
        assert!(std::time::Instant::now() < deadline, "waited in vain for the letters");
    }
    let found = all(&letters);
    let alone =
        |class| found.iter().filter(|letter| letter.class() == class && !letter.folded).count();
    assert_eq!(alone(Class::Proven), 300);
    assert!(alone(Class::Passing) >= 384 && alone(Class::Garbage) >= 64);
    assert_eq!(found.iter().map(|letter| letter.count).sum::<u64>(), 10_300);
}
