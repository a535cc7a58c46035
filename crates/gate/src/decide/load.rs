//! What one worker spends on requests before it knows who has sent them: the bodies that it holds, and
//! the bytes that it hashes in vain.
//!
//! Anybody can make a worker do both, so both are bounded by whom they are for. Held bodies have a share
//! per integration, since nobody may take what another partner needs, and a part of it per client
//! address. Hashing in vain has a budget per client address, which good requests never touch. All of it is
//! of one worker, and nothing of it is in shared memory: it costs no call into the proxy.

mod budget;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use model::hash::SubjectHash;
use model::time::MonotonicNanos;

use crate::config::Config;
use budget::Budget;

/// What a request costs beside its body, in bytes that could be hashed instead.
const REQUEST_BYTES: usize = 8 * 1024;

/// Why a request is not taken on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LoadRefusal {
    /// Too much from its address was hashed in vain: how long until that is forgotten.
    Unverified(Duration),
    /// There is no room for its body: the address has taken its part.
    AddressFull,
    /// There is no room for its body: the integration has taken its share.
    IntegrationFull,
}

/// How many requests are held, and how many bytes of them; or how many may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Room {
    requests: usize,
    bytes: usize,
}

impl Room {
    fn fits(self, requests: usize, bytes: usize, max: Self) -> bool {
        self.requests.saturating_add(requests) <= max.requests
            && self.bytes.saturating_add(bytes) <= max.bytes
    }

