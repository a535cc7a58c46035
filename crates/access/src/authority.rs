//! What a publisher may do, and about whom: actions, reasons, scopes, and how the ids of its users
//! begin. For tokens and certificates of the API, and for the keys that events are signed with.
//!
//! What is not named in a list that is there is not allowed. Without lists, everything is.

use std::collections::BTreeSet;

use events::{EventError, EventErrorKind};
use model::name::Name;
use model::state::{Effect, Register, Scope};
use model::subject::{SUBJECT_ID_BYTES_MAX, Subject};
use serde::Deserialize;

/// Most entries of one list.
const ENTRIES_MAX: usize = 64;

/// As it stands in configurations.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawAuthority {
    actions: Option<Vec<Action>>,
    reasons: Option<Vec<String>>,
    scopes: Option<Vec<String>>,
    id_prefixes: Option<Vec<String>>,
}

/// What an event can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Action {
    Block,
    Unblock,
    Zero,
    Override,
}

/// See the module's description.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authority {
    actions: Option<BTreeSet<Action>>,
    reasons: Option<BTreeSet<Name>>,
    scopes: Option<BTreeSet<Name>>,
    id_prefixes: Option<Vec<Box<str>>>,
}

impl RawAuthority {
    /// Checks the names.
    ///
    /// # Errors
    /// The list at fault, and its rule.
    pub fn check(self) -> Result<Authority, (&'static str, &'static str)> {
        let names = |field, names: Option<Vec<String>>| {
            let Some(names) = names else { return Ok(None) };
            let parsed: Option<BTreeSet<Name>> =
                names.iter().map(|name| Name::parse(name)).collect();
            let fits = (1..=ENTRIES_MAX).contains(&names.len());
            let rule = "must be 1 to 64 names; absent means all";
            parsed.filter(|_| fits).map(Some).ok_or((field, rule))
        };
        if self.actions.as_ref().is_some_and(Vec::is_empty) {
            return Err(("allow.actions", "must name an action; absent means all"));
        }
        let id_prefixes = self.id_prefixes.map(prefixes).transpose()?;
        Ok(Authority {
            actions: self.actions.map(|actions| actions.into_iter().collect()),
            reasons: names("allow.reasons", self.reasons)?,
            scopes: names("allow.scopes", self.scopes)?,
            id_prefixes,
        })
    }
}

/// An empty one would allow all, and looks as if it did not.
fn prefixes(prefixes: Vec<String>) -> Result<Vec<Box<str>>, (&'static str, &'static str)> {
    let fits = |prefix: &String| (1..=SUBJECT_ID_BYTES_MAX).contains(&prefix.len());
    if !(1..=ENTRIES_MAX).contains(&prefixes.len()) || !prefixes.iter().all(fits) {
        let rule = "must be 1 to 64 texts of 1 to 256 bytes; absent means all users and sessions";
        return Err(("allow.id_prefixes", rule));
    }
    Ok(prefixes.into_iter().map(String::into_boxed_str).collect())
}

impl Authority {
    /// Whether an event does no more than is allowed.
    ///
    /// # Errors
    /// The field that goes beyond it.
    pub fn check(&self, subject: &Subject, event: &Register) -> Result<(), EventError> {
        let is_theirs =
            |allowed: &[Box<str>]| allowed.iter().any(|prefix| subject.id().starts_with(&**prefix));
        if self.id_prefixes.as_deref().is_some_and(|allowed| !is_theirs(allowed)) {
            return beyond("key", "must be a user or session of its publisher");
        }
        let (action, reason, scope) = match &event.effect {
            Effect::Block(block) => (Action::Block, Some(Some(&block.reason)), Some(&block.scope)),
            Effect::Lift { reason } => (Action::Unblock, Some(reason.as_ref()), None),
            Effect::Zero(zero) => (Action::Zero, None, Some(&zero.scope)),
            Effect::Override(_) => (Action::Override, None, None),
        };
        if self.actions.as_ref().is_some_and(|allowed| !allowed.contains(&action)) {
            return beyond("payload.action", "must be an action that its publisher may use");
        }
        // An unblock without a reason lifts all of them.
        let may_use = |reason: Option<&Name>, allowed: &BTreeSet<Name>| {
            reason.is_some_and(|reason| allowed.contains(reason))
        };
        if let (Some(reason), Some(allowed)) = (reason, &self.reasons)
            && !may_use(reason, allowed)
        {
            return beyond("payload.reason", "must be a reason that its publisher may use");
        }
        if let (Some(scope), Some(allowed)) = (scope, &self.scopes) {
            let fits = match scope {
                Scope::All => false,
                Scope::RouteGroups(names) => names.iter().all(|name| allowed.contains(name)),
            };
            if !fits {
                return beyond("payload.scope", "must be route groups that its publisher may use");
            }
        }
        Ok(())
    }
}

