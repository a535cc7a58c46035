//! From the configuration's shape to its meaning: every rule, with the path of the field at fault.

mod limits;
mod routes;
mod signed;
mod worker;

use std::ops::RangeInclusive;
use std::time::Duration;

use model::name::Name;
use model::push;
use model::time::{DURATION_RULE, parse_duration};
use model::violation::Violation;

use super::fail::{Answer, AnswerByRoute, FailPolicy};
use super::{
    Config, IdSource, Identity, Invalidator, LimitMatch, Matcher, OpenStreams, RateLimitHeaders,
    Responses, SECRET_BYTES_MAX, SECRET_BYTES_MIN, SOURCES_MAX, Storage, raw,
};
use crate::network::Networks;
use crate::path::Paths;
use limits::{Rest, limits};
use routes::{group_index, route_groups};

/// Longer than any poll is held, so that a node which hears every heartbeat is fresh.
const STALE_AFTER_MIN: Duration = Duration::from_secs(3);

type Checked<T> = Result<T, Violation>;

const SLABS_DEFAULT: u32 = 65_536;
const SLABS_MIN: u32 = 16;
const SLABS_MAX: u32 = 1_048_576;
const SLAB_BYTES_DEFAULT: u32 = 1_024;
const SLAB_BYTES_MIN: u32 = 64;
const SLAB_BYTES_MAX: u32 = 65_536;

fn fail<T>(field: impl Into<String>, rule: impl Into<String>) -> Checked<T> {
    Err(Violation::new(field, rule))
}

pub(super) fn config(raw: raw::Config) -> Checked<Config> {
    let paths = paths(&raw.paths, raw.shadow);
    let route_groups = route_groups(raw.route_groups, paths)?;
    let names: Vec<Name> = route_groups.iter().map(|group| group.name.clone()).collect();
    let invalidator = raw.invalidator.map(|i| invalidator(i, raw.shadow)).transpose()?;
    let identity = identity(raw.identity, raw.shadow)?;
    let integrations = signed::integrations(raw.integrations, &names, paths, raw.shadow)?;
    let has_signatures = integrations.iter().any(|i| i.signature.is_some());
    let keys = signed::keys(raw.keys, &integrations)?;
    signed::coverage(&integrations, &keys, invalidator.is_some())?;
    let replay = signed::replay(&raw.replay.unwrap_or_default(), &integrations)?;
    let shadow = raw.shadow;
    let rest = Rest {
        groups: &names,
        paths,
        identity: &identity,
        has_signatures,
        shadow,
        has_invalidator: invalidator.is_some(),
    };
    let limits = limits(raw.limits, &rest)?;
    if invalidator.is_some() && identity.user.is_empty() && identity.session.is_empty() {
        return fail("identity", "must say where the user or session is: invalidations name them");
    }
    let storage = storage(&raw.storage)?;
    let held = worker::held(&raw.held, &integrations)?;
    let unverified = worker::unverified(&raw.unverified)?;
    let regex_bytes = worker::regex_bytes(raw.paths.regex_bytes_max)?;
    let in_limits = limits.iter().flat_map(|limit| &limit.matchers);
    let matchers = integrations.iter().flat_map(|one| &one.matchers).chain(in_limits);
    let has_regex = route_groups.iter().flat_map(|group| &group.matchers).any(Matcher::has_regex)
        || matchers.into_iter().any(LimitMatch::has_regex);
    Ok(Config {
        node: raw.node.map(node).transpose()?,
        stat_prefix: name("stat_prefix", raw.stat_prefix.as_deref().unwrap_or("portcullis"))?,
        identity,
        paths,
        limits,
        shadow: raw.shadow,
        blocks_shadow: raw.shadow || raw.blocks.shadow,
        open_streams: open_streams(raw.blocks, &names, raw.shadow, invalidator.is_some())?,
        responses: responses(&raw.responses),
        fail_policy: fail_policy(raw.fail_policy, &names, invalidator.is_some(), raw.shadow)?,
        invalidator,
        storage,
        route_groups,
        integrations,
        keys,
        replay: has_signatures.then_some(replay),
        held,
        unverified,
        regex_bytes_max: has_regex.then_some(regex_bytes),
    })
}

fn identity(raw: raw::Identity, shadow: bool) -> Checked<Identity> {
    let missing_user = match raw.missing_user {
        Some(given) => answer(given),
        None if raw.user.is_empty() => Answer::Allow,
        None => return fail("identity.missing_user", "must be \"allow\" or \"deny\""),
    };
    if raw.user.is_empty() && missing_user == Answer::Deny {
        return fail("identity.user", "must name a source when missing_user is \"deny\"");
    }
    Ok(Identity {
        user: sources("identity.user", raw.user)?,
        session: sources("identity.session", raw.session)?,
        partner: sources("identity.partner", raw.partner)?,
        missing_user,
        keeps_commas: raw.commas.0,
        ignores_unusable_claims: raw.unusable_claim.0,
        client_ip: networks(&raw.client_ip)?,
        shadow: shadow || raw.shadow,
    })
}

