//! Integrations, the keys of signed requests, and the memory of used ones.

mod rules;

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use model::name::Name;
use model::time::UnixMicros;
use model::violation::Violation;
use signing::key::{ALGORITHM, KEYS_MAX, Key, KeyId, KeySet, SHARED_SECRET, Secret};
use signing::replay::{ReplayStorage, SLAB_BYTES_MIN};
use signing::{Profile, SignatureRules};

use super::super::integration::{
    ALLOW_IPS_MAX, BODY_BYTES_DEFAULT, BODY_BYTES_MAX, CONTENT_TYPES_MAX, INTEGRATIONS_MAX,
    Integration, Unclear, Wanted,
};
use super::super::raw;
use super::super::route::Groups;
use super::limits::matches;
use super::{Checked, fail, name};
use crate::path::Paths;
use rules::{mark_up_to, marked, profile, signature};

const SLABS_DEFAULT: u32 = 4_096;
const SLABS_MIN: u32 = 16;
const SLABS_MAX: u32 = 1_048_576;
const SLAB_BYTES_DEFAULT: u32 = 8_192;
const SLAB_BYTES_MAX: u32 = 65_536;

pub(super) fn integrations(
    raw: Vec<raw::Integration>,
    groups: &[Name],
    paths: Paths,
    shadow: bool,
) -> Checked<Vec<Integration>> {
    if raw.len() > INTEGRATIONS_MAX {
        return fail("integrations", "must be at most 64 integrations");
    }
    let mut all: Vec<Integration> = Vec::with_capacity(raw.len());
    for (i, raw) in raw.into_iter().enumerate() {
        let field = format!("integrations[{i}]");
        let new = integration(&field, raw, groups, paths, shadow)?;
        if all.iter().any(|known| known.name == new.name) {
            return fail(format!("{field}.name"), "must not be the name of another integration");
        }
        all.push(new);
    }
    remember_for_the_longest(&mut all);
    Ok(all)
}

/// A request of one integration may be sent to another that tolerates more.
fn remember_for_the_longest(all: &mut [Integration]) {
    let timed = |one: &SignatureRules| one.profile.has_time();
    let longest = longest_tolerance(all).saturating_mul(2);
    let signatures = all.iter_mut().filter_map(|one| one.signature.as_mut());
    signatures.filter(|one| timed(one)).for_each(|one| one.remember_for = longest);
}

/// For how long after its signing a request is accepted anywhere.
fn longest_tolerance(all: &[Integration]) -> Duration {
    let signatures = all.iter().filter_map(|one| one.signature.as_ref());
    let timed = signatures.filter(|one| one.profile.has_time());
    timed.map(SignatureRules::reach).max().unwrap_or_default()
}

fn integration(
    field: &str,
    raw: raw::Integration,
    groups: &[Name],
    paths: Paths,
    shadow: bool,
) -> Checked<Integration> {
    let mut marks = Groups::default();
    let signature = raw.signature.map(|mut raw| {
        let field = format!("{field}.signature");
        let on_skew = raw.on_clock_skew.take();
        let mut rules = signature(&field, raw)?;
        if let Some(raw::OnClockSkew::Mark(raw)) = on_skew {
            let field = format!("{field}.on_clock_skew");
            rules.mark_up_to = Some(mark_up_to(&field, &rules, &raw.up_to)?);
            marks = marked(&field, raw.mark, groups)?;
        }
        Ok(rules)
    });
    let signature = signature.transpose()?;
    let body_bytes_max = raw.body_bytes_max.or(signature.is_some().then_some(BODY_BYTES_DEFAULT));
    if body_bytes_max.is_some_and(|max| max > BODY_BYTES_MAX) {
        return fail(format!("{field}.body_bytes_max"), "must be from 0 to 16777216");
    }
    if raw.matchers.is_empty() {
        return fail(format!("{field}.match"), "must have at least one entry");
    }
    Ok(Integration {
        name: name(&format!("{field}.name"), &raw.name)?,
        matchers: matches(field, raw.matchers, groups, paths)?,
        allow_ips: allow_ips(&format!("{field}.allow_ips"), raw.allow_ips)?,
        content_types: content_types(&format!("{field}.content_types"), raw.content_types)?,
        body_bytes_max: body_bytes_max.map(|max| usize::try_from(max).unwrap_or(usize::MAX)),
        signature,
        marks,
        shadow: shadow || raw.shadow,
    })
}

