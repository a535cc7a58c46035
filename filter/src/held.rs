//! Requests that are held for their bodies, and what to do if no body ever comes.
//!
//! Envoy hands over the body of a request whose headers are held only if the plugin is configured
//! with `allow_on_headers_stop_iteration`. There is no way to ask for that, so until the first body
//! has come, requests that wait for longer than [`PATIENCE`] are given up: they would hang.

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

type Slot = RefCell<Option<Box<Pending>>>;

/// A request that is held. Whoever takes it decides it.
#[derive(Clone)]
pub(crate) struct Held(Rc<Slot>);

impl Held {
    pub(crate) fn take(&self) -> Option<Box<Pending>> {
        self.0.try_borrow_mut().ok()?.take()
    }

    pub(crate) fn put_back(&self, pending: Box<Pending>) {
        if let Ok(mut slot) = self.0.try_borrow_mut() {
            *slot = Some(pending);
        }
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
        let held = Rc::new(RefCell::new(Some(pending)));
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

    /// Notes that bodies come.
    pub(crate) fn body_callback(&self) {
        if !self.bodies_come.replace(true)
            && let Ok(mut waiting) = self.waiting.try_borrow_mut()
        {
            waiting.clear();
        }
    }

    /// The streams whose requests have waited in vain.
    pub(crate) fn give_up(&self) -> Vec<(u32, Box<Pending>)> {
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
            given_up.extend(Held(slot).take().map(|pending| (*stream, pending)));
            false
        });
        given_up
    }
}
