//! Requests that are held for their bodies, and what to do if no body ever comes.
//!
//! Envoy hands over the body of a request whose headers are held only if the plugin is configured
//! with `allow_on_headers_stop_iteration`. There is no way to ask for that, so until the first body
//! of a held request has come, requests that wait for longer than [`PATIENCE`] are given up: they
//! would hang. Bodies of requests that are not held come in any case, and say nothing.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

use policy::gate::{Clock, Pending};
use policy::time::MonotonicNanos;

use crate::host::HostClock;

/// How long a request waits for the first part of its body, while none has ever come.
const PATIENCE: Duration = Duration::from_secs(2);

/// The most requests watched at a time: one is enough to learn that bodies do not come.
const WATCHED_MAX: usize = 1_024;

struct Slot {
    pending: RefCell<Option<Box<Pending>>>,
    is_released: Cell<bool>,
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

/// Requests that may never get a body.
#[derive(Default)]
pub(crate) struct Watch {
    bodies_come: Cell<bool>,
    waiting: RefCell<Vec<(u32, MonotonicNanos, Weak<Slot>)>>,
}

impl Watch {
    /// Holds the request of a stream.
    pub(crate) fn hold(&self, stream: u32, pending: Box<Pending>) -> Held {
        let pending = RefCell::new(Some(pending));
        let held = Rc::new(Slot { pending, is_released: Cell::new(false) });
        if !self.bodies_come.get()
            && let Ok(mut waiting) = self.waiting.try_borrow_mut()
            && waiting.len() < WATCHED_MAX
        {
            let patience = u64::try_from(PATIENCE.as_nanos()).unwrap_or(u64::MAX);
            let until = HostClock.monotonic().saturating_add(patience);
            waiting.push((stream, until, Rc::downgrade(&held)));
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

    /// The streams whose requests have waited in vain.
    pub(crate) fn give_up(&self) -> Vec<(u32, Held)> {
        let Ok(mut waiting) = self.waiting.try_borrow_mut() else { return Vec::new() };
        if waiting.is_empty() {
            return Vec::new();
        }
        let now = HostClock.monotonic();
        let mut given_up = Vec::new();
        waiting.retain(|(stream, until, slot)| {
            let Some(slot) = slot.upgrade() else { return false };
            if now < *until {
                return true;
            }
            given_up.push((*stream, Held(slot)));
            false
        });
        given_up
    }
}
