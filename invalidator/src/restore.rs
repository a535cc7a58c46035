//! From the store into the engine, at the start: before any node is answered.

use engine::{Engine, Incoming, IngestError, Now, Order};
use events::Event;
use model::name::EventId;
use model::subject::Subject;
use model::time::UnixMicros;
use store::{Keeper, KeptEvent, REPEATED_WITHIN};
use thiserror::Error;

use crate::intake::{Checked, Clock, Intake, Stored};

/// The store keeps more than the configuration has room for.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("must be raised: the store keeps more users and sessions than that")]
pub struct TooFull;

/// A kept event that can be taken in.
#[derive(Debug)]
struct Kept {
    first_heard: UnixMicros,
    incoming: Incoming,
}

/// Takes events out of the store: those of one subject one after the other, as the store has them.
#[derive(Debug)]
pub struct Restore<'a> {
    engine: Engine,
    intake: &'a Intake,
    now: Now,
    /// Those of one subject: taken in as they were heard, once all of them are here.
    of_one: Vec<Kept>,
    /// Found no room yet: an event that is still to come may end what stands in the way.
    later: Vec<Kept>,
    /// Kept, but overtaken.
    leftover: Vec<(UnixMicros, (Subject, EventId))>,
    full: bool,
}

impl<'a> Restore<'a> {
    /// Begins with an engine that knows nothing.
    #[must_use]
    pub fn new(engine: Engine, intake: &'a Intake, now: Now) -> Self {
        let (of_one, later, leftover) = (Vec::new(), Vec::new(), Vec::new());
        Self { engine, intake, now, of_one, later, leftover, full: false }
    }

    /// Takes in one kept event.
    ///
    /// # Errors
    /// In words, if it is not the event that it is kept as, or none that this program understands.
    pub fn take(&mut self, kept: KeptEvent) -> Result<(), String> {
        let KeptEvent { subject, event_id, record } = kept;
        let stored = Stored { event_id: Some(&event_id), vouch: None };
        let clock = Clock::own(self.now.wall);
        let checked =
            self.intake.check(self.intake.kept_origin(&record), stored, &record.event, clock);
        let checked = checked.map_err(|rejected| rejected.error.to_string())?;
        let Checked { event, identity, .. } = checked;
        if (&event.subject, &event.register.version.event_id) != (&subject, &event_id) {
            return Err("it is kept under another name than its own".to_owned());
        }
        if self.of_one.last().is_some_and(|before| before.incoming.event.subject != subject) {
            self.take_in();
        }
        let incoming =
            Incoming { event, identity, heard: record.first_heard, order: Order::AsHeard };
        self.of_one.push(Kept { first_heard: record.first_heard, incoming });
        Ok(())
    }

    /// Takes in the events of one subject. Of those of one publisher it depends on the order what
    /// they make of each other: it has to come out as it did.
    fn take_in(&mut self) {
        let mut events = std::mem::take(&mut self.of_one);
        events.sort_by_key(|kept| kept.first_heard);
        let mut taken = Vec::new();
        for kept in events {
            let Event { subject, register, .. } = &kept.incoming.event;
            let identity = (subject.clone(), register.version.event_id.clone());
            match self.engine.ingest(kept.incoming.clone(), self.now) {
                Ok(_) => taken.push((kept.first_heard, identity)),
                Err(IngestError::SubjectsFull) => self.full = true,
                Err(_) => self.later.push(kept),
            }
        }
        let Some((_, (subject, _))) = taken.first() else { return };
        let stand = self.engine.events_of(subject);
        taken.retain(|(_, (_, event_id))| !stand.contains(event_id));
        self.leftover.append(&mut taken);
    }

