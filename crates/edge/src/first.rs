//! The first request that is rejected because of an event, noted for the invalidator.
//!
//! Requests that are let through pay nothing for it, and of those that are rejected only the first in each worker reads
//! shared memory. What is noted, and what is left out, is decided in [`gate::node`].

use gate::decide::Denial;
use gate::node::{Noted, Rejected, note_rejection};

use crate::call::Call;
use crate::host::Host;
use crate::request::Current;

impl<H: Host> Call<'_, H> {
    /// Notes that the request at hand is rejected, if an event is behind it and it is the first.
    pub(crate) fn note_first_rejection(self, denial: &Denial) {
        let (Some(event_id), Some(subject)) = (&denial.event, denial.subject) else { return };
        let gate = &self.plugin.gate;
        let mark = gate.hash_key().event(subject, event_id);
        // Nothing is called back while it is borrowed.
        let Ok(mut memo) = self.worker.rejections.try_borrow_mut() else { return };
        if memo.has_seen(mark) {
            return;
        }
        drop(memo);
        let rejected = Rejected { mark, event_id, at: self.host.monotonic() };
        let from = || gate.find_subject(&Current::new(self.host), subject);
        match note_rejection(&mut self.host.memory(), rejected, from) {
            Noted::Not => {}
            Noted::First => self.count_first_rejections(1, 0),
            Noted::LeftOut => self.count_first_rejections(0, 1),
        }
    }
}