fn beyond(field: &str, rule: &str) -> Result<(), EventError> {
    let kind = EventErrorKind::BeyondAuthority;
    Err(EventError { kind, field: field.into(), rule: rule.into() })
}

#[cfg(test)]
mod tests {
    use events::Event;
    use model::time::UnixMicros;
    use serde_json::{Value, json};

    use super::*;

    fn authority(text: &str) -> Authority {
        toml::from_str::<RawAuthority>(text).unwrap().check().unwrap()
    }

    /// The field that goes beyond the authority, if one does.
    fn beyond(authority: &Authority, payload: Value) -> Option<String> {
        let event = json!({
            "event_id": "a", "event_type": "t", "schema_version": "1.0",
            "occurred_at": "1970-01-01T00:00:00Z", "key": { "user_id": "alice" },
            "payload": payload,
        });
        let event = Event::parse(event.to_string().as_bytes(), UnixMicros(0)).unwrap();
        authority.check(&event.subject, &event.register).err().map(|error| error.field.into())
    }

    #[test]
    fn what_is_not_named_is_not_allowed() {
        let rate = json!({ "name": "per-user", "default": true });
        let over = json!({ "action": "override", "limit": rate });
        let marketing = authority("actions = [\"override\"]");
        assert_eq!(beyond(&marketing, over.clone()), None);
        let block = json!({ "action": "block", "reason": "fraud", "scope": ["bet"] });
        assert_eq!(beyond(&marketing, block.clone()).as_deref(), Some("payload.action"));
        let fraud = authority("reasons = [\"fraud\"]\nscopes = [\"bet\", \"deposit\"]");
        assert_eq!(beyond(&fraud, block), None);
        assert_eq!(beyond(&fraud, over), None);
        let cases = [
            (json!({ "action": "block", "scope": ["bet"] }), "payload.reason"),
            (json!({ "action": "block", "reason": "self_excluded" }), "payload.reason"),
            (json!({ "action": "block", "reason": "fraud" }), "payload.scope"),
            (
                json!({ "action": "block", "reason": "fraud", "scope": ["bet", "x"] }),
                "payload.scope",
            ),
            (json!({ "action": "zero" }), "payload.scope"),
            (json!({ "action": "unblock" }), "payload.reason"),
            (json!({ "action": "unblock", "reason": "self_excluded" }), "payload.reason"),
        ];
        for (payload, field) in cases {
            assert_eq!(beyond(&fraud, payload.clone()).as_deref(), Some(field), "{payload}");
        }
        assert_eq!(beyond(&fraud, json!({ "action": "unblock", "reason": "fraud" })), None);
        assert_eq!(beyond(&Authority::default(), json!({ "action": "unblock" })), None);
    }

    #[test]
    fn a_publisher_may_be_bounded_to_users_whose_ids_begin_so() {
        let block = json!({ "action": "block" });
        for (prefixes, field) in [
            ("id_prefixes = [\"ali\"]", None),
            ("id_prefixes = [\"bob:\", \"alice\"]", None),
            ("id_prefixes = [\"alice:\"]", Some("key")),
            ("id_prefixes = [\"Ali\"]", Some("key")),
        ] {
            assert_eq!(beyond(&authority(prefixes), block.clone()).as_deref(), field, "{prefixes}");
        }
    }

    #[test]
    fn every_broken_rule_is_named_with_its_field() {
        let broken =
            |text: &str| toml::from_str::<RawAuthority>(text).unwrap().check().unwrap_err().0;
        assert_eq!(broken("actions = []"), "allow.actions");
        assert_eq!(broken("reasons = []"), "allow.reasons");
        assert_eq!(broken("scopes = [\"A\"]"), "allow.scopes");
        assert_eq!(broken("id_prefixes = []"), "allow.id_prefixes");
        assert_eq!(broken("id_prefixes = [\"\"]"), "allow.id_prefixes");
        assert!(toml::from_str::<RawAuthority>("actions = [\"ban\"]").is_err());
    }
}
