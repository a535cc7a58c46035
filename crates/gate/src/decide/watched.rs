//! A request that was let through and is open still, once more: whether a block, or a zero that holds, is about it by now.
//!
//! Tokens and freshness are no part of this. A request that was let through has its tokens, and a node that hears of
//! nobody ends nothing.

use model::hash::SubjectHash;
use model::memory::SharedMemory;
use model::time::Clock;

use super::decision::{Decision, Note, Verdict, Why};
use super::evaluate::{Evaluation, Known, status};
use super::take::Look;
use super::{Context, Gate};
use crate::config::Groups;
use crate::slab;

/// Whom an open request is from, and what it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    subjects: Vec<SubjectHash>,
    groups: Groups,
}

impl Watched {
    pub(super) fn of(looks: &[Look<'_>], groups: Groups) -> Option<Self> {
        let with_status = looks.iter().filter(|look| look.plan.has_status);
        let subjects: Vec<_> = with_status.map(|look| look.plan.hash).collect();
        Self::new(subjects, groups)
    }

    /// A request in these groups; none if nothing can end it.
    #[must_use]
    pub fn new(subjects: Vec<SubjectHash>, groups: Groups) -> Option<Self> {
        (!subjects.is_empty()).then_some(Self { subjects, groups })
    }

    /// The subjects that events can name: at least one.
    #[must_use]
    pub fn subjects(&self) -> &[SubjectHash] {
        &self.subjects
    }
}

impl Gate {
    /// Whether an open request has to end by now: then the verdict denies it. What only counts is in the notes.
    pub fn look_again(
        &self,
        watched: &Watched,
        context: &mut Context<'_, impl SharedMemory, impl Clock>,
    ) -> Decision {
        let mut found = Evaluation::default();
        for hash in &watched.subjects {
            let (slab, _) = context.shared.read(self.slab(*hash));
            let entry = slab::find(slab.as_deref(), *hash).map_err(|_| ());
            // What cannot be read says nothing of this request.
            let Ok(Some(state)) = entry.and_then(status) else { continue };
            let wall = context.clock.wall();
            let known = Known { hash: *hash, state: &state, groups: watched.groups, wall };
            self.check_status(known, &mut found);
        }
        let Evaluation { denial, notes, .. } = found;
        let mut decision = Decision { notes, ..Decision::default() };
        match denial {
            Some(denial) if self.config.open_streams.shadow => {
                decision.notes.push(Note { denial, why: Why::Shadow });
            }
            Some(denial) => decision.verdict = Verdict::Deny(denial),
            None => {}
        }
        decision
    }
}
