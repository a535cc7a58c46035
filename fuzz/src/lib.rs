//! What several fuzz targets build on: a memory, two clocks, a request, a gate.

/// What daemons say to each other over Redis, from the daemon's sources: the daemon itself would take minutes to build with
/// the coverage of libFuzzer.
#[path = "../../invalidator/src/fence/mod.rs"]
pub mod fence;
#[path = "../../invalidator/src/wire/fleet.rs"]
mod fleet;
/// See [`fence`].
#[path = "../../invalidator/src/inquiry/mod.rs"]
pub mod inquiry;
/// See [`fence`].
pub mod wire {
    pub use super::fleet::*;
}

use std::collections::HashMap;
use std::sync::LazyLock;

use audit::SharedKeys;
use gate::claim::Claim;
use gate::config::Config;
use gate::decide::Gate;
use gate::request::Request;
use model::hash::HashKey;
use model::memory::{Mark, MemoryKey, Mismatch, SharedMemory};
use model::time::{Clock, MonotonicNanos, UnixMicros};
use signing::headers::Headers;

/// When everything happens, in seconds since the Unix epoch.
pub const NOW_S: u64 = 1_800_000_000;

/// The same as events and expiries see it.
pub const NOW: UnixMicros = UnixMicros(NOW_S * 1_000_000);

/// Clocks that stand still.
pub struct Stopped;

impl Clock for Stopped {
    fn monotonic(&self) -> MonotonicNanos {
        1_000_000_000_000
    }

    fn wall(&self) -> UnixMicros {
        NOW
    }
}

/// Shared memory in a map.
#[derive(Default)]
pub struct Memory(HashMap<MemoryKey, (Vec<u8>, u32)>);

impl SharedMemory for Memory {
    fn read(&mut self, key: MemoryKey) -> (Option<Vec<u8>>, Mark) {
        match self.0.get(&key) {
            Some((value, mark)) => (Some(value.clone()), Mark::Present(*mark)),
            None => (None, Mark::Absent),
        }
    }

    fn write(&mut self, key: MemoryKey, value: &[u8], mark: Mark) -> Result<(), Mismatch> {
        let (present, next) = match self.0.get(&key) {
            Some((_, mark)) => (Mark::Present(*mark), mark + 1),
            None => (Mark::Absent, 1),
        };
        if present != mark {
            return Err(Mismatch);
        }
        self.0.insert(key, (value.to_vec(), next));
        Ok(())
    }
}

/// A request whose cookie, claim and address are arbitrary.
pub struct Arbitrary<'a> {
    headers: Headers,
    address: &'a [u8],
    claim: &'a [u8],
}

impl<'a> Arbitrary<'a> {
    /// Each line feed in `cookies` begins another header.
    pub fn new(cookies: &[u8], address: &'a [u8], claim: &'a [u8]) -> Self {
        let lines = cookies.split(|byte| *byte == b'\n');
        let headers = lines.map(|line| ("cookie", line)).collect();
        Self { headers, address, claim }
    }
}

impl Request for Arbitrary<'_> {
    fn headers(&self) -> &Headers {
        &self.headers
    }

    fn jwt_claim(&self, payload: &str, claim: &str) -> Claim {
        match self.claim {
            [] => Claim::Absent,
            _ => Claim::read(self.claim.to_vec(), payload, claim, || Some(self.address.to_vec())),
        }
    }

    fn client_address(&self) -> Option<Vec<u8>> {
        Some(self.address.to_vec())
    }
}

/// Limits by every kind of identity, in small memory. Made once: it is not what is looked at.
pub static GATE: LazyLock<Gate> = LazyLock::new(|| {
    let config = Config::parse(include_bytes!("gate.json")).expect("gate.json is right");
    Gate::new(config, HashKey::new([7; HashKey::BYTES]))
});

/// The keys that the daemons share. Made once: they are not what is looked at.
pub static KEYS: LazyLock<SharedKeys> = LazyLock::new(|| {
    let secret = "a secret that all daemons share, and nobody else";
    let text = format!("[[keys]]\nbegins = 2026-11-01T00:00:00Z\nsecret = \"{secret}\"\n");
    SharedKeys::parse(&text).expect("the file is right")
});

/// Cuts arbitrary bytes at the byte 0xFF, which no text has.
pub fn parts<const N: usize>(data: &[u8]) -> [&[u8]; N] {
    let mut parts = data.splitn(N, |byte| *byte == 0xff);
    [(); N].map(|()| parts.next().unwrap_or_default())
}