    /// The engine that knows every kept event. What is kept without need is removed from the store.
    ///
    /// # Errors
    /// If there is no room for all of it.
    pub fn finish(mut self, keeper: &Keeper) -> Result<Engine, TooFull> {
        self.take_in();
        for Kept { incoming, .. } in std::mem::take(&mut self.later) {
            // A second time: what still finds no room is more than the filter would take.
            let event_id = incoming.event.register.version.event_id.clone();
            if let Err(cause) = self.engine.ingest(incoming, self.now) {
                tracing::error!(%event_id, %cause, "a kept event finds no room");
            }
        }
        if self.full {
            return Err(TooFull);
        }
        for (first_heard, gone) in self.leftover {
            // What may come again is recognized from now on, and after another restart.
            if self.now.wall.since(first_heard) < REPEATED_WITHIN {
                keeper.retire(None, gone);
            } else {
                keeper.update(None, [gone]);
            }
        }
        Ok(self.engine)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use events::record::Record;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use engine::{BatchBounds, Limits, Settings};
    use store::{self, Meters, Witness};

    /// 2026-11-22T12:00:00Z: nothing is over for so long that it may be forgotten.
    const NOW: UnixMicros = UnixMicros(1_795_348_800_000_000);

    fn now() -> Now {
        Now { wall: NOW, mono: std::time::Duration::ZERO }
    }

    fn engine(subjects_max: usize) -> Engine {
        Engine::new(Settings {
            epoch: "this-run".to_owned(),
            limits: Limits { subjects_max, ..Limits::default() },
            batch: BatchBounds::default(),
            connected_for: std::time::Duration::from_secs(3),
            scrub: 0,
            sources: Vec::new(),
        })
    }

    fn kept(id: &str, user: &str, second: u8, payload: serde_json::Value) -> KeptEvent {
        let occurred_at = format!("2026-11-22T11:59:{second:02}Z");
        let first_heard = UnixMicros::parse_rfc3339(&occurred_at).unwrap();
        let event = json!({
            "event_id": id, "event_type": "test", "schema_version": "1.0",
            "occurred_at": occurred_at, "key": { "user_id": user }, "payload": payload,
        });
        let event = event.to_string().into_bytes().into();
        KeptEvent {
            subject: Subject::user(user).unwrap(),
            event_id: EventId::parse(id).unwrap(),
            record: Record { first_heard, source: "test".into(), event },
        }
    }

    fn block(id: &str, second: u8, reason: &str) -> KeptEvent {
        kept(id, "alice", second, json!({ "action": "block", "reason": reason }))
    }

    fn keeper(directory: &tempfile::TempDir) -> Keeper {
        let directory = directory.path().join("store");
        store::open(
            store::Opening {
                directory: &directory,
                witness: &Witness::default(),
                rebuild: None,
                meters: Meters::default(),
            },
            NOW,
            |_| Ok(()),
        )
        .unwrap()
        .keeper
    }

    #[test]
    fn what_is_not_the_event_that_it_is_kept_as_is_refused() {
        let intake = Intake::default();
        let mut restore = Restore::new(engine(9), &intake, now());
        let other = KeptEvent { event_id: EventId::parse("2").unwrap(), ..block("1", 0, "fraud") };
        assert!(restore.take(other).unwrap_err().contains("the id that it is kept under"));
        let mut foreign = block("1", 0, "fraud");
        foreign.record.event = b"{}".as_slice().into();
        assert!(restore.take(foreign).unwrap_err().contains("schema_version"));
    }

    #[test]
    fn more_subjects_than_the_configuration_allows_are_no_silent_loss() {
        let directory = tempfile::tempdir().unwrap();
        let intake = Intake::default();
        let mut restore = Restore::new(engine(1), &intake, now());
        for user in ["alice", "bob"] {
            restore.take(kept("1", user, 0, json!({ "action": "block" }))).unwrap();
        }
        assert_eq!(restore.finish(&keeper(&directory)).unwrap_err(), TooFull);
    }

    #[test]
    fn what_stands_in_the_way_may_be_ended_by_an_event_that_comes_later() {
        let directory = tempfile::tempdir().unwrap();
        let keeper = keeper(&directory);
        let intake = Intake::default();
        let mut restore = Restore::new(engine(9), &intake, now());
        // As after a crash before anything was removed.
        for number in 0..16 {
            restore.take(block(&format!("a{number}"), 1, &format!("r{number}"))).unwrap();
        }
        restore.take(block("b", 3, "another")).unwrap();
        restore.take(kept("c", "alice", 2, json!({ "action": "unblock" }))).unwrap();
        let engine = restore.finish(&keeper).unwrap();
        let state = engine.view(&Subject::user("alice").unwrap(), now()).unwrap().state;
        let blocks: Vec<_> = state.blocks(NOW).map(|(block, _)| block.reason.as_str()).collect();
        assert_eq!(blocks, ["another"]);
    }

    proptest! {
        /// What the engine says that it needs no more, it does not need: the rest gives the same
        /// state, in any order.
        #[test]
        fn the_kept_events_give_the_state_again(
            events in prop::collection::vec((0u8..4, 0u8..20, 0u8..5), 1..40),
        ) {
            let mut first = engine(9);
            let mut keep = BTreeSet::new();
            let all: Vec<_> = events.iter().enumerate().map(|(index, (user, second, what))| {
                let payload = match what {
                    0 => json!({ "action": "block", "reason": "fraud" }),
                    1 => json!({ "action": "block", "reason": "kyc" }),
                    2 => json!({ "action": "unblock" }),
                    3 => json!({ "action": "unblock", "reason": "kyc" }),
                    _ => json!({ "action": "zero" }),
                };
                kept(&format!("e{index}"), &format!("u{user}"), *second, payload)
            }).collect();
            for (index, event) in all.iter().enumerate() {
                let parsed = Event::parse(&event.record.event, event.record.first_heard).unwrap();
                let ingested = first.ingest(parsed, now()).unwrap();
                if ingested.is_kept {
                    keep.insert(index);
                }
                for gone in ingested.forgotten {
                    keep.retain(|kept| {
                        (&all[*kept].subject, &all[*kept].event_id) != (&gone.subject, &gone.event_id)
                    });
                }
            }
            let intake = Intake::default();
            let mut restore = Restore::new(engine(9), &intake, now());
            for index in keep.iter().rev() {
                restore.take(all[*index].clone()).unwrap();
            }
            restore.take_in();
            prop_assert!(restore.leftover.is_empty() && restore.later.is_empty());
            for user in 0..4 {
                let user = Subject::user(&format!("u{user}")).unwrap();
                let state = |engine: &Engine| engine.view(&user, now()).map(|view| view.state);
                prop_assert_eq!(state(&restore.engine), state(&first));
            }
        }
    }
}
