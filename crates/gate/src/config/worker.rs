//! What one worker may spend on requests before it knows who has sent them.

use std::time::Duration;

use super::Config;

/// How much of requests may be held for their bodies, by one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldBounds {
    /// The most requests, of all integrations together.
    pub requests: usize,
    /// The most bytes, of all integrations together.
    pub bytes: usize,
    /// The most requests from one client address.
    pub address_requests: usize,
    /// The most bytes from one client address.
    pub address_bytes: usize,
    /// How long a body may take.
    pub time: Duration,
}

/// How much may be hashed for one client address without finding a signature right, by one worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unverified {
    /// In the long run.
    pub bytes_per_second: u32,
    /// At once.
    pub bytes_burst: u32,
}

impl Config {
    /// By the integration's index, how many requests and bytes of bodies one worker may hold for it:
    /// of the requests equal shares, of the bytes by the largest body that each allows. They come to no
    /// more than there is, so that no integration can take what another needs.
    #[must_use]
    pub fn held_shares(&self) -> Vec<(usize, usize)> {
        let largest = |one: &super::Integration| one.body_bytes_max.filter(|_| one.can_hold());
        let holding = self.integrations.iter().filter(|one| one.can_hold()).count();
        let requests = self.held.requests.checked_div(holding).unwrap_or(0);
        let sum = self.integrations.iter().filter_map(largest).fold(0, u64_sum);
        let share = |bytes: usize| {
            let parts = (self.held.bytes as u64).saturating_mul(bytes as u64);
            usize::try_from(parts.checked_div(sum).unwrap_or(0)).unwrap_or(usize::MAX)
        };
        let shares = self.integrations.iter().map(largest);
        shares.map(|largest| largest.map_or((0, 0), |bytes| (requests, share(bytes)))).collect()
    }
}

fn u64_sum(sum: u64, bytes: usize) -> u64 {
    sum.saturating_add(bytes as u64)
}