/// A list that, if it is given at all, has 1 to `max` entries.
fn list<T>(
    field: &str,
    raw: Option<Vec<String>>,
    max: usize,
    check: impl Fn(&str, &str) -> Checked<T>,
) -> Checked<Vec<T>> {
    let Some(raw) = raw else { return Ok(Vec::new()) };
    if !(1..=max).contains(&raw.len()) {
        return fail(field, format!("must have 1 to {max} entries, or be left out"));
    }
    let numbered = raw.iter().enumerate();
    numbered.map(|(i, text)| check(&format!("{field}[{i}]"), text)).collect()
}

fn allow_ips(field: &str, raw: Option<Vec<String>>) -> Checked<Vec<IpNet>> {
    list(field, raw, ALLOW_IPS_MAX, |field, text| {
        let address = text.parse::<IpAddr>().map(IpNet::from);
        match address.or_else(|_| text.parse::<IpNet>()) {
            Ok(net) if net.trunc() == net => Ok(net),
            Ok(_) => fail(field, "must have no bits set beyond the length of its prefix"),
            Err(_) => fail(field, "must be an address or a network, such as \"10.0.0.0/8\""),
        }
    })
}

fn content_types(field: &str, raw: Option<Vec<String>>) -> Checked<Vec<String>> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&b);
    let is_token = |text: &str| (1..=127).contains(&text.len()) && text.bytes().all(token);
    list(field, raw, CONTENT_TYPES_MAX, |field, text| match text.split_once('/') {
        Some((kind, subtype)) if is_token(kind) && is_token(subtype) => {
            Ok(text.to_ascii_lowercase())
        }
        _ => fail(field, "must be a type without parameters, such as \"application/json\""),
    })
}

pub(super) fn keys(raw: Vec<raw::Key>, integrations: &[Integration]) -> Checked<KeySet> {
    if raw.len() > KEYS_MAX {
        return fail("keys", "must be at most 256 keys");
    }
    let wanted = Wanted::by(integrations);
    let mut keys = KeySet::default();
    for (i, raw) in raw.into_iter().enumerate() {
        let field = format!("keys[{i}]");
        let mut key = key(&field, raw, integrations)?;
        key.profile = profile_of(&field, &key, &wanted)?;
        if keys.add(key).is_err() {
            return fail(format!("keys[{i}].id"), "must not be the id of another key");
        }
    }
    if let Some((one, other)) = keys.shared_secret() {
        return fail("keys", format!("{one} and {other} {SHARED_SECRET}"));
    }
    Ok(keys)
}

/// The one profile that a key is for.
fn profile_of(field: &str, key: &Key, wanted: &Wanted) -> Checked<Option<Profile>> {
    let Some(profile) = key.profile else {
        return wanted.profile_of(key).map_err(|Unclear| {
            let rule = "must be given: the key may be used for integrations of different profiles";
            Violation::new(format!("{field}.profile"), rule)
        });
    };
    let is_other = |name| wanted.of(name).is_some_and(|wanted| wanted != profile);
    if let Some(at) = key.integrations.iter().position(is_other) {
        let rule = format!("must be of the key's profile, {profile}");
        return fail(format!("{field}.integrations[{at}]"), rule);
    }
    Ok(Some(profile))
}

fn secret(
    field: &str,
    text: String,
    encoding: Option<raw::SecretEncoding>,
    profile: Option<Profile>,
) -> Checked<Secret> {
    let is_base64 = encoding == Some(raw::SecretEncoding::Base64);
    let may_be = matches!(profile, Some(Profile::StandardWebhooks | Profile::Rfc9421));
    if is_base64 && !may_be {
        let rule = "must be \"base64\" only beside profile: standard-webhooks or rfc9421";
        return fail(format!("{field}.secret_encoding"), rule);
    }
    let (secret, rule) = match is_base64 {
        true => (Secret::from_base64(text.as_bytes()), "must be Base64 of at least 16 bytes"),
        false => (Secret::new(text.into_bytes()), Secret::RULE),
    };
    secret.ok_or_else(|| Violation::new(format!("{field}.secret"), rule))
}

