//! What is to be expected of a letter, and so which goes first when there is no room.

use serde::{Deserialize, Serialize};

/// What speaks for an event that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A signature by a key that is known.
    Signed,
    /// Nothing, and nothing is asked for: whoever reaches the source is believed.
    NotAsked,
    /// Nothing.
    None,
}

/// Lowest first: while there is one of a lower class, none of a higher one makes room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Never was an event: not JSON, or too large. Nothing will ever make it one.
    Garbage,
    /// Looks like an event, breaks a rule that does not change, or has no signature that fits, and
    /// nobody is known to have sent it. Only another configuration could make it succeed.
    Doubtful,
    /// Refused for what may pass, such as an unknown key or want of room; nobody is known to have
    /// sent it.
    Passing,
    /// The same, or breaks a rule, and signed by a key that is known; or nobody asks for signatures.
    Proven,
}

impl Class {
    /// By the kind of the cause, and by what speaks for the event. A kind that is not known here
    /// counts as one that may pass.
    #[must_use]
    pub fn of(kind: &str, proof: Proof) -> Self {
        match (kind, proof) {
            ("malformed" | "too_large", _) => Self::Garbage,
            (_, Proof::Signed) => Self::Proven,
            ("invalid" | "signature_missing" | "bad_signature", _) => Self::Doubtful,
            (_, Proof::NotAsked) => Self::Proven,
            (_, Proof::None) => Self::Passing,
        }
    }

    /// In metrics and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Garbage => "garbage",
            Self::Doubtful => "doubtful",
            Self::Passing => "passing",
            Self::Proven => "proven",
        }
    }

    /// Whether it is of those that have a share of their own, and are counted together in a flood.
    #[must_use]
    pub fn is_low(self) -> bool {
        self <= Self::Doubtful
    }

    pub(super) fn rank(self) -> u8 {
        match self {
            Self::Garbage => 0,
            Self::Doubtful => 1,
            Self::Passing => 2,
            Self::Proven => 3,
        }
    }

    /// Of a group's name, which begins with the rank.
    pub(super) fn of_group(group: &str) -> Self {
        match group.as_bytes().first() {
            Some(b'0') => Self::Garbage,
            Some(b'1') => Self::Doubtful,
            Some(b'2') => Self::Passing,
            _ => Self::Proven,
        }
    }
}

#[cfg(test)]
mod tests {
    use events::EventErrorKind;

    use super::*;

    #[test]
    fn no_signature_makes_garbage_an_event_and_none_is_needed_where_none_is_asked_for() {
        let low = ["malformed", "too_large", "invalid", "signature_missing", "bad_signature"];
        for kind in EventErrorKind::ALL.map(EventErrorKind::as_str) {
            for proof in [Proof::Signed, Proof::NotAsked, Proof::None] {
                let class = Class::of(kind, proof);
                assert_eq!(Class::of_group(&class.rank().to_string()), class);
                if proof != Proof::Signed {
                    assert_eq!(class.is_low(), low.contains(&kind), "{kind} {proof:?}");
                }
            }
            assert!(Class::of(kind, Proof::None) <= Class::of(kind, Proof::NotAsked));
            assert!(Class::of(kind, Proof::NotAsked) <= Class::of(kind, Proof::Signed));
        }
        assert_eq!(Class::of("malformed", Proof::Signed), Class::Garbage);
        assert_eq!(Class::of("unknown_key", Proof::None), Class::Passing);
        assert_eq!(Class::of("some new kind", Proof::None), Class::Passing);
    }
}
