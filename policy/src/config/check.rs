//! From the configuration's shape to its meaning: every rule, with the path of the field at fault.

use std::time::Duration;

use regex_lite::Regex;

use super::fail::{Answer, AnswerByRoute, FailPolicy};
use super::route::{Groups, Matcher, PathMatch, RouteGroup};
use super::{
    Config, ConfigError, Identity, Invalidator, LIMITS_MAX, Limit, LimitMatch, ROUTE_GROUPS_MAX,
    RateLimitHeaders, Responses, SECRET_BYTES_MIN, SOURCES_MAX, Source, Storage, raw,
};
use crate::bucket::Rate;
use crate::hash::fingerprint;
use crate::name::Name;
use crate::subject::Kind;
use crate::time::{DURATION_RULE, parse_duration};

type Checked<T> = Result<T, ConfigError>;

const SLABS_DEFAULT: u32 = 65_536;
const SLABS_MIN: u32 = 16;
const SLABS_MAX: u32 = 1_048_576;
const SLAB_BYTES_DEFAULT: u32 = 1_024;
const SLAB_BYTES_MIN: u32 = 64;
const SLAB_BYTES_MAX: u32 = 65_536;

fn fail<T>(field: impl Into<String>, rule: impl Into<String>) -> Checked<T> {
    Err(ConfigError::new(field, rule))
}

pub(super) fn config(raw: raw::Config) -> Checked<Config> {
    let route_groups = route_groups(raw.route_groups)?;
    let names: Vec<Name> = route_groups.iter().map(|group| group.name.clone()).collect();
    let invalidator = raw.invalidator.map(|i| invalidator(i, raw.shadow)).transpose()?;
    let identity = identity(raw.identity, raw.shadow)?;
    let limits = limits(raw.limits, &names, &identity, raw.shadow)?;
    if invalidator.is_some() && identity.user.is_empty() && identity.session.is_empty() {
        return fail("identity", "must say where the user or session is: invalidations name them");
    }
    Ok(Config {
        node: raw.node.map(|node| text("node", node)).transpose()?,
        stat_prefix: name("stat_prefix", raw.stat_prefix.as_deref().unwrap_or("portcullis"))?,
        identity,
        limits,
        blocks_shadow: raw.shadow || raw.blocks.shadow,
        responses: responses(&raw.responses),
        fail_policy: fail_policy(raw.fail_policy, &names, invalidator.is_some())?,
        invalidator,
        storage: storage(&raw.storage)?,
        route_groups,
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
        shadow: shadow || raw.shadow,
    })
}

fn sources(field: &str, raw: Vec<raw::Source>) -> Checked<Vec<Source>> {
    if raw.len() > SOURCES_MAX {
        return fail(field, "must be at most 8 sources");
    }
    let numbered = raw.into_iter().enumerate();
    numbered.map(|(i, raw)| source(&format!("{field}[{i}]"), raw)).collect()
}

fn source(field: &str, raw: raw::Source) -> Checked<Source> {
    Ok(match raw {
        raw::Source::JwtClaim(jwt) => Source::JwtClaim {
            payload: text(&format!("{field}.jwt_claim.payload"), jwt.payload)?,
            claim: text(&format!("{field}.jwt_claim.claim"), jwt.claim)?,
        },
        raw::Source::Header(name) => Source::Header(header(&format!("{field}.header"), &name)?),
        raw::Source::Cookie(name) => {
            let field = format!("{field}.cookie");
            if name.contains(['=', ';', ' ', ',']) {
                return fail(field, "must be a cookie's name");
            }
            Source::Cookie(text(&field, name)?)
        }
        raw::Source::ClientIp(true) => Source::ClientIp,
        raw::Source::ClientIp(false) => {
            return fail(format!("{field}.client_ip"), "must be true, or left out");
        }
    })
}

fn route_groups(raw: Vec<raw::RouteGroup>) -> Checked<Vec<RouteGroup>> {
    if raw.len() > ROUTE_GROUPS_MAX {
        return fail("route_groups", "must be at most 64 groups");
    }
    let mut groups: Vec<RouteGroup> = Vec::with_capacity(raw.len());
    for (i, group) in raw.into_iter().enumerate() {
        let field = format!("route_groups[{i}]");
        let name = name(&format!("{field}.name"), &group.name)?;
        if groups.iter().any(|known| known.name == name) {
            return fail(format!("{field}.name"), "must not be the name of another group");
        }
        if group.matchers.is_empty() {
            return fail(format!("{field}.match"), "must have at least one entry");
        }
        let mut matchers = Vec::with_capacity(group.matchers.len());
        for (j, raw) in group.matchers.into_iter().enumerate() {
            let field = format!("{field}.match[{j}]");
            if raw.route_group.is_some() {
                return fail(format!("{field}.route_group"), "must not be used inside a group");
            }
            matchers.push(matcher(&field, raw)?);
        }
        groups.push(RouteGroup { name, matchers });
    }
    Ok(groups)
}

