//! How the requests of one integration must be signed.

use std::sync::Arc;
use std::time::Duration;

use model::name::Name;
use model::time::{DURATION_RULE, parse_duration};
use model::violation::Violation;
use signing::components::{COMPONENTS_DEFAULT, COMPONENTS_MAX};
use signing::rules::{
    CANDIDATES_DEFAULT, CANDIDATES_MAX, REMEMBER_WITHOUT_TIME, TOLERANCE_DEFAULT,
};
use signing::{MessageRules, Profile, SignatureRules};

use super::super::routes::group_index;
use super::super::{Checked, fail, name};
use crate::config::raw;
use crate::config::route::Groups;

/// How far the time of a request that goes on may be off at most.
const MARK_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The shortest time for which a request without a time is remembered.
const REMEMBER_MIN: Duration = Duration::from_secs(1);

const TOLERANCE_MIN: Duration = Duration::from_secs(1);

const TOLERANCE_MAX: Duration = Duration::from_secs(60 * 60);

pub(super) fn signature(field: &str, raw: raw::Signature) -> Checked<SignatureRules> {
    let profile = profile(raw.profile);
    if raw.tolerance.is_some() && !profile.has_time() {
        return fail(format!("{field}.tolerance"), "must be left out: the profile has no time");
    }
    if raw.nonce.is_some() && !matches!(profile, Profile::Portcullis | Profile::Rfc9421) {
        let rule = "must be left out: only portcullis and rfc9421 have a choice";
        return fail(format!("{field}.nonce"), rule);
    }
    if raw.retries.is_some() && profile != Profile::StandardWebhooks {
        let rule = "must be left out: only in standard-webhooks an attempt differs from a message";
        return fail(format!("{field}.retries"), rule);
    }
    let replay_status = match raw.replay_status {
        None | Some(409) => 409,
        Some(401) => 401,
        Some(200) => 200,
        Some(_) => return fail(format!("{field}.replay_status"), "must be 409, 401 or 200"),
    };
    let defaults = SignatureRules::of(profile);
    let partner = raw.partner.map(|text| name(&format!("{field}.partner"), &text)).transpose()?;
    Ok(SignatureRules {
        profile,
        partner,
        tolerance: tolerance(&format!("{field}.tolerance"), raw.tolerance.as_deref())?,
        is_nonce_required: raw.nonce == Some(raw::NonceRule::Required),
        replay_status,
        retries_pass: raw.retries.map_or(defaults.retries_pass, |one| one == raw::Retries::Pass),
        mark_up_to: None,
        keys_max: keys_max(field, profile, raw.keys_max)?,
        remember_for: remember(field, &defaults, raw.remember.as_deref())?,
        message: message(field, profile, raw.components, raw.tag)?,
    })
}

fn keys_max(field: &str, profile: Profile, raw: Option<u32>) -> Checked<usize> {
    let field = format!("{field}.keys_max");
    match raw {
        Some(_) if profile.names_key() => {
            fail(field, "must be left out: requests of the profile name their key")
        }
        None => Ok(CANDIDATES_DEFAULT),
        Some(max) => {
            let max = usize::try_from(max).ok().filter(|max| (1..=CANDIDATES_MAX).contains(max));
            max.ok_or_else(|| Violation::new(field, "must be from 1 to 16"))
        }
    }
}

/// How long a request without a time is remembered. One with a time is, as long as it could be used.
fn remember(field: &str, defaults: &SignatureRules, raw: Option<&str>) -> Checked<Duration> {
    let Some(text) = raw else { return Ok(defaults.remember_for) };
    let field = format!("{field}.remember");
    if defaults.profile.has_time() {
        return fail(
            field,
            "must be left out: the profile has a time, and tolerance says how long",
        );
    }
    let span = parse_duration(text).ok_or_else(|| Violation::new(&*field, DURATION_RULE))?;
    match (REMEMBER_MIN..=REMEMBER_WITHOUT_TIME).contains(&span) {
        true => Ok(span),
        false => fail(field, "must be from 1s to 24h"),
    }
}

/// What a signature of RFC 9421 must be like.
fn message(
    field: &str,
    profile: Profile,
    components: Option<Vec<String>>,
    tag: Option<String>,
) -> Checked<Arc<MessageRules>> {
    let given = [(components.is_some(), "components"), (tag.is_some(), "tag")];
    if let Some((_, name)) = given.into_iter().find(|(given, _)| *given)
        && profile != Profile::Rfc9421
    {
        return fail(format!("{field}.{name}"), "must be left out: only rfc9421 has it");
    }
    let components = components.as_ref().map_or_else(
        || COMPONENTS_DEFAULT.to_vec(),
        |given| given.iter().map(String::as_str).collect(),
    );
    if !(1..=COMPONENTS_MAX).contains(&components.len()) {
        let rule = "must have 1 to 16 entries, or be left out";
        return fail(format!("{field}.components"), rule);
    }
    match MessageRules::new(&components, tag.as_deref()) {
        Ok(rules) => Ok(Arc::new(rules)),
        Err(Some(at)) => fail(format!("{field}.components[{at}]"), MessageRules::COMPONENT_RULE),
        Err(None) => fail(format!("{field}.tag"), MessageRules::TAG_RULE),
    }
}

pub(super) fn profile(raw: raw::Profile) -> Profile {
    match raw {
        raw::Profile::Portcullis => Profile::Portcullis,
        raw::Profile::Body => Profile::Body,
        raw::Profile::StandardWebhooks => Profile::StandardWebhooks,
        raw::Profile::Stripe => Profile::Stripe,
        raw::Profile::Github => Profile::Github,
        raw::Profile::Rfc9421 => Profile::Rfc9421,
    }
}

fn tolerance(field: &str, raw: Option<&str>) -> Checked<Duration> {
    let Some(text) = raw else { return Ok(TOLERANCE_DEFAULT) };
    let span = parse_duration(text).ok_or_else(|| Violation::new(field, DURATION_RULE))?;
    match (TOLERANCE_MIN..=TOLERANCE_MAX).contains(&span) {
        true => Ok(span),
        false => fail(field, "must be from 1s to 1h"),
    }
}

/// How far the time of a request that is marked may be off.
pub(super) fn mark_up_to(field: &str, rules: &SignatureRules, text: &str) -> Checked<Duration> {
    if !rules.profile.has_time() || rules.profile == Profile::Body {
        return fail(field, "must be left out: the profile does not sign its time");
    }
    let field = format!("{field}.up_to");
    let span = parse_duration(text).ok_or_else(|| Violation::new(&*field, DURATION_RULE))?;
    match span > rules.tolerance && span <= MARK_MAX {
        true => Ok(span),
        false => fail(field, "must be more than tolerance, and at most 24h"),
    }
}

/// The groups whose requests are marked.
pub(super) fn marked(field: &str, names: Vec<String>, groups: &[Name]) -> Checked<Groups> {
    let mut marks = Groups::default();
    if names.is_empty() {
        return fail(format!("{field}.mark"), "must name at least one route group");
    }
    for (i, name) in names.iter().enumerate() {
        marks.insert(group_index(&format!("{field}.mark[{i}]"), name, groups)?);
    }
    Ok(marks)
}
