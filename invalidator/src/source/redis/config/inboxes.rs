//! `[[sources.redis.inboxes]]`: publishers who put events into a list in Redis, and what each may do.

use std::collections::BTreeSet;

use access::{Inbox, RawAuthority};
use model::name::Name;
use model::violation::Violation;
use serde::Deserialize;

/// Most inboxes. Each is asked for once a second, by each daemon, and is a label of metrics.
const INBOXES_MAX: usize = 16;
/// Where they stand.
const FIELD: &str = "sources.redis.inboxes";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawInbox {
    name: String,
    allow: Option<RawAuthority>,
}

/// Checks all of them.
///
/// # Errors
/// The first rule that is broken, with the inbox and its field.
pub(super) fn check(raw: Vec<RawInbox>) -> Result<Vec<Inbox>, Violation> {
    if raw.len() > INBOXES_MAX {
        return Err(Violation::new(FIELD, format!("must be at most {INBOXES_MAX}")));
    }
    let mut names = BTreeSet::new();
    let one = |(index, RawInbox { name, allow })| {
        let broken =
            |field: &str, rule: &str| Violation::new(format!("{FIELD}[{index}].{field}"), rule);
        let name = Name::parse(&name).ok_or_else(|| broken("name", Name::RULE))?;
        if !names.insert(name.clone()) {
            return Err(broken("name", &format!("{name} is the name of another inbox already")));
        }
        let authority = allow.unwrap_or_default().check();
        let authority = authority.map_err(|(field, rule)| broken(field, rule))?;
        Ok(Inbox { name, authority })
    };
    raw.into_iter().enumerate().map(one).collect()
}
