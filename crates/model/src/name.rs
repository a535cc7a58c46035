//! The two kinds of text that are checked once and then trusted: names and event ids.

use std::fmt;

/// Longest [`Name`] or [`EventId`], in bytes.
pub const NAME_BYTES_MAX: usize = 64;

/// Length of a UUID in bytes.
pub const UUID_BYTES: usize = 16;

/// Length of a UUID as text, and where its hyphens stand.
const UUID_CHARS: usize = 36;
const HYPHENS: [usize; 4] = [8, 13, 18, 23];

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

    /// The bytes of a UUID as most publishers write them, in lower case with hyphens; none for any
    /// other text.
    #[must_use]
    pub fn as_uuid(&self) -> Option<[u8; UUID_BYTES]> {
        if self.0.len() != UUID_CHARS {
            return None;
        }
        let mut value = 0u128;
        for (at, byte) in self.0.bytes().enumerate() {
            let digit = match byte {
                b'-' if HYPHENS.contains(&at) => continue,
                _ if HYPHENS.contains(&at) => return None,
                b'0'..=b'9' => byte - b'0',
                b'a'..=b'f' => byte - b'a' + 10,
                _ => return None,
            };
            value = (value << 4) | u128::from(digit);
        }
        Some(value.to_be_bytes())
    }

    /// The id of which [`EventId::as_uuid`] gives these bytes.
    #[must_use]
    pub fn of_uuid(bytes: &[u8; UUID_BYTES]) -> Self {
        let mut text = String::with_capacity(UUID_CHARS);
        for byte in bytes {
            if HYPHENS.contains(&text.len()) {
                text.push('-');
            }
            let digits = [byte >> 4, byte & 0xf];
            text.extend(digits.into_iter().filter_map(|d| char::from_digit(d.into(), 16)));
        }
        Self(text.into_boxed_str())
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
    fn only_a_uuid_that_reads_the_same_again_is_one() {
        let id = EventId::parse("0192f3a4-5b6c-7d8e-9f00-aabbccddeeff").unwrap();
        assert_eq!(EventId::of_uuid(&id.as_uuid().unwrap()), id);
        for other in [
            "0192F3A4-5b6c-7d8e-9f00-aabbccddeeff",
            "0192f3a45b6c-7d8e-9f00-aabbccddeeff-",
            "0192f3a4-5b6c-7d8e-9f00-aabbccddeefg",
            "0192f3a4-5b6c-7d8e-9f00-aabbccddeef-",
            "0192f3a45b6c7d8e9f00aabbccddeeff",
            "{0192f3a4-5b6c-7d8e-9f0-aabbccddeeff",
            "evt-1",
        ] {
            assert_eq!(EventId::parse(other).unwrap().as_uuid(), None, "{other}");
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
