//! The bounds of one worker.

use std::time::Duration;

use model::time::{DURATION_RULE, parse_duration};
use model::violation::Violation;

use super::super::integration::Integration;
use super::super::raw;
use super::super::worker::{HeldBounds, Unverified};
use super::{Checked, fail};

const REQUESTS_DEFAULT: u32 = 1_024;
/// Where there are many integrations, each has room for so many at least.
const REQUESTS_EACH: u32 = 64;
const REQUESTS_MAX: u32 = 65_536;
const BYTES_DEFAULT: u32 = 64 * 1024 * 1024;
/// The part of everything that one client address may take.
const ADDRESS_PART: u32 = 4;
const TIME_DEFAULT: Duration = Duration::from_secs(30);
const TIME_MIN: Duration = Duration::from_secs(1);
const TIME_MAX: Duration = Duration::from_secs(60 * 60);

const PER_SECOND_DEFAULT: u32 = 4 * 1024 * 1024;
const PER_SECOND_MIN: u32 = 64 * 1024;
const BURST_DEFAULT: u32 = 32 * 1024 * 1024;
const BURST_MIN: u32 = 1024 * 1024;

const REGEX_BYTES_DEFAULT: u32 = 1_024;
const REGEX_BYTES_MIN: u32 = 64;
const REGEX_BYTES_MAX: u32 = 65_536;

pub(super) fn held(raw: &raw::Held, integrations: &[Integration]) -> Checked<HeldBounds> {
    let holding: Vec<_> = integrations.iter().filter(|one| one.can_hold()).collect();
    let bytes_of = |one: &&Integration| u32::try_from(one.body_bytes_max?).ok();
    let largest = holding.iter().filter_map(bytes_of).max().unwrap_or(0);
    let sum = holding.iter().filter_map(bytes_of).fold(0, u32::saturating_add);
    let count = u32::try_from(holding.len()).unwrap_or(u32::MAX);

    let requests_default = REQUESTS_DEFAULT.max(count.saturating_mul(REQUESTS_EACH));
    let requests = raw.requests_max.unwrap_or(requests_default);
    if !(count.max(1)..=REQUESTS_MAX).contains(&requests) {
        let rule = format!("must be from {} to 65536: one for each integration", count.max(1));
        return fail("held.requests_max", rule);
    }
    let bytes = raw.bytes_max.unwrap_or(BYTES_DEFAULT.max(sum));
    if bytes < sum.max(1) {
        let rule = "each integration's share must have room for its largest body";
        return fail("held.bytes_max", format!("must be at least {}: {rule}", sum.max(1)));
    }
    let part = |of: u32| of.div_ceil(ADDRESS_PART);
    let address_requests = raw.address_requests_max.unwrap_or(part(requests));
    if !(1..=requests).contains(&address_requests) {
        let rule = format!("must be from 1 to {requests}, which is requests_max");
        return fail("held.address_requests_max", rule);
    }
    let address_bytes = raw.address_bytes_max.unwrap_or(part(bytes).max(largest));
    if !(largest.max(1)..=bytes).contains(&address_bytes) {
        let largest = largest.max(1);
        let rule = format!("must be from {largest}, the largest body, to {bytes}, bytes_max");
        return fail("held.address_bytes_max", rule);
    }
    Ok(HeldBounds {
        requests: size(requests),
        bytes: size(bytes),
        address_requests: size(address_requests),
        address_bytes: size(address_bytes),
        time: time(raw.time_max.as_deref())?,
    })
}

fn time(raw: Option<&str>) -> Checked<Duration> {
    let Some(text) = raw else { return Ok(TIME_DEFAULT) };
    let span = parse_duration(text);
    let span = span.ok_or_else(|| Violation::new("held.time_max", DURATION_RULE))?;
    match (TIME_MIN..=TIME_MAX).contains(&span) {
        true => Ok(span),
        false => fail("held.time_max", "must be from 1s to 1h"),
    }
}

pub(super) fn unverified(raw: &raw::Unverified) -> Checked<Unverified> {
    let bytes_per_second = raw.bytes_per_second.unwrap_or(PER_SECOND_DEFAULT);
    if bytes_per_second < PER_SECOND_MIN {
        return fail("unverified.bytes_per_second", "must be at least 65536");
    }
    let bytes_burst = raw.bytes_burst.unwrap_or(BURST_DEFAULT);
    if bytes_burst < BURST_MIN {
        return fail("unverified.bytes_burst", "must be at least 1048576");
    }
    Ok(Unverified { bytes_per_second, bytes_burst })
}

/// The longest path that regular expressions are asked about.
pub(super) fn regex_bytes(raw: Option<u32>) -> Checked<usize> {
    let bytes = raw.unwrap_or(REGEX_BYTES_DEFAULT);
    match (REGEX_BYTES_MIN..=REGEX_BYTES_MAX).contains(&bytes) {
        true => Ok(size(bytes)),
        false => fail("paths.regex_bytes_max", "must be from 64 to 65536"),
    }
}

fn size(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
