//! Whatever is done to a log is found, and named.

use std::path::Path;

use proptest::prelude::*;

use super::*;

/// Something that somebody does to a log.
#[derive(Clone, Debug)]
enum Attack {
    FlipByte(prop::sample::Index, u8),
    Remove(prop::sample::Index),
    Swap(prop::sample::Index, prop::sample::Index),
    Duplicate(prop::sample::Index, prop::sample::Index),
    Truncate(prop::sample::Index),
}

fn attack() -> impl Strategy<Value = Attack> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        (index(), 1..=255_u8).prop_map(|(at, bits)| Attack::FlipByte(at, bits)),
        index().prop_map(Attack::Remove),
        (index(), index()).prop_map(|(one, other)| Attack::Swap(one, other)),
        (index(), index()).prop_map(|(which, to)| Attack::Duplicate(which, to)),
        index().prop_map(Attack::Truncate),
    ]
}

/// What has to be found: what sort of thing, and the number of the line; nothing if the attack
/// changes nothing.
fn carry_out(path: &Path, attack: &Attack) -> Option<(Vec<Fault>, u64)> {
    let mut all = lines(path);
    let count = all.len();
    match attack {
        Attack::FlipByte(at, bits) => {
            let mut files: Vec<_> = list(path).unwrap();
            let lengths = files.iter().map(|file| fs::read(path.join(&file.name)).unwrap().len());
            let mut at = at.index(lengths.sum());
            loop {
                let file = path.join(&files.remove(0).name);
                let mut bytes = fs::read(&file).unwrap();
                if at < bytes.len() {
                    let before = bytes[..at].iter().filter(|byte| **byte == b'\n').count();
                    let text = String::from_utf8(bytes.clone()).unwrap();
                    let seq = seq_of(text.lines().nth(before).unwrap());
                    bytes[at] ^= bits;
                    fs::write(&file, bytes).unwrap();
                    // The very last line may look as if it were being written.
                    return Some((vec![Fault::Changed, Fault::Missing], seq));
                }
                at -= bytes.len();
            }
        }
        Attack::Remove(which) => {
            let (.., line) = all.remove(which.index(count));
            put(path, &all);
            Some((vec![Fault::Missing], seq_of(&line)))
        }
        Attack::Swap(one, other) => {
            let (one, other) = (one.index(count), other.index(count));
            let (one, other) = (one.min(other), one.max(other));
            let (first, second) = (all[one].2.clone(), all[other].2.clone());
            (all[one].2, all[other].2) = (second.clone(), first);
            put(path, &all);
            (one != other).then(|| (vec![Fault::Reordered], seq_of(&second)))
        }
        Attack::Duplicate(which, to) => {
            let (which, to) = (which.index(count), to.index(count));
            let copy = all[which].2.clone();
            let (file, index, _) = all[to].clone();
            all.insert(to + 1, (file, index, copy.clone()));
            put(path, &all);
            // Ahead of its place a copy is out of order; behind it, it is a copy.
            let fault = if which <= to { Fault::Duplicated } else { Fault::Reordered };
            let adjacent = which == to + 1;
            let fault = if adjacent { Fault::Duplicated } else { fault };
            Some((vec![fault], seq_of(&copy)))
        }
        Attack::Truncate(at) => {
            let keep = at.index(count);
            let first_gone = seq_of(&all[keep].2);
            all.truncate(keep);
            put(path, &all);
            Some((vec![Fault::Missing], first_gone))
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whatever_is_done_to_a_log_is_found_and_named(attack in attack(), with_key: bool) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let seal = if with_key { keyed() } else { Seal::new(None) };
        write_log(path, &seal, 20);
        let all = lines(path);
        let expected = carry_out(path, &attack);
        let report = check(path, &seal);
        let Some((faults, seq)) = expected else {
            prop_assert_eq!(report.finding, None);
            return Ok(());
        };
        let found = report.finding.expect("nothing was found");
        prop_assert!(faults.contains(&found.fault), "{found} instead of {faults:?}");
        prop_assert_eq!(found.seq, seq, "{}", &found);
        // Where it says, that line stands, stood, or should stand.
        let stood = all.iter().find(|(.., line)| seq_of(line) == seq).unwrap();
        let name = stood.0.file_name().unwrap().to_str().unwrap();
        if found.fault == Fault::Changed {
            let expected = format!("{name}:{}", stood.1 + 1);
            prop_assert_eq!(found.place.to_string(), expected);
        }
    }
}
