//! What is kept of a rate beside a bucket: enough to know how many tokens are missing from it.
//!
//! A bucket says when it will be full, and not what that is in tokens. A configuration that has
//! another rate than the one before, both of them in force while Envoy drains old connections, knows of the
//! other only what stands here: the time per token and the number of tokens, as decimal numbers
//! of three digits at least, rounded down. What is lost is made good by rounding against the client; of the
//! numbers that people write nothing is.
//!
//! Layout, from the top: the mark `01`, whether the time per token is exact, that time (4 bits of exponent, 12 of
//! mantissa), the tokens (3 and 10). Older modules put a hash here. Three of four of them lack the mark, and most others
//! are no rate that could be configured; of those the time until the bucket is full is all that is known.

use std::time::Duration;

use super::{REFILL_MAX, Rate, TOKEN_INTERVAL_MIN};

/// What is kept of a rate beside a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateTag(pub u32);

const MARK: u32 = 0b01;
const TOKEN_BITS: u32 = 12;
const TOKENS_BITS: u32 = 10;
const TOKENS_WIDTH: u32 = 3 + TOKENS_BITS;
const TOKEN_WIDTH: u32 = 4 + TOKEN_BITS;

/// A rate as far as its tag tells it: bounds on each number, inclusive.
struct Known {
    token_ns: (u64, u64),
    tokens: (u64, u64),
}

impl RateTag {
    pub(super) fn new(token_ns: u64, max_tokens: u32) -> Self {
        let token = pack(token_ns, TOKEN_BITS);
        let tokens = pack(max_tokens.into(), TOKENS_BITS);
        let is_exact = u32::from(unpack(token, TOKEN_BITS).0 == token_ns);
        Self(((MARK << 1 | is_exact) << TOKEN_WIDTH | token) << TOKENS_WIDTH | tokens)
    }

    /// Whether it tells a rate; a hash that an older module has left hardly ever does.
    #[must_use]
    pub fn is_known(self) -> bool {
        self.known().is_some()
    }

    /// The number of tokens at least; none of a rate that is not known.
    #[must_use]
    pub fn max_tokens(self) -> Option<u64> {
        self.known().map(|known| known.tokens.0)
    }

    /// The rate, as far as the tag tells it: exactly for the numbers that people write, else less than 1 % faster.
    #[must_use]
    pub fn rate(self) -> Option<Rate> {
        let Known { token_ns, tokens } = self.known()?;
        let max = u32::try_from(tokens.0).ok()?;
        Rate::new(max, 1, Duration::from_nanos(token_ns.0)).ok()
    }

    /// How long the tokens that are missing for so long take at so much time for each, at most.
    pub(super) fn tokens_at(self, missing_ns: u64, token_ns: u64) -> Option<u64> {
        let Known { token_ns: (least, most), tokens: (_, tokens) } = self.known()?;
        if missing_ns > most.saturating_mul(tokens) {
            return None;
        }
        let scaled = u128::from(missing_ns).saturating_mul(u128::from(token_ns));
        Some(u64::try_from(scaled.div_ceil(u128::from(least.max(1)))).unwrap_or(u64::MAX))
    }

    /// For how long something is missing from the bucket once one more token is.
    pub(super) fn after_one_more(self, missing_ns: u64) -> u64 {
        let Some(Known { token_ns: (least, most), tokens: (tokens, _) }) = self.known() else {
            return missing_ns;
        };
        let refill = least.saturating_mul(tokens);
        missing_ns.saturating_add(most).min(refill).max(missing_ns)
    }

    fn known(self) -> Option<Known> {
        let mut token_ns = unpack(self.0 >> TOKENS_WIDTH & ((1 << TOKEN_WIDTH) - 1), TOKEN_BITS);
        let mark = self.0 >> (TOKEN_WIDTH + TOKENS_WIDTH);
        if mark & 1 == 1 {
            token_ns.1 = token_ns.0;
        }
        let tokens = unpack(self.0 & ((1 << TOKENS_WIDTH) - 1), TOKENS_BITS);
        let refill = u128::from(token_ns.0).saturating_mul(u128::from(tokens.0));
        let is_rate = mark >> 1 == MARK
            && u128::from(token_ns.1) >= TOKEN_INTERVAL_MIN.as_nanos()
            && refill <= REFILL_MAX.as_nanos();
        is_rate.then_some(Known { token_ns, tokens })
    }
}

/// How often a number has to be divided by ten to have no more than so many bits, and what is left.
fn pack(value: u64, bits: u32) -> u32 {
    let (mut mantissa, mut exponent) = (value, 0u32);
    while mantissa >> bits != 0 {
        mantissa /= 10;
        exponent += 1;
    }
    exponent << bits | mantissa as u32
}

/// The least and the greatest number that are packed so.
fn unpack(packed: u32, bits: u32) -> (u64, u64) {
    let step = 10u64.saturating_pow(packed >> bits);
    let least = u64::from(packed & ((1 << bits) - 1)).saturating_mul(step);
    (least, least.saturating_add(step - 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_that_people_write_are_kept() {
        let ms = 1_000_000;
        for (token_ns, max) in [(1_000 * ms, 10), (600 * ms, 100), (12 * ms, 5_000), (864 * ms, 1)]
        {
            let Known { token_ns: token, tokens } = RateTag::new(token_ns, max).known().unwrap();
            assert_eq!((token, tokens.0), ((token_ns, token_ns), u64::from(max)));
            let rate = RateTag::new(token_ns, max).rate().unwrap();
            assert_eq!(rate.refill(), Duration::from_nanos(token_ns) * max);
            assert_eq!(rate.max_tokens(), max);
        }
    }

    proptest! {
        #[test]
        fn a_rate_lies_within_what_its_tag_tells(
            token_ns in prop_oneof![100u64..5_000, 100u64..600_000_000_000_000],
            max in prop_oneof![1u32..2_000, 1u32..=u32::MAX],
        ) {
            let refill = u128::from(token_ns) * u128::from(max);
            prop_assume!(refill <= REFILL_MAX.as_nanos());
            let known = RateTag::new(token_ns, max).known().unwrap();
            let is_close = |(least, most): (u64, u64), value: u64| {
                least <= value && value <= most && most - least <= least / 100
            };
            prop_assert!(is_close(known.token_ns, token_ns));
            prop_assert!(is_close(known.tokens, max.into()));
            prop_assert!(max > 1_023 || known.tokens == (max.into(), max.into()), "exact");
            prop_assert!(token_ns > 4_095 || known.token_ns == (token_ns, token_ns), "exact");
        }

        #[test]
        fn any_number_is_answered(
            tag in any::<u32>(),
            missing in any::<u64>(),
            token_ns in any::<u64>(),
        ) {
            let tag = RateTag(tag);
            prop_assert!(tag.is_known() || tag.tokens_at(missing, token_ns).is_none());
            prop_assert!(tag.after_one_more(missing) >= missing);
        }
    }
}
