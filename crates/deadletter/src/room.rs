//! How much room letters take, and who makes room. Plain and synchronous.

use std::collections::BTreeMap;

use super::class::Class;
use crate::Bounds;

/// What the letters of one group take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) letters: u64,
    pub(super) bytes: u64,
}

impl Sum {
    pub(super) fn add(&mut self, bytes: u64) {
        self.letters = self.letters.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    pub(super) fn take(&mut self, bytes: u64) {
        self.letters = self.letters.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// Every group of letters, by its name.
pub(super) type Census = BTreeMap<String, Sum>;

/// What a bound is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Measure {
    Letters,
    Bytes,
}

impl Measure {
    fn of(self, sum: Sum) -> u64 {
        match self {
            Self::Letters => sum.letters,
            Self::Bytes => sum.bytes,
        }
    }
}

/// Which group's oldest letter has to go, and because of which bound; nothing if all have room.
///
/// The lowest class goes first, and in it the group that takes most: so a flood of one cause pushes
/// out itself.
pub(super) fn victim(census: &Census, bounds: &Bounds) -> Option<(String, &'static str)> {
    let letters_max = u64::try_from(bounds.letters_max).unwrap_or(u64::MAX);
    let all = total(census, |_| true);
    let low = total(census, Class::is_low);
    let share = |of: u64| {
        let percent = u128::from(bounds.garbage_percent);
        let share = u128::from(of).saturating_mul(percent) / 100;
        u64::try_from(share).unwrap_or(u64::MAX).max(1)
    };
    let broken = [
        (low.letters > share(letters_max), Measure::Letters, "share"),
        (low.bytes > share(bounds.bytes_max), Measure::Bytes, "share"),
        (all.letters > letters_max, Measure::Letters, "count"),
        (all.bytes > bounds.bytes_max, Measure::Bytes, "bytes"),
    ];
    let (_, measure, why) = broken.into_iter().find(|(broken, ..)| *broken)?;
    let filled = census.iter().filter(|(_, sum)| sum.letters > 0);
    let order = |(group, sum): &(&String, &Sum)| {
        (std::cmp::Reverse(Class::of_group(group)), measure.of(**sum))
    };
    filled.max_by_key(order).map(|(group, _)| (group.clone(), why))
}

fn total(census: &Census, which: impl Fn(Class) -> bool) -> Sum {
    let mut total = Sum::default();
    for (_, sum) in census.iter().filter(|(group, _)| which(Class::of_group(group))) {
        total.letters = total.letters.saturating_add(sum.letters);
        total.bytes = total.bytes.saturating_add(sum.bytes);
    }
    total
}

/// All letters together.
pub(super) fn everything(census: &Census) -> Sum {
    total(census, |_| true)
}
