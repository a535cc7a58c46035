//! When a request was signed, and whether that is neither too long ago nor still to come.

use model::time::UnixMicros;

use crate::{Failure, SignatureRules};

pub(super) fn check_time(
    signature: &SignatureRules,
    timestamp: Option<u64>,
    expires: Option<u64>,
    now: UnixMicros,
) -> Result<(), Failure> {
    let Some(seconds) = timestamp else { return Ok(()) };
    if latest(signature, seconds, expires) < now {
        return Err(Failure::Stale);
    }
    if now.saturating_add(signature.reach()) < instant(seconds) {
        return Err(Failure::Future);
    }
    Ok(())
}

/// Whether a request was signed out of tolerance, and goes on because such requests are marked.
pub(super) fn is_skewed(
    signature: &SignatureRules,
    timestamp: Option<u64>,
    now: UnixMicros,
) -> bool {
    let tolerance = signature.tolerance;
    timestamp
        .map(instant)
        .is_some_and(|at| at.saturating_add(tolerance) < now || now.saturating_add(tolerance) < at)
}

/// When a request that was signed at this time is used at the latest; its signer can want that to be sooner.
pub(super) fn latest(signature: &SignatureRules, seconds: u64, expires: Option<u64>) -> UnixMicros {
    let latest = instant(seconds).saturating_add(signature.reach());
    expires.map_or(latest, |expires| latest.min(instant(expires)))
}

pub(super) fn instant(seconds: u64) -> UnixMicros {
    UnixMicros(seconds.saturating_mul(1_000_000))
}

pub(super) fn skew_ms(seconds: u64, now: UnixMicros) -> i64 {
    let ms = |at: UnixMicros| i64::try_from(at.0 / 1_000).unwrap_or(i64::MAX);
    ms(now).saturating_sub(ms(instant(seconds)))
}
