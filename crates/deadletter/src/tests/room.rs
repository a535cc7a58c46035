//! Who makes room: garbage before everything else, and a flood for itself.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const KINDS: [&str; 6] =
    ["malformed", "too_large", "invalid", "bad_signature", "unknown_key", "too_old"];
const PROOFS: [Proof; 3] = [Proof::None, Proof::NotAsked, Proof::Signed];

fn everything(file: &File) -> Vec<(String, Letter)> {
    table::list(&file.database, &Filter::default(), 10_000).unwrap()
}

fn tight() -> Bounds {
    Bounds { letters_max: 12, bytes_max: 8_000, garbage_percent: 34, ..Bounds::default() }
}

fn within(letters: &[(String, Letter)], which: impl Fn(Class) -> bool) -> (usize, usize) {
    let those = letters.iter().filter(|(_, letter)| which(letter.class()));
    let sizes = those.map(|(_, letter)| letter.encode().unwrap().len());
    sizes.fold((0, 0), |(count, bytes), size| (count + 1, bytes + size))
}

fn any_letter() -> impl Strategy<Value = (usize, usize, usize)> {
    (0..KINDS.len(), 0..PROOFS.len(), 1..900usize)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_good_letter_is_never_removed_while_garbage_is_there(
        batches in prop::collection::vec(prop::collection::vec(any_letter(), 1..12), 1..8),
    ) {
        let file = file();
        let mut number = 0;
        for batch in batches {
            let before = everything(&file);
            let fresh: Vec<_> = batch.iter().map(|(kind, proof, size)| {
                number += 1;
                let text = format!("{number} {}", "x".repeat(*size));
                Fresh::new(refused(KINDS[*kind], PROOFS[*proof], &text, number))
            }).collect();
            let written = table::put(&file.database, &fresh, tight(), UnixMicros(number)).unwrap();
            let after = everything(&file);

            let (count, bytes) = within(&after, |_| true);
            prop_assert!(count <= 12 && bytes <= 8_000, "{count} letters, {bytes} bytes");
            let (low, low_bytes) = within(&after, Class::is_low);
            prop_assert!(low <= 4 && low_bytes <= 2_720, "{low} low letters, {low_bytes} bytes");
            prop_assert_eq!(written.stored, u64::try_from(count).unwrap());
            prop_assert_eq!(written.bytes, u64::try_from(bytes).unwrap());

            let kept: BTreeSet<_> = after.iter().map(|(id, _)| id.as_str()).collect();
            let came = fresh.into_iter().map(|fresh| (fresh.id().to_owned(), Letter::from(fresh)));
            let gone: Vec<_> = before.into_iter().chain(came)
                .filter(|(id, _)| !kept.contains(id.as_str())).map(|(_, letter)| letter.class())
                .collect();
            let lowest = after.iter().map(|(_, letter)| letter.class()).min();
            if let Some(highest) = gone.iter().filter(|class| !class.is_low()).max() {
                prop_assert!(lowest.is_none_or(|lowest| lowest >= *highest), "{gone:?}");
            }
            let dropped: u64 = written.dropped.values().sum();
            prop_assert_eq!(dropped, u64::try_from(gone.len()).unwrap());
            let good = gone.iter().filter(|class| !class.is_low()).count();
            prop_assert_eq!(written.good_dropped, u64::try_from(good).unwrap());
        }
    }
}

#[test]
fn a_flood_of_one_cause_makes_room_for_itself() {
    let file = file();
    let put = |kind: &str, proof, number: u64| {
        let text = format!("{kind} {number}");
        let fresh = Fresh::new(refused(kind, proof, &text, number));
        table::put(&file.database, &[fresh], bounds(20), UnixMicros(number)).unwrap();
    };
    let count = |kind: &str, class| {
        let all = everything(&file);
        let is = |letter: &Letter| letter.cause.kind == kind && letter.class() == class;
        all.iter().filter(|(_, letter)| is(letter)).count()
    };
    (0..3).for_each(|number| put("unknown_key", Proof::Signed, number));
    (3..6).for_each(|number| put("from_the_future", Proof::None, number));
    put("bad_signature", Proof::None, 6);
    for number in 10..100 {
        put("unknown_key", Proof::None, number);
    }
    assert_eq!(count("bad_signature", Class::Doubtful), 0);
    assert_eq!(count("unknown_key", Class::Proven), 3);
    assert_eq!(count("from_the_future", Class::Passing), 3);
    assert_eq!(count("unknown_key", Class::Passing), 14);
    // Garbage may take its share while there is room, and not one place more.
    for number in 100..200 {
        put("malformed", Proof::None, number);
    }
    assert_eq!((count("malformed", Class::Garbage), count("unknown_key", Class::Passing)), (0, 14));
}

#[test]
fn a_file_of_an_older_version_is_counted_and_bounded() {
    let file = file();
    let letters: Vec<_> = (0..9).map(|number| fresh(&number.to_string(), None, number)).collect();
    file.put(&letters, 100, 9);
    // As if it had been written without them.
    let transaction = disk::file::begin(&file.database).unwrap();
    for table in ["groups", "by_group"] {
        let untyped = transaction.list_tables().unwrap().find(|found| {
            use redb::TableHandle;
            found.name() == table
        });
        transaction.delete_table(untyped.unwrap()).unwrap();
    }
    transaction.commit().unwrap();
    let written = file.put(&[fresh("new", None, 10)], 5, 10);
    assert_eq!((written.stored, written.dropped), (5, [("count", 5)].into()));
    assert_eq!(file.texts(&Filter::default(), 9), ["5", "6", "7", "8", "new"]);
}