    fn add(&mut self, requests: usize, bytes: usize) {
        self.requests = self.requests.saturating_add(requests);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn remove(&mut self, requests: usize, bytes: usize) {
        self.requests = self.requests.saturating_sub(requests);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

#[derive(Debug, Default)]
struct Inner {
    now: MonotonicNanos,
    unverified: Budget,
    /// By the integration's index: what it holds, and what it may.
    integrations: Vec<(Room, Room)>,
    /// What each address holds, in the order of their hashes; as many as there are requests held.
    addresses: Vec<(SubjectHash, Room)>,
    address_max: Room,
}

/// The account of one worker. Clones are of the same account.
#[derive(Clone, Debug, Default)]
pub struct Load(Rc<RefCell<Inner>>);

impl Load {
    /// An empty account, under the bounds of a configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let held = config.held;
        let shares = config.held_shares().into_iter();
        let integrations =
            shares.map(|(requests, bytes)| (Room::default(), Room { requests, bytes }));
        let address_max = Room { requests: held.address_requests, bytes: held.address_bytes };
        let inner = Inner {
            unverified: Budget::new(config.unverified),
            integrations: integrations.collect(),
            address_max,
            ..Inner::default()
        };
        Self(Rc::new(RefCell::new(inner)))
    }

    /// Says what time it is. Called every few milliseconds, so that no request has to ask.
    pub fn tick(&self, now: MonotonicNanos) {
        if let Ok(mut inner) = self.0.try_borrow_mut() {
            inner.now = inner.now.max(now);
        }
    }

    /// Takes a request on, whose body may be of the `announced` size.
    ///
    /// # Errors
    /// [`LoadRefusal`].
    pub(super) fn hold(
        &self,
        integration: usize,
        address: SubjectHash,
        announced: Option<usize>,
        is_signed: bool,
    ) -> Result<Hold, LoadRefusal> {
        // Never borrowed while anything else is called.
        let Ok(mut inner) = self.0.try_borrow_mut() else {
            return Err(LoadRefusal::IntegrationFull);
        };
        if is_signed {
            inner.unverified.check(address, inner.now).map_err(LoadRefusal::Unverified)?;
        }
        inner.check(integration, address, 1, announced.unwrap_or(0))?;
        inner.add(integration, address, 1, 0);
        let load = self.clone();
        Ok(Hold { load, integration, address, bytes: 0, hashed: 0, is_charged: false })
    }

    /// How many requests are held, and how many bytes of them.
    #[must_use]
    pub fn held(&self) -> (usize, usize) {
        let Ok(inner) = self.0.try_borrow() else { return (0, 0) };
        let held = inner.integrations.iter().map(|(held, _)| held);
        held.fold((0, 0), |(requests, bytes), held| {
            (held.requests.saturating_add(requests), held.bytes.saturating_add(bytes))
        })
    }
}

impl Inner {
    fn check(
        &self,
        integration: usize,
        address: SubjectHash,
        requests: usize,
        bytes: usize,
    ) -> Result<(), LoadRefusal> {
        let place = self.addresses.binary_search_by_key(&address, |(known, _)| *known);
        let mine = place.ok().and_then(|at| self.addresses.get(at));
        let mine = mine.map_or_else(Room::default, |(_, room)| *room);
        if !mine.fits(requests, bytes, self.address_max) {
            return Err(LoadRefusal::AddressFull);
        }
        match self.integrations.get(integration) {
            Some((held, max)) if held.fits(requests, bytes, *max) => Ok(()),
            _ => Err(LoadRefusal::IntegrationFull),
        }
    }

    fn add(&mut self, integration: usize, address: SubjectHash, requests: usize, bytes: usize) {
        if let Some((held, _)) = self.integrations.get_mut(integration) {
            held.add(requests, bytes);
        }
        match self.addresses.binary_search_by_key(&address, |(known, _)| *known) {
            Ok(at) => self
                .addresses
                .get_mut(at)
                .into_iter()
                .for_each(|(_, room)| room.add(requests, bytes)),
            Err(at) => self.addresses.insert(at, (address, Room { requests, bytes })),
        }
    }

    fn remove(&mut self, integration: usize, address: SubjectHash, bytes: usize) {
        if let Some((held, _)) = self.integrations.get_mut(integration) {
            held.remove(1, bytes);
        }
        let place = self.addresses.binary_search_by_key(&address, |(known, _)| *known);
        let Some((at, room)) =
            place.ok().and_then(|at| Some((at, &mut self.addresses.get_mut(at)?.1)))
        else {
            return;
        };
        room.remove(1, bytes);
        if room.requests == 0 {
            self.addresses.remove(at);
        }
    }
}

/// One request that is held. Dropped, it gives back its room, and what was hashed in vain is charged to
/// its address: also if its sender has hung up.
#[derive(Debug)]
pub(super) struct Hold {
    load: Load,
    integration: usize,
    address: SubjectHash,
    bytes: usize,
    hashed: usize,
    is_charged: bool,
}

impl Hold {
    /// Takes room for so many more bytes.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), LoadRefusal> {
        let Ok(mut inner) = self.load.0.try_borrow_mut() else {
            return Err(LoadRefusal::IntegrationFull);
        };
        let checked = inner.check(self.integration, self.address, 0, bytes);
        match checked {
            Ok(()) => {
                inner.add(self.integration, self.address, 0, bytes);
                self.bytes = self.bytes.saturating_add(bytes);
            }
            // What others have taken is not to be paid for here.
            Err(LoadRefusal::IntegrationFull) => self.is_charged = false,
            Err(LoadRefusal::AddressFull | LoadRefusal::Unverified(_)) => {}
        }
        checked
    }

    /// Notes that its signature is to be checked: what is hashed for it is charged to its address, unless
    /// it turns out to be [verified](Hold::verified).
    pub(super) fn charge(&mut self) {
        self.is_charged = true;
    }

    /// Notes that so many bytes were hashed.
    pub(super) fn hashed(&mut self, bytes: usize) {
        self.hashed = self.hashed.saturating_add(bytes);
    }

    /// Whether more may be hashed for the same request, after it was in vain. If not, how long until
    /// it may.
    pub(super) fn may_try_again(&self) -> Result<(), LoadRefusal> {
        let Ok(inner) = self.load.0.try_borrow() else { return Ok(()) };
        inner.unverified.check(self.address, inner.now).map_err(LoadRefusal::Unverified)
    }

    /// Notes that it was not in vain.
    pub(super) fn verified(&mut self) {
        self.is_charged = false;
    }
}

impl Drop for Hold {
    #[inline(never)] // Wherever a request can end.
    fn drop(&mut self) {
        let Ok(mut inner) = self.load.0.try_borrow_mut() else { return };
        inner.remove(self.integration, self.address, self.bytes);
        if self.is_charged {
            let (address, now) = (self.address, inner.now);
            inner.unverified.charge(address, self.hashed.saturating_add(REQUEST_BYTES), now);
        }
    }
}

#[cfg(test)]
mod tests;
