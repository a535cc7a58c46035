//! Limits: their keys, rates, and the requests they are about.

use std::time::Duration;

use fleet::terms::DebtMax;
use model::bucket::Rate;
use model::hash::fingerprint;
use model::name::Name;
use model::subject::Kind;
use model::time::{DURATION_RULE, parse_duration};
use model::violation::Violation;

use super::super::{FleetLimit, Identity, LIMITS_MAX, Limit, LimitMatch, raw};
use super::routes::{group_index, matcher};
use super::{Checked, answer, fail, header, name};
use crate::path::Paths;

/// What the rest of the configuration says that bears on limits.
#[derive(Clone, Copy)]
pub(super) struct Rest<'a> {
    pub(super) groups: &'a [Name],
    pub(super) paths: Paths,
    pub(super) identity: &'a Identity,
    /// Whether any integration verifies signatures.
    pub(super) has_signatures: bool,
    /// Whether everything is in shadow.
    pub(super) shadow: bool,
    /// Whether there is an invalidator.
    pub(super) has_invalidator: bool,
}

pub(super) fn limits(raw: Vec<raw::Limit>, rest: &Rest<'_>) -> Checked<Vec<Limit>> {
    if raw.len() > LIMITS_MAX {
        return fail("limits", "must be at most 32 limits");
    }
    let mut limits: Vec<Limit> = Vec::with_capacity(raw.len());
    for (i, raw) in raw.into_iter().enumerate() {
        let field = format!("limits[{i}]");
        let limit = limit(&field, raw, rest)?;
        if limits.iter().any(|known| known.id == limit.id) {
            return fail(format!("{field}.name"), "must not be the name of another limit");
        }
        limits.push(limit);
    }
    Ok(limits)
}

fn limit(field: &str, raw: raw::Limit, rest: &Rest<'_>) -> Checked<Limit> {
    let Rest { groups, paths, identity, has_signatures, shadow, .. } = *rest;
    let name = name(&format!("{field}.name"), &raw.name)?;
    let key = key(&format!("{field}.key"), raw.key, identity, has_signatures)?;
    let interval = parse_duration(&raw.fill_interval)
        .ok_or_else(|| Violation::new(format!("{field}.fill_interval"), DURATION_RULE))?;
    let rate = Rate::new(raw.max_tokens, raw.tokens_per_fill, interval)
        .map_err(|error| error.within(field))?;
    let matchers = match raw.matchers {
        None => Vec::new(),
        Some(matchers) if matchers.is_empty() => {
            return fail(format!("{field}.match"), "must have at least one entry, or be left out");
        }
        Some(matchers) => matches(field, matchers, groups, paths)?,
    };
    Ok(Limit {
        id: fingerprint(&name),
        name,
        key,
        matchers,
        rate,
        shadow: shadow || raw.shadow,
        slab_full: raw.slab_full.map(answer),
        fleet: raw.fleet.map(|raw| fleet(&format!("{field}.fleet"), &raw, rest)).transpose()?,
    })
}

/// Most first sights that a node may report in a second.
const FIRST_SIGHTS_MAX: u32 = 10_000;

/// How many it may unless the configuration says.
const FIRST_SIGHTS_DEFAULT: u32 = 1_000;

fn fleet(field: &str, raw: &raw::FleetLimit, rest: &Rest<'_>) -> Checked<FleetLimit> {
    if !rest.has_invalidator {
        return fail(field, "must have an invalidator, which carries what nodes report");
    }
    let percent = raw.debt_max_percent.unwrap_or(DebtMax::default().as_percent());
    let debt = DebtMax::percent(percent)
        .map_err(|error| Violation::new(format!("{field}.debt_max_percent"), error.rule))?;
    let per_second = raw.first_sights_per_second.unwrap_or(FIRST_SIGHTS_DEFAULT);
    if !(1..=FIRST_SIGHTS_MAX).contains(&per_second) {
        let field = format!("{field}.first_sights_per_second");
        return fail(field, "must be between 1 and 10000");
    }
    let first_sights = Rate::new(per_second, per_second, Duration::from_secs(1))
        .map_err(|error| error.within(field))?;
    Ok(FleetLimit { debt, on_loss: raw.on_loss.0, first_sights })
}

/// The key of a limit, for which there must be somebody that it could find.
fn key(
    field: &str,
    raw::LimitKey(key): raw::LimitKey,
    identity: &Identity,
    has_signatures: bool,
) -> Checked<Kind> {
    let sources = match key {
        Kind::User => Some(("user", &identity.user)),
        Kind::Session => Some(("session", &identity.session)),
        // A verified signature names the partner too.
        Kind::Partner if has_signatures => None,
        Kind::Partner => Some(("partner", &identity.partner)),
        Kind::KeyId if has_signatures => None,
        Kind::KeyId => return fail(field, "must have an integration with a signature"),
        Kind::ClientIp => None,
        Kind::Header(name) => {
            return Ok(Kind::Header(header(&format!("{field}.header"), &name)?.into()));
        }
    };
    if let Some((kind, [])) = sources.map(|(kind, sources)| (kind, sources.as_slice())) {
        return fail(field, format!("must have a source in identity.{kind}"));
    }
    Ok(key)
}

/// The entries of a `match` that may refer to route groups.
pub(super) fn matches(
    field: &str,
    raw: Vec<raw::Matcher>,
    groups: &[Name],
    paths: Paths,
) -> Checked<Vec<LimitMatch>> {
    let numbered = raw.into_iter().enumerate();
    let check = |(j, raw)| limit_match(&format!("{field}.match[{j}]"), raw, groups, paths);
    numbered.map(check).collect()
}

fn limit_match(
    field: &str,
    raw: raw::Matcher,
    groups: &[Name],
    paths: Paths,
) -> Checked<LimitMatch> {
    let Some(name) = &raw.route_group else {
        return matcher(field, raw, paths).map(LimitMatch::Matcher);
    };
    if raw.methods.is_some() || raw.path.is_some() {
        return fail(field, "must have either route_group, or methods and path");
    }
    group_index(&format!("{field}.route_group"), name, groups).map(LimitMatch::RouteGroup)
}
