//! Which events about a subject are in effect, so that it can be said of which an event has ended the effect.

use model::name::EventId;
use model::subject::Subject;

use super::{Engine, Now};

impl Engine {
    /// The events about a subject that are in effect. Those that end others, and hold nothing, are left out.
    pub(super) fn in_effect(&self, subject: &Subject, now: Now) -> Vec<EventId> {
        let Some((state, _)) = self.subjects.get(subject) else { return Vec::new() };
        let holding = state.in_effect(now.wall).filter(|register| register.holds());
        holding.map(|register| register.version.event_id.clone()).collect()
    }
}
