//! Requests that are held for their bodies, and what to do if no body is ever handed over.
//!
//! Envoy hands over the body of a request whose headers are held only if the plugin is configured
//! with `allow_on_headers_stop_iteration`. There is no way to ask for that. But Envoy tells how much of a
//! request it has received: where that grows, and the plugin has got none of it a while later, no body
//! will come, and the request is given up: it would hang. A client that takes its time sends nothing
//! that could grow. Once a worker has got the body of one held request, there is nothing to watch for.
//! Bodies of requests that are not held come in any case, and say nothing.
//!
//! What is held takes memory, of which there is a bounded share (see [`gate::decide::Load`]). So that nobody
//! keeps their share for as long as they like, no body may take longer than is configured.
//!
//! A proxy that wakes streams ([`Host::wake_stream`]) hands over bodies of held requests, and each stream is told
//! itself that its body has taken too long: nothing of it is watched here.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

use gate::decide::Pending;
use model::time::MonotonicNanos;

use crate::host::Host;

/// How often it is looked what was received of a request; and how long a part of its body, once
/// received, may be on its way to the plugin: filters before this one may keep it for a while.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The most requests watched at a time: one is enough to learn that bodies do not come.
const WATCHED_MAX: usize = 1_024;

struct Slot {
    pending: RefCell<Option<Box<Pending>>>,
    is_released: Cell<bool>,
}

impl Slot {
    fn is_pending(&self) -> bool {
        self.pending.try_borrow().is_ok_and(|pending| pending.is_some())
    }
}

/// A request that is held. Whoever takes it decides it.
pub(crate) struct Held(Rc<Slot>);

impl Held {
    pub(crate) fn take(&self) -> Option<Box<Pending>> {
        self.0.pending.try_borrow_mut().ok()?.take()
    }

    pub(crate) fn put_back(&self, pending: Box<Pending>) {
        if let Ok(mut slot) = self.0.pending.try_borrow_mut() {
            *slot = Some(pending);
        }
    }

    /// Notes that it was given up and may go on all the same: its body follows only now.
    pub(crate) fn release(&self) {
        self.0.is_released.set(true);
    }

    pub(crate) fn is_released(&self) -> bool {
        self.0.is_released.get()
    }
}

/// A request that may never get a body.
struct Waiting<Id> {
    stream: Id,
    slot: Weak<Slot>,
    /// What Envoy had received of it when it was held.
    head_bytes: u64,
    look_at: MonotonicNanos,
    /// Whether more was received when it was last looked.
    has_come: bool,
}

/// A request that was held, and when that was looked at first.
struct Timed<Id> {
    stream: Id,
    slot: Weak<Slot>,
    since: Option<MonotonicNanos>,
}

/// All requests that one worker holds.
pub(crate) struct Watch<Id> {
    bodies_come: Cell<bool>,
    waiting: RefCell<Vec<Waiting<Id>>>,
    timed: RefCell<Vec<Timed<Id>>>,
    time_max: Duration,
}

impl<Id: Copy> Watch<Id> {
    /// Watches for bodies that take longer than this.
    pub(crate) fn new(time_max: Duration) -> Self {
        let (waiting, timed) = (RefCell::default(), RefCell::default());
        Self { bodies_come: Cell::new(false), waiting, timed, time_max }
    }

    /// Holds the request of a stream.
    pub(crate) fn hold(
        &self,
        stream: Id,
        pending: Box<Pending>,
        host: impl Host<StreamId = Id>,
    ) -> Held {
        let pending = RefCell::new(Some(pending));
        let held = Rc::new(Slot { pending, is_released: Cell::new(false) });
        if host.wake_stream(self.time_max) {
            return Held(held);
        }
        if let Ok(mut timed) = self.timed.try_borrow_mut() {
            // When it began is noted with the next tick: so no request has to ask for the time.
            timed.push(Timed { stream, slot: Rc::downgrade(&held), since: None });
        }
        if !self.bodies_come.get()
            && let Ok(mut waiting) = self.waiting.try_borrow_mut()
            && waiting.len() < WATCHED_MAX
        {
            waiting.push(Waiting {
                stream,
                slot: Rc::downgrade(&held),
                head_bytes: host.received_bytes(),
                look_at: next_look(host.monotonic()),
                has_come: false,
            });
        }
        Held(held)
    }

    /// Notes that bodies of held requests come.
    pub(crate) fn body_callback(&self) {
        if !self.bodies_come.replace(true)
            && let Ok(mut waiting) = self.waiting.try_borrow_mut()
        {
            waiting.clear();
        }
    }

    /// The streams whose bodies have taken too long.
    pub(crate) fn overdue(&self, now: MonotonicNanos) -> Vec<(Id, Held)> {
        let Ok(mut timed) = self.timed.try_borrow_mut() else { return Vec::new() };
        let most = nanos(self.time_max);
        let mut overdue = Vec::new();
        timed.retain_mut(|one| {
            let Some(slot) = one.slot.upgrade().filter(|slot| slot.is_pending()) else {
                return false;
            };
            let is_overdue = now.saturating_sub(*one.since.get_or_insert(now)) > most;
            if is_overdue {
                overdue.push((one.stream, Held(slot)));
            }
            !is_overdue
        });
        overdue
    }

    /// The streams whose requests wait in vain: of their bodies something was received, and not handed
    /// over.
    pub(crate) fn give_up(
        &self,
        now: MonotonicNanos,
        host: impl Host<StreamId = Id>,
    ) -> Vec<(Id, Held)> {
        let Ok(mut waiting) = self.waiting.try_borrow_mut() else { return Vec::new() };
        if waiting.is_empty() {
            return Vec::new();
        }
        let mut given_up = Vec::new();
        waiting.retain_mut(|one| {
            let Some(slot) = one.slot.upgrade() else { return false };
            if now < one.look_at {
                return true;
            }
            if one.has_come {
                given_up.push((one.stream, Held(slot)));
                return false;
            }
            host.switch_to(one.stream);
            one.has_come = host.received_bytes() > one.head_bytes;
            one.look_at = next_look(now);
            true
        });
        given_up
    }
}

fn next_look(now: MonotonicNanos) -> MonotonicNanos {
    now.saturating_add(nanos(LOOK_INTERVAL))
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