fn matcher(field: &str, raw: raw::Matcher) -> Checked<Matcher> {
    if raw.methods.is_none() && raw.path.is_none() {
        return fail(field, "must have methods, path or both");
    }
    let methods = raw.methods.unwrap_or_default();
    let is_method = |m: &String| !m.is_empty() && m.bytes().all(|b| b.is_ascii_uppercase());
    if !methods.iter().all(is_method) {
        return fail(format!("{field}.methods"), "must be upper-case methods, such as \"POST\"");
    }
    let path = raw.path.map(|raw| path(&format!("{field}.path"), raw)).transpose()?;
    Ok(Matcher { methods, path })
}

fn path(field: &str, raw: raw::Path) -> Checked<PathMatch> {
    let absolute =
        |kind: &str, path: &str| match path.starts_with('/') && !path.contains(['?', '#']) {
            true => Ok(()),
            false => fail(format!("{field}.{kind}"), "must begin with \"/\", and have no query"),
        };
    Ok(match raw {
        raw::Path::Exact(whole) => {
            absolute("exact", &whole)?;
            PathMatch::Exact(whole)
        }
        raw::Path::Prefix(prefix) => {
            absolute("prefix", &prefix)?;
            PathMatch::Prefix(prefix.trim_end_matches('/').to_owned())
        }
        raw::Path::Regex(pattern) => {
            let whole = format!("^(?:{pattern})$");
            match Regex::new(&whole) {
                Ok(regex) => PathMatch::Regex(regex),
                Err(e) => return fail(format!("{field}.regex"), format!("must be a regex: {e}")),
            }
        }
    })
}

fn limits(
    raw: Vec<raw::Limit>,
    groups: &[Name],
    identity: &Identity,
    shadow: bool,
) -> Checked<Vec<Limit>> {
    if raw.len() > LIMITS_MAX {
        return fail("limits", "must be at most 32 limits");
    }
    let mut limits: Vec<Limit> = Vec::with_capacity(raw.len());
    for (i, raw) in raw.into_iter().enumerate() {
        let limit = limit(&format!("limits[{i}]"), raw, groups, identity, shadow)?;
        if limits.iter().any(|known| known.id == limit.id) {
            return fail(format!("limits[{i}].name"), "must not be the name of another limit");
        }
        limits.push(limit);
    }
    Ok(limits)
}

fn limit(
    field: &str,
    raw: raw::Limit,
    groups: &[Name],
    identity: &Identity,
    shadow: bool,
) -> Checked<Limit> {
    let name = name(&format!("{field}.name"), &raw.name)?;
    let key = match raw.key {
        raw::Key::User => Kind::User,
        raw::Key::Session => Kind::Session,
        raw::Key::Partner => Kind::Partner,
        raw::Key::ClientIp => Kind::ClientIp,
        raw::Key::Header(name) => {
            Kind::Header(header(&format!("{field}.key.header"), &name)?.into())
        }
    };
    let sources = match key {
        Kind::User => Some(("user", &identity.user)),
        Kind::Session => Some(("session", &identity.session)),
        Kind::Partner => Some(("partner", &identity.partner)),
        Kind::ClientIp | Kind::Header(_) => None,
    };
    if let Some((kind, [])) = sources.map(|(kind, sources)| (kind, sources.as_slice())) {
        return fail(format!("{field}.key"), format!("must have a source in identity.{kind}"));
    }
    let interval = parse_duration(&raw.fill_interval)
        .ok_or_else(|| ConfigError::new(format!("{field}.fill_interval"), DURATION_RULE))?;
    let rate = Rate::new(raw.max_tokens, raw.tokens_per_fill, interval)
        .map_err(|e| ConfigError::new(format!("{field}.{}", e.field), e.rule))?;
    let matchers = match raw.matchers {
        None => Vec::new(),
        Some(matchers) if matchers.is_empty() => {
            return fail(format!("{field}.match"), "must have at least one entry, or be left out");
        }
        Some(matchers) => {
            let numbered = matchers.into_iter().enumerate();
            let check = |(j, raw)| limit_match(&format!("{field}.match[{j}]"), raw, groups);
            numbered.map(check).collect::<Checked<_>>()?
        }
    };
    Ok(Limit { id: fingerprint(&name), name, key, matchers, rate, shadow: shadow || raw.shadow })
}