fn networks(raw: &raw::Networks) -> Checked<Networks> {
    let prefix = |name: &str, given: Option<u32>, default: u8, range: RangeInclusive<u8>| {
        let (least, most) = (*range.start(), *range.end());
        let given = given.map_or(Some(default), |given| u8::try_from(given).ok());
        given.filter(|bits| range.contains(bits)).ok_or_else(|| {
            let rule = format!("must be from {least} to {most}");
            Violation::new(format!("identity.client_ip.{name}"), rule)
        })
    };
    let Networks { ipv4_prefix, ipv6_prefix } = Networks::default();
    Ok(Networks {
        ipv4_prefix: prefix("ipv4_prefix", raw.ipv4_prefix, ipv4_prefix, 8..=32)?,
        ipv6_prefix: prefix("ipv6_prefix", raw.ipv6_prefix, ipv6_prefix, 16..=128)?,
    })
}

fn paths(raw: &raw::Paths, shadow: bool) -> Paths {
    Paths {
        refuses_parameters: raw.parameters.0,
        decodes_slashes: raw.encoded_slashes.0,
        ignores_case: raw.ignore_case,
        allows_tunnels: raw.connect.0,
        shadow: shadow || raw.shadow,
    }
}

fn sources(field: &str, raw: Vec<raw::Source>) -> Checked<Vec<IdSource>> {
    if raw.len() > SOURCES_MAX {
        return fail(field, "must be at most 8 sources");
    }
    let numbered = raw.into_iter().enumerate();
    numbered.map(|(i, raw)| source(&format!("{field}[{i}]"), raw)).collect()
}

fn source(field: &str, raw: raw::Source) -> Checked<IdSource> {
    Ok(match raw {
        raw::Source::JwtClaim(jwt) => IdSource::JwtClaim {
            payload: text(&format!("{field}.jwt_claim.payload"), jwt.payload)?,
            claim: text(&format!("{field}.jwt_claim.claim"), jwt.claim)?,
        },
        raw::Source::Header(name) => IdSource::Header(header(&format!("{field}.header"), &name)?),
        raw::Source::Cookie(name) => {
            let field = format!("{field}.cookie");
            if !is_token(&name) {
                return fail(field, "must be a cookie's name");
            }
            IdSource::Cookie(name)
        }
        raw::Source::ClientIp(true) => IdSource::ClientIp,
        raw::Source::ClientIp(false) => {
            return fail(format!("{field}.client_ip"), "must be true, or left out");
        }
    })
}

fn responses(raw: &raw::Responses) -> Responses {
    Responses {
        ratelimit_headers: match raw.ratelimit_headers {
            raw::RateLimitHeaders::Off => RateLimitHeaders::Off,
            raw::RateLimitHeaders::OnReject => RateLimitHeaders::OnReject,
            raw::RateLimitHeaders::Always => RateLimitHeaders::Always,
        },
        legacy_headers: raw.legacy_headers,
    }
}

fn invalidator(raw: raw::Invalidator, shadow: bool) -> Checked<Invalidator> {
    let fits = (SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&raw.secret.len());
    if !fits || !raw.secret.bytes().all(|b| b.is_ascii_graphic()) {
        return fail("invalidator.secret", "must be 16 to 256 visible ASCII characters");
    }
    let stale_after = parse_duration(&raw.stale_after)
        .ok_or_else(|| Violation::new("invalidator.stale_after", DURATION_RULE))?;
    if stale_after < STALE_AFTER_MIN {
        let rule = "must be at least 3s: a heartbeat may take 2s";
        return fail("invalidator.stale_after", rule);
    }
    Ok(Invalidator {
        cluster: text("invalidator.cluster", raw.cluster)?,
        secret: raw.secret,
        stale_after,
        shadow: shadow || raw.shadow,
    })
}

