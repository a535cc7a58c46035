//! A replica as bytes in a node's memory: one byte that says what there is, then numbers with the lowest byte first.
//!
//! Layout: `flags u8 | full_at u64 | reported_at u64 | since u32`, then `share_full_at u64`, `at u64 | id u64` of the beginning,
//! and `serial u64 | takes u32 | first_at u64 | known_full_at u64` of the report under way, each only if its flag is set.

use model::time::{MonotonicNanos, UnixMicros};

use super::Replica;
use super::due::{Flight, REPORT_AGE_MAX};
use crate::epoch::{Begins, Epoch};
use crate::terms::nanos;

const EMPTIED: u8 = 1;
const KNOWN: u8 = 1 << 1;
const NEAR: u8 = 1 << 2;
const SHARE: u8 = 1 << 3;
const BEGUN: u8 = 1 << 4;
const FLIGHT: u8 = 1 << 5;
const ALL: u8 = (FLIGHT << 1) - 1;

impl Replica {
    /// The fewest bytes of a packed one.
    pub const PACKED_BYTES_MIN: usize = 21;

    /// The most bytes of a packed one.
    pub const PACKED_BYTES_MAX: usize = Self::PACKED_BYTES_MIN + 8 + 16 + 28;

    /// Appends its bytes.
    pub fn pack(&self, out: &mut Vec<u8>) {
        let has = |flag: u8, is: bool| if is { flag } else { 0 };
        let flags = has(EMPTIED, self.begins == Begins::Emptied)
            | has(KNOWN, self.is_known)
            | has(NEAR, self.is_near)
            | has(SHARE, self.share_full_at != 0)
            | has(BEGUN, self.epoch != Epoch::default())
            | has(FLIGHT, self.flight.is_some());
        out.push(flags);
        out.extend_from_slice(&self.full_at.to_le_bytes());
        out.extend_from_slice(&self.reported_at.to_le_bytes());
        out.extend_from_slice(&self.since.to_le_bytes());
        if self.share_full_at != 0 {
            out.extend_from_slice(&self.share_full_at.to_le_bytes());
        }
        if self.epoch != Epoch::default() {
            out.extend_from_slice(&self.epoch.at.0.to_le_bytes());
            out.extend_from_slice(&self.epoch.id.to_le_bytes());
        }
        if let Some(Flight { serial, takes, first_at, known_full_at }) = self.flight {
            out.extend_from_slice(&serial.to_le_bytes());
            out.extend_from_slice(&takes.to_le_bytes());
            out.extend_from_slice(&first_at.to_le_bytes());
            out.extend_from_slice(&known_full_at.to_le_bytes());
        }
    }

    /// Whether the replica of these bytes may be dropped for want of room: it [is idle](Replica::is_idle), or has been full for so
    /// long that whoever had its report in mind is gone. The rest of them is not read.
    #[must_use]
    pub fn is_droppable_packed(bytes: &[u8], now: MonotonicNanos) -> bool {
        let Some((&flags, rest)) = bytes.split_first() else { return false };
        let mut rest = Rest(rest);
        let head = (rest.u64(), rest.u64(), rest.u32());
        let (Some(full_at), Some(_), Some(since)) = head else { return false };
        let share_full_at = if flags & SHARE == 0 { Some(0) } else { rest.u64() };
        let Some(full_at) = share_full_at.map(|share| share.max(full_at)) else { return false };
        let is_reported = since == 0 && flags & FLIGHT == 0;
        let forgotten_at = full_at.saturating_add(nanos(REPORT_AGE_MAX));
        full_at <= now && (is_reported || forgotten_at <= now)
    }

    /// The replica of these bytes; none if they are not those of one, and of nothing else.
    #[must_use]
    pub fn unpack(bytes: &[u8]) -> Option<Self> {
        let (&flags, rest) = bytes.split_first()?;
        let mut rest = Rest(rest);
        let is = |flag: u8| flags & flag != 0;
        let (full_at, reported_at, since) = (rest.u64()?, rest.u64()?, rest.u32()?);
        let share_full_at = if is(SHARE) { rest.u64()? } else { 0 };
        let epoch = match is(BEGUN) {
            true => Epoch { at: UnixMicros(rest.u64()?), id: rest.u64()? },
            false => Epoch::default(),
        };
        let flight = match is(FLIGHT) {
            true => Some(Flight {
                serial: rest.u64()?,
                takes: rest.u32()?,
                first_at: rest.u64()?,
                known_full_at: rest.u64()?,
            }),
            false => None,
        };
        let begins = if is(EMPTIED) { Begins::Emptied } else { Begins::Full };
        let (is_known, is_near) = (is(KNOWN), is(NEAR));
        let replica = Self {
            full_at,
            share_full_at,
            reported_at,
            epoch,
            begins,
            since,
            flight,
            is_known,
            is_near,
        };
        (rest.0.is_empty() && flags & !ALL == 0).then_some(replica)
    }
}

/// What is still to be read.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn u64(&mut self) -> Option<u64> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*bytes))
    }

    fn u32(&mut self) -> Option<u32> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*bytes))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_replica() -> impl Strategy<Value = Replica> {
        let number = || prop_oneof![Just(0), any::<u64>()];
        let flight = (any::<u64>(), any::<u32>(), any::<u64>(), any::<u64>()).prop_map(
            |(serial, takes, first_at, known_full_at)| Flight {
                serial,
                takes,
                first_at,
                known_full_at,
            },
        );
        let numbers = (number(), number(), number(), any::<u32>());
        let flags = (any::<bool>(), any::<bool>(), any::<bool>());
        let parts = (numbers, (number(), number()), prop::option::of(flight), flags);
        parts.prop_map(|(numbers, (at, id), flight, (is_emptied, is_known, is_near))| Replica {
            full_at: numbers.0,
            share_full_at: numbers.1,
            reported_at: numbers.2,
            since: numbers.3,
            epoch: Epoch { at: UnixMicros(at), id },
            begins: if is_emptied { Begins::Emptied } else { Begins::Full },
            flight,
            is_known,
            is_near,
        })
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_back_and_nothing_else_is_a_replica(
            replica in any_replica(),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = Vec::new();
            replica.pack(&mut bytes);
            prop_assert!(bytes.len() >= Replica::PACKED_BYTES_MIN);
            prop_assert!(bytes.len() <= Replica::PACKED_BYTES_MAX);
            prop_assert_eq!(Replica::unpack(&bytes), Some(replica.clone()));
            for now in [0, 1 << 62, 1 << 63, u64::MAX] {
                let before = now.saturating_sub(nanos(REPORT_AGE_MAX));
                let full = Replica { since: 0, flight: None, ..replica.clone() };
                let expected = replica.is_idle(now) || now > before && full.is_idle(before);
                prop_assert_eq!(Replica::is_droppable_packed(&bytes, now), expected);
            }
            prop_assert_eq!(Replica::unpack(&bytes[..cut.index(bytes.len())]), None);
            bytes.push(0);
            prop_assert_eq!(Replica::unpack(&bytes), None);
        }

        #[test]
        fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..90)) {
            if let Some(replica) = Replica::unpack(&bytes) {
                let mut again = Vec::new();
                replica.pack(&mut again);
                prop_assert_eq!(Replica::unpack(&again), Some(replica));
            }
        }
    }
}
