//! What a signature covers, and whether that is enough.
//!
//! A query that the path has, and a body that the request has, must be covered wherever they are; without a query
//! or a body there is nothing to cover, and nobody can add one. A header that is demanded must be there.

use super::base::Target;
use super::structured::{Bare, Inner};
use super::{CONTENT_DIGEST, INPUT, malformed};
use crate::Failure;
use crate::components::{Component, MessageRules};
use crate::headers::Headers;

/// The most components that one signature may cover.
const COMPONENTS_MAX: usize = 32;

const COMPONENTS_RULE: &str = "must cover 1 to 32 components, each once: of @method, @target-uri, @authority, @scheme, \
     @request-target, @path, @query, and headers in lower case, without parameters";
const METHOD_RULE: &str = "must cover @method";
const AUTHORITY_RULE: &str = "must cover @authority or @target-uri";
const PATH_RULE: &str = "must cover @path, @request-target or @target-uri";
const QUERY_RULE: &str =
    "must cover @query, @request-target or @target-uri, since there is a query";
const OTHER_RULE: &str = "must cover all that the integration demands in components";
pub(super) const BODY_RULE: &str = "must cover content-digest, since there is a body";

/// The components of a list.
pub(super) fn components<'a>(list: &Inner<'a>) -> Result<Vec<Component<'a>>, Failure> {
    let mut all = Vec::with_capacity(list.items.len());
    for (item, parameters) in &list.items {
        let component = match item {
            Bare::String(name) if parameters.is_empty() => Component::parse(name),
            _ => None,
        };
        match component.filter(|one| !all.contains(one) && all.len() < COMPONENTS_MAX) {
            Some(component) => all.push(component),
            None => return malformed(INPUT, COMPONENTS_RULE),
        }
    }
    if all.is_empty() { malformed(INPUT, COMPONENTS_RULE) } else { Ok(all) }
}

/// Whether a signature covers what it must, as far as the headers show it.
pub(super) fn check(
    rules: &MessageRules,
    covered: &[Component<'_>],
    headers: &Headers,
    target: &Target<'_>,
) -> Result<(), Failure> {
    let is_covered = |wanted| covered.iter().any(|one| one.includes(wanted));
    for wanted in rules.required() {
        let (is_needed, rule) = match wanted {
            Component::Method => (true, METHOD_RULE),
            Component::Authority => (true, AUTHORITY_RULE),
            Component::Path => (true, PATH_RULE),
            Component::Query => (target.has_query(), QUERY_RULE),
            // Demanded of every body, and of nothing else.
            Component::Field(CONTENT_DIGEST) => (false, BODY_RULE),
            Component::TargetUri
            | Component::Scheme
            | Component::RequestTarget
            | Component::Field(_) => (true, OTHER_RULE),
        };
        if is_needed && !is_covered(wanted) {
            return malformed(INPUT, rule);
        }
    }
    // What is announced need not be awaited.
    let announced = headers.all("content-length").any(|length| length != b"0");
    match announced && !is_covered(Component::Field(CONTENT_DIGEST)) {
        true => malformed(INPUT, BODY_RULE),
        false => Ok(()),
    }
}
