//! Any steps in any order, beside sets.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;

use super::{Store, hash, made};

#[derive(Clone, Debug)]
enum Step {
    Publish(usize, usize),
    Forget(usize, Vec<(usize, bool)>),
}

fn any_step() -> impl Strategy<Value = Step> {
    let forget = (0usize..3, prop::collection::vec((0usize..6, any::<bool>()), 0..4));
    prop_oneof![
        2 => (0usize..3, 0usize..6).prop_map(|(subject, id)| Step::Publish(subject, id)),
        1 => forget.prop_map(|(subject, ids)| Step::Forget(subject, ids)),
    ]
}

#[test]
fn after_any_steps_state_subjects_and_digest_are_those_of_the_oracle() {
    const EVENTS_MAX: u32 = 4;
    let mut store = Store::start();
    let far = store.clock_ms() + 3_600_000;
    let mut runner = TestRunner::new(Config { cases: 64, ..Config::default() });
    let steps = prop::collection::vec(any_step(), 0..40);
    let store = std::cell::RefCell::new(&mut store);
    runner
        .run(&steps, |steps| {
            let mut store = store.borrow_mut();
            store.ask::<()>(&["FLUSHALL"]);
            let subjects = ["user:a", "user:b{x}", "session:a"];
            let mut oracle: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
            let mut written = 0;
            for step in steps {
                match step {
                    Step::Publish(subject, id) => {
                        let (subject, id) = (subjects[subject], format!("evt-{id}"));
                        let bounds = ("", 1_000, EVENTS_MAX);
                        let event = made(subject, &id, &json!(null));
                        let done = store.publish_with(subject, &id, &event, bounds);
                        let known = oracle.entry(subject).or_default();
                        let expected = match known.len() {
                            _ if known.contains(&id) => "duplicate",
                            4.. => "PORTCULLIS_SUBJECT_FULL",
                            _ => "written",
                        };
                        match done {
                            Ok((_, done)) => prop_assert_eq!(done, expected),
                            Err(error) => prop_assert_eq!(error.code(), Some(expected)),
                        }
                        if expected == "written" {
                            written += 1;
                            known.insert(id);
                        }
                    }
                    Step::Forget(subject, ids) => {
                        let subject = subjects[subject];
                        let names: Vec<_> =
                            ids.iter().map(|(id, early)| (format!("evt-{id}"), *early)).collect();
                        let pairs: Vec<_> = names
                            .iter()
                            .map(|(id, early)| (id.as_str(), if *early { far } else { 0 }))
                            .collect();
                        let known = oracle.entry(subject).or_default();
                        let gone = names.iter().filter(|(id, early)| !early && known.remove(id));
                        let gone = gone.count() as u64;
                        prop_assert_eq!(store.forget(subject, &pairs), gone);
                    }
                }
            }
            let (mut count, mut sum) = (0, 0);
            oracle.retain(|_, ids| !ids.is_empty());
            for (subject, ids) in &oracle {
                let key = format!("{{portcullis}}:state:{subject}");
                prop_assert_eq!(&store.ask::<BTreeSet<String>>(&["HKEYS", &key]), ids);
                count += ids.len() as u64;
                sum = ids.iter().fold(sum, |sum, id| (sum + hash(subject, id)) % (1 << 48));
            }
            prop_assert_eq!(store.digest(), (count, sum));
            let named: BTreeSet<String> = store.ask(&["SMEMBERS", "{portcullis}:subjects"]);
            prop_assert!(named.iter().map(String::as_str).eq(oracle.keys().copied()));
            prop_assert_eq!(store.ask::<u64>(&["XLEN", "{portcullis}:stream"]), written);
            Ok(())
        })
        .unwrap();
}
