//! Ends what is open of subjects that were blocked since: which streams are looked at again, and what is done to those that
//! have to end.
//!
//! A stream is noted in the callback that lets it through, before any other callback of its worker. So a block that its
//! decision did not see yet is told after that, and finds it.

use gate::decide::{Decision, Denial, Verdict, Watched};
use gate::node::changed;
use gate::response;

use crate::call::Call;
use crate::host::{Begun, Host, Reached};
use crate::open::{LOOKS_PER_TICK_MAX, Ticket};

impl<H: Host> Call<'_, H> {
    /// Notes that the stream at hand was let through, and what can end it.
    pub(crate) fn note_open(self, stream: H::StreamId, watched: Watched) -> Option<Ticket> {
        let reach = self.host.reach(stream)?;
        Some(self.worker.open.try_borrow_mut().ok()?.add(reach, watched))
    }

    /// Notes that its response begins.
    pub(crate) fn note_response(self, ticket: Ticket) {
        if let Ok(mut open) = self.worker.open.try_borrow_mut() {
            open.begin_response(ticket);
        }
    }

    /// Notes that it is over.
    pub(crate) fn forget_open(self, ticket: Ticket) {
        if let Ok(mut open) = self.worker.open.try_borrow_mut() {
            open.remove(ticket);
        }
    }

    /// Looks again at what is open of those of whom something was heard since the last time, and ends what has to end: in
    /// this callback, or in one about each stream if the proxy wants that. Some of it may be left for the next time.
    pub fn end_open_streams(self) {
        if !self.config().open_streams.end_any() {
            return;
        }
        if let Ok(mut open) = self.worker.open.try_borrow_mut() {
            let mut position = open.position;
            let changed = changed::since(&mut self.host.memory(), &mut position);
            open.position = position;
            open.note(changed);
        }
        for _ in 0..LOOKS_PER_TICK_MAX {
            let Ok(mut open) = self.worker.open.try_borrow_mut() else { return };
            let Some((reach, watched, begun)) = open.next_due() else { return };
            let decision = self.look_again(watched);
            let ends = !decision.notes.is_empty() || decision.verdict != Verdict::Allow;
            let reached = ends.then(|| self.host.reach_for(reach));
            drop(open);
            if reached == Some(Reached::Now) {
                self.end(&decision, begun);
            }
        }
    }

    /// Ends the stream at hand if it has to end by now.
    pub(crate) fn end_if_blocked(self, ticket: Ticket) {
        let open = self.worker.open.try_borrow().ok();
        let found = open.as_ref().and_then(|open| open.get(ticket));
        let found = found.map(|(watched, begun)| (self.look_again(watched), begun));
        drop(open);
        if let Some((decision, begun)) = found {
            self.end(&decision, begun);
        }
    }

    fn look_again(self, watched: &Watched) -> Decision {
        self.with_context(|context| self.plugin.gate.look_again(watched, context))
    }

    fn end(self, decision: &Decision, begun: Begun) {
        let words = decision.words(self.config());
        match &decision.verdict {
            Verdict::Allow if words.is_empty() => {}
            Verdict::Allow => {
                self.count_stream("would_end");
                self.host.set_log_line(&words.join(" "));
            }
            Verdict::Deny(denial) => self.end_with(denial, &words, begun),
        }
    }

    fn end_with(self, denial: &Denial, words: &[String], begun: Begun) {
        let details = format!("portcullis:ended;{}", words.join(";"));
        self.host.end(response::rejection(self.config(), denial), details, begun);
        self.count_stream(match begun {
            Begun::No => "answered",
            Begun::Yes => "broken_off",
        });
    }
}