fn limit_match(field: &str, raw: raw::Matcher, groups: &[Name]) -> Checked<LimitMatch> {
    let Some(name) = &raw.route_group else {
        return matcher(field, raw).map(LimitMatch::Matcher);
    };
    if raw.methods.is_some() || raw.path.is_some() {
        return fail(field, "must have either route_group, or methods and path");
    }
    group_index(&format!("{field}.route_group"), name, groups).map(LimitMatch::RouteGroup)
}

fn group_index(field: &str, name: &str, groups: &[Name]) -> Checked<usize> {
    let position = groups.iter().position(|group| group.as_str() == name);
    position.ok_or_else(|| ConfigError::new(field, "must be the name of a route group"))
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
    if raw.secret.len() < SECRET_BYTES_MIN || !raw.secret.bytes().all(|b| b.is_ascii_graphic()) {
        let rule = "must be at least 16 visible ASCII characters";
        return fail("invalidator.secret", rule);
    }
    let stale_after = parse_duration(&raw.stale_after)
        .ok_or_else(|| ConfigError::new("invalidator.stale_after", DURATION_RULE))?;
    if stale_after < Duration::from_secs(2) {
        let rule = "must be at least 2s: a heartbeat comes about every second";
        return fail("invalidator.stale_after", rule);
    }
    Ok(Invalidator {
        cluster: text("invalidator.cluster", raw.cluster)?,
        secret: raw.secret,
        stale_after,
        shadow: shadow || raw.shadow,
    })
}

fn fail_policy(raw: raw::FailPolicy, groups: &[Name], synced: bool) -> Checked<FailPolicy> {
    let by_route = |field: &str, raw: Option<raw::AnswerByRoute>| match (raw, synced) {
        (Some(raw), true) => answer_by_route(field, raw, groups),
        (None, true) => fail(field, "must be given with an invalidator: \"allow\" or \"deny\""),
        (Some(_), false) => fail(field, "must be left out without an invalidator"),
        (None, false) => {
            answer_by_route(field, raw::AnswerByRoute::Everywhere(raw::Answer::Allow), groups)
        }
    };
    Ok(FailPolicy {
        never_synced: by_route("fail_policy.never_synced", raw.never_synced)?,
        stale: by_route("fail_policy.stale", raw.stale)?,
        slab_full: answer(raw.slab_full),
        contention: answer(raw.contention),
    })
}

fn answer_by_route(
    field: &str,
    raw: raw::AnswerByRoute,
    groups: &[Name],
) -> Checked<AnswerByRoute> {
    let (default, named) = match raw {
        raw::AnswerByRoute::Everywhere(all) => (answer(all), Default::default()),
        raw::AnswerByRoute::ByRoute(by) => (answer(by.default), by.route_groups),
    };
    let (mut allow, mut deny) = (Groups::default(), Groups::default());
    for (name, given) in named {
        let index = group_index(&format!("{field}.route_groups.{name}"), &name, groups)?;
        match answer(given) {
            Answer::Allow => allow.insert(index),
            Answer::Deny => deny.insert(index),
        }
    }
    Ok(AnswerByRoute { default, allow, deny })
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
    let slab_bytes_max = usize::try_from(bytes).unwrap_or(usize::MAX);
    Ok(Storage { slabs, slab_bytes_max })
}

fn name(field: &str, text: &str) -> Checked<Name> {
    Name::parse(text).ok_or_else(|| ConfigError::new(field, Name::RULE))
}

fn text(field: &str, text: String) -> Checked<String> {
    let fits = (1..=256).contains(&text.len());
    if fits { Ok(text) } else { fail(field, "must be 1 to 256 bytes") }
}

fn header(field: &str, name: &str) -> Checked<String> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if !name.is_empty() && name.len() <= 256 && name.bytes().all(token) {
        Ok(name.to_ascii_lowercase())
    } else {
        fail(field, "must be a header's name")
    }
}
