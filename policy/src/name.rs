//! The two kinds of text that are checked once and then trusted: names and event ids.

use std::fmt;

/// Longest [`Name`] or [`EventId`], in bytes.
pub const NAME_BYTES_MAX: usize = 64;

/// A name that an operator chooses: of a limit, a route group or a reason.
///
/// Lower-case letters, digits, `_`, `-` and `.`, 1 to 64 of them, so that it can stand in a
/// metric, a header and a log without quoting.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<str>);

impl Name {
    /// What a name has to look like, for error messages.
    pub const RULE: &str = "must be 1 to 64 characters of a-z, 0-9, '_', '-' and '.'";

    /// Checks the text against [`Name::RULE`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-.".contains(&b);
        let fits = (1..=NAME_BYTES_MAX).contains(&text.len());
        (fits && text.bytes().all(allowed)).then(|| Self(text.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A publisher's id of one event: 1 to 64 visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(Box<str>);

impl EventId {
    /// What an event id has to look like, for error messages.
    pub const RULE: &str = "must be 1 to 64 visible ASCII characters without spaces";

    /// Checks the text against [`EventId::RULE`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=NAME_BYTES_MAX).contains(&text.len());
        (fits && text.bytes().all(|b| b.is_ascii_graphic())).then(|| Self(text.into()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lower_case_and_bounded() {
        assert!(Name::parse("cooling_off").is_some());
        assert!(Name::parse(&"a".repeat(64)).is_some());
        for wrong in ["", "Bet", "a b", "ä", "a/b", &"a".repeat(65)] {
            assert!(Name::parse(wrong).is_none(), "{wrong:?}");
        }
    }

    #[test]
    fn event_ids_are_visible_ascii_and_bounded() {
        assert!(EventId::parse("0192-AB:c/7").is_some());
        for wrong in ["", "a b", "a\n", "é", &"a".repeat(65)] {
            assert!(EventId::parse(wrong).is_none(), "{wrong:?}");
        }
    }
}