fn key(field: &str, raw: raw::Key, integrations: &[Integration]) -> Checked<Key> {
    let algorithm = |field: &str, text: &str| match text == ALGORITHM {
        true => Ok(()),
        false => fail(field, "must be \"hmac-sha256\""),
    };
    list(&format!("{field}.algorithms"), raw.algorithms, 1, algorithm)?;
    let scope = |field: &str, text: &str| {
        let known = integrations.iter().find(|integration| integration.name.as_str() == text);
        let rule = "must be the name of an integration";
        known.map(|known| known.name.clone()).ok_or_else(|| Violation::new(field, rule))
    };
    let time = |end: &str, text: Option<String>| match text {
        None => Ok(None),
        Some(text) => match UnixMicros::parse_rfc3339(&text) {
            Some(at) => Ok(Some(at)),
            None => fail(format!("{field}.{end}"), "must be an RFC 3339 timestamp"),
        },
    };
    let (not_before, not_after) =
        (time("not_before", raw.not_before)?, time("not_after", raw.not_after)?);
    if not_before.zip(not_after).is_some_and(|(begin, end)| begin > end) {
        return fail(format!("{field}.not_after"), "must not be before not_before");
    }
    let id = format!("{field}.id");
    let profile = raw.profile.map(profile);
    Ok(Key {
        id: KeyId::parse(&raw.id).ok_or_else(|| Violation::new(id, KeyId::RULE))?,
        partner: name(&format!("{field}.partner"), &raw.partner)?,
        secret: secret(field, raw.secret, raw.secret_encoding, profile)?,
        not_before,
        not_after,
        integrations: list(
            &format!("{field}.integrations"),
            raw.integrations,
            INTEGRATIONS_MAX,
            scope,
        )?,
        profile,
    })
}

/// Whether every integration that wants a signature can get one.
pub(super) fn coverage(
    integrations: &[Integration],
    keys: &KeySet,
    has_invalidator: bool,
) -> Checked<()> {
    for (i, integration) in integrations.iter().enumerate() {
        let Some(signature) = &integration.signature else { continue };
        let name = Some(&integration.name);
        let field = format!("integrations[{i}].signature");
        let in_scope = || keys.iter().filter(|key| key.is_for(name, signature));
        let unusable = in_scope().find(|key| key.secret.bytes_for(signature.profile).is_none());
        if let Some(key) = unusable {
            let rule = "must have a secret of at least 16 bytes in Base64 after \"whsec_\"";
            return fail(field, format!("{rule}, and key {} has not", key.id));
        }
        if in_scope().next().is_none() && !has_invalidator {
            let rule =
                "must have a key of its profile in keys, or an invalidator that hands out keys";
            return fail(field, rule);
        }
        let left_out = integration.crowded_out(keys, UnixMicros::default());
        if let Some(first) = left_out.first() {
            let max = signature.keys_max;
            let rule = format!(
                "must be at least the number of its keys that are valid at once, as requests do not say \
                 which one they use: of {max} key {first} would not be tried"
            );
            return fail(format!("{field}.keys_max"), rule);
        }
    }
    Ok(())
}

pub(super) fn replay(raw: &raw::Replay, all: &[Integration]) -> Checked<ReplayStorage> {
    let slabs = raw.slabs.unwrap_or(SLABS_DEFAULT);
    if !slabs.is_power_of_two() || !(SLABS_MIN..=SLABS_MAX).contains(&slabs) {
        return fail("replay.slabs", "must be a power of two from 16 to 1048576");
    }
    let bytes = raw.slab_bytes_max.unwrap_or(SLAB_BYTES_DEFAULT);
    if !(SLAB_BYTES_MIN..=SLAB_BYTES_MAX).contains(&bytes) {
        return fail("replay.slab_bytes_max", "must be from 256 to 65536");
    }
    let slab_bytes_max = usize::try_from(bytes).unwrap_or(usize::MAX);
    Ok(ReplayStorage { slabs, slab_bytes_max, tolerance: longest_tolerance(all) })
}