fn fail_policy(
    raw: raw::FailPolicy,
    groups: &[Name],
    synced: bool,
    shadow: bool,
) -> Checked<FailPolicy> {
    let by_route = |field: &str, raw: Option<raw::AnswerByRoute>| match (raw, synced) {
        (Some(raw), true) => answer_by_route(field, raw, groups),
        (None, true) => fail(field, "must be given with an invalidator: \"allow\" or \"deny\""),
        (Some(_), false) => fail(field, "must be left out without an invalidator"),
        (None, false) => Ok(AnswerByRoute::everywhere(Answer::Allow)),
    };
    Ok(FailPolicy {
        never_synced: by_route("fail_policy.never_synced", raw.never_synced)?,
        stale: by_route("fail_policy.stale", raw.stale)?,
        slab_full: answer(raw.slab_full),
        contention: answer(raw.contention),
        shadow,
    })
}

fn answer_by_route(
    field: &str,
    raw: raw::AnswerByRoute,
    groups: &[Name],
) -> Checked<AnswerByRoute> {
    let raw::AnswerByRoute(raw::ByRoute { default, route_groups }) = raw;
    let by_group = route_groups.0.into_iter().map(|(name, given)| (name, answer(given)));
    by_route(field, answer(default), by_group, groups)
}

/// Whether what is open ends is an answer as well: what ends is denied.
fn open_streams(
    raw: raw::Blocks,
    groups: &[Name],
    shadow: bool,
    synced: bool,
) -> Checked<OpenStreams> {
    let answer = |raw: raw::Ending| match raw {
        raw::Ending::End => Answer::Deny,
        raw::Ending::Keep => Answer::Allow,
    };
    let raw::OpenStreams(raw::EndingByRoute { default, route_groups }) = raw.open_streams;
    // Without an invalidator there is nothing to end.
    let default = if synced { answer(default) } else { Answer::Allow };
    let by_group = route_groups.0.into_iter().map(|(name, given)| (name, answer(given)));
    let ends = by_route("blocks.open_streams", default, by_group, groups)?;
    Ok(OpenStreams { ends, shadow: shadow || raw.shadow || raw.open_streams_shadow })
}

fn by_route(
    field: &str,
    default: Answer,
    by_group: impl Iterator<Item = (String, Answer)>,
    groups: &[Name],
) -> Checked<AnswerByRoute> {
    let mut checked = AnswerByRoute::everywhere(default);
    let AnswerByRoute { allow, deny, .. } = &mut checked;
    for (name, given) in by_group {
        let field = format!("{field}.route_groups.{name}");
        let index = group_index(&field, &name, groups)?;
        if allow.contains(index) || deny.contains(index) {
            return fail(field, "must not stand twice");
        }
        match given {
            Answer::Allow => allow.insert(index),
            Answer::Deny => deny.insert(index),
        }
    }
    Ok(checked)
}

fn answer(raw: raw::Answer) -> Answer {
    match raw {
        raw::Answer::Allow => Answer::Allow,
        raw::Answer::Deny => Answer::Deny,
    }
}

fn storage(raw: &raw::Storage) -> Checked<Storage> {
    let slabs = raw.slabs.unwrap_or(SLABS_DEFAULT);
    if !slabs.is_power_of_two() || !(SLABS_MIN..=SLABS_MAX).contains(&slabs) {
        return fail("storage.slabs", "must be a power of two from 16 to 1048576");
    }
    let bytes = raw.slab_bytes_max.unwrap_or(SLAB_BYTES_DEFAULT);
    if !(SLAB_BYTES_MIN..=SLAB_BYTES_MAX).contains(&bytes) {
        return fail("storage.slab_bytes_max", "must be from 64 to 65536");
    }
    Ok(Storage { slabs, slab_bytes_max: usize::try_from(bytes).unwrap_or(usize::MAX) })
}

/// The invalidator refuses polls from nodes whose name breaks this rule.
fn node(name: String) -> Checked<String> {
    if push::is_node_name(&name) { Ok(name) } else { fail("node", push::NODE_NAME_RULE) }
}

fn name(field: &str, text: &str) -> Checked<Name> {
    Name::parse(text).ok_or_else(|| Violation::new(field, Name::RULE))
}

fn text(field: &str, text: String) -> Checked<String> {
    let fits = (1..=256).contains(&text.len());
    if fits { Ok(text) } else { fail(field, "must be 1 to 256 bytes") }
}

fn header(field: &str, name: &str) -> Checked<String> {
    match is_token(name) {
        // The proxy makes `:authority` of it, so nothing would ever be found. It has many spellings, too.
        true if name.eq_ignore_ascii_case("host") => fail(
            field,
            "must not be host, which no filter sees: tell hosts apart by Envoy's routes",
        ),
        true => Ok(name.to_ascii_lowercase()),
        false => fail(field, "must be a header's name"),
    }
}

/// A token of RFC 9110 (section 5.6.2): what a header or a cookie can be named.
fn is_token(name: &str) -> bool {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    (1..=256).contains(&name.len()) && name.bytes().all(token)
}
