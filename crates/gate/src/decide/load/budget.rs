//! How many bytes each client address may have hashed in vain: a bucket per address, in a table of fixed
//! size.
//!
//! An address has a cell in each of two rows, by its keyed hash, and counts as having spent the
//! smaller of what they say. So the table needs no room per address, forgets nobody, and an address
//! pays for others only if they share both of its cells, which nobody can aim at.

use std::time::Duration;

use model::hash::SubjectHash;
use model::time::MonotonicNanos;

use crate::config::Unverified;

/// Cells of each row; a power of two.
const CELLS: usize = 1_024;

/// The most that can be owed, in full buckets: so long does nobody have to wait.
const DEBT_MAX: u64 = 2;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Each cell is the instant at which nothing is owed.
#[derive(Debug, Default)]
pub(super) struct Budget {
    bytes_per_second: u64,
    burst_ns: u64,
    rows: [Vec<MonotonicNanos>; 2],
}

impl Budget {
    pub(super) fn new(rule: Unverified) -> Self {
        let bytes_per_second = u64::from(rule.bytes_per_second.max(1));
        let mut budget = Self { bytes_per_second, ..Self::default() };
        budget.burst_ns = budget.nanos(u64::from(rule.bytes_burst));
        budget.rows = [vec![0; CELLS], vec![0; CELLS]];
        budget
    }

    fn nanos(&self, bytes: u64) -> u64 {
        bytes
            .saturating_mul(NANOS_PER_SECOND)
            .checked_div(self.bytes_per_second)
            .unwrap_or(u64::MAX)
    }

    /// Whether an address has anything left; if not, how long until it has.
    pub(super) fn check(&self, address: SubjectHash, now: MonotonicNanos) -> Result<(), Duration> {
        let owed = self.rows.iter().zip(places(address)).filter_map(|(row, at)| row.get(at));
        let owed = owed.min().map_or(0, |cell| cell.saturating_sub(now));
        match owed.checked_sub(self.burst_ns) {
            None => Ok(()),
            Some(_) if owed == 0 => Ok(()),
            Some(over) => Err(Duration::from_nanos(over.saturating_add(1))),
        }
    }

    /// Takes so many bytes from an address.
    pub(super) fn charge(&mut self, address: SubjectHash, bytes: usize, now: MonotonicNanos) {
        let cost = self.nanos(u64::try_from(bytes).unwrap_or(u64::MAX));
        let most = now.saturating_add(self.burst_ns.saturating_mul(DEBT_MAX));
        for (row, at) in self.rows.iter_mut().zip(places(address)) {
            if let Some(cell) = row.get_mut(at) {
                *cell = (*cell).max(now).saturating_add(cost).min(most);
            }
        }
    }
}

/// The address's cell in each row.
fn places(address: SubjectHash) -> [usize; 2] {
    let [a, b, c, d, ..] = address.0;
    let place = |low: u8, high: u8| usize::from(u16::from_le_bytes([low, high])) & (CELLS - 1);
    [place(a, b), place(c, d)]
}
