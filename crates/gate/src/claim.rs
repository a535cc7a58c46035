//! Claims of a verified token, as Envoy hands them to a plugin: bytes without a type.
//!
//! A string comes as its text, a number as eight bytes of a little-endian double, a truth value as one
//! byte, lists and objects in a form that has a zero byte in it. So only eight bytes that are text can
//! be two things, and of those alone the type has to be asked for; not even of all, since most texts
//! would be numbers that nobody has, such as 10 to the power of -60.

use std::ops::RangeInclusive;

use model::id;
use prost::encoding::decode_varint;

/// Whole numbers beyond this one are not exact in a double.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// Other numbers than zero that somebody may put into a token lie between these, with either sign:
/// 2^-64 and 2^128.
const PLAUSIBLE: RangeInclusive<f64> = 1.0 / TWO_TO_64..=TWO_TO_64 * TWO_TO_64;

const TWO_TO_64: f64 = 18_446_744_073_709_551_616.0;

/// The filter that has put the claims into the stream's metadata.
pub const METADATA_OF: &str = "envoy.filters.http.jwt_authn";

/// What stands under the name of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Nothing: there is no token, or it has no such claim.
    Absent,
    /// An id.
    Id(Vec<u8>),
    /// Something that cannot be an id: text that is empty or has control characters, a number that is
    /// not whole or has lost digits, a truth value, a list, an object, or null.
    Unusable,
}

impl Claim {
    /// Reads a claim that is there: text without the white space around it, a whole number as its
    /// decimal digits. `metadata` gives the stream's whole metadata, encoded; it is asked for only if
    /// the claim could be of two types.
    pub fn read(
        bytes: Vec<u8>,
        payload: &str,
        claim: &str,
        metadata: impl FnOnce() -> Option<Vec<u8>>,
    ) -> Self {
        if let Ok(number) = <[u8; 8]>::try_from(&*bytes) {
            let number = f64::from_le_bytes(number);
            let is_text = match std::str::from_utf8(&bytes) {
                Err(_) => Some(false),
                Ok(_) if number == 0.0 || PLAUSIBLE.contains(&number.abs()) => {
                    metadata().and_then(|all| is_text(&all, payload, claim))
                }
                Ok(_) => Some(true),
            };
            match is_text {
                Some(true) => {}
                Some(false) => return Self::of_number(number),
                // Without its type it is neither.
                None => return Self::Unusable,
            }
        }
        match id::clean(&bytes) {
            Err(_) | Ok([]) => Self::Unusable,
            Ok(id) if id.len() == bytes.len() => Self::Id(bytes),
            Ok(id) => Self::Id(id.to_vec()),
        }
    }

    /// Numbers above 2^53 have lost digits before they come here, so they are no ids.
    fn of_number(number: f64) -> Self {
        let is_whole = number.fract() == 0.0 && number.abs() < EXACT_MAX;
        // Exact, as just checked.
        let digits = || (number as i64).to_string().into_bytes();
        if is_whole { Self::Id(digits()) } else { Self::Unusable }
    }
}

/// Whether the claim is a string, in an encoded `envoy.config.core.v3.Metadata`; none if it is not
/// there.
fn is_text(metadata: &[u8], payload: &str, claim: &str) -> Option<bool> {
    const FILTER_METADATA: u64 = 1;
    const FIELDS: u64 = 1;
    const STRING_VALUE: u64 = 3;
    const STRUCT_VALUE: u64 = 5;
    let claims = entry(metadata, FILTER_METADATA, METADATA_OF)?;
    let payload = field(entry(claims, FIELDS, payload)?, STRUCT_VALUE)?;
    Some(field(entry(payload, FIELDS, claim)?, STRING_VALUE).is_some())
}

/// The value of a key in a map of protobuf: repeated messages of a key and a value.
fn entry<'a>(message: &'a [u8], map: u64, key: &str) -> Option<&'a [u8]> {
    let mut rest = message;
    loop {
        let entry = next_field(&mut rest, map)?;
        if field(entry, 1) == Some(key.as_bytes()) {
            return field(entry, 2);
        }
    }
}

/// The first field of this number that has a length.
fn field(mut message: &[u8], number: u64) -> Option<&[u8]> {
    next_field(&mut message, number)
}

/// The same, and `message` goes on after it.
fn next_field<'a>(message: &mut &'a [u8], number: u64) -> Option<&'a [u8]> {
    loop {
        let tag = decode_varint(message).ok()?;
        let size = match tag & 7 {
            0 => decode_varint(message).ok().map(|_| 0)?,
            1 => 8,
            2 => decode_varint(message).ok()?,
            5 => 4,
            _ => return None,
        };
        let (content, rest) = message.split_at_checked(usize::try_from(size).ok()?)?;
        *message = rest;
        if tag == number << 3 | 2 {
            return Some(content);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;
    use prost_types::value::Kind;
    use prost_types::{ListValue, Struct, Value};

    use super::*;

    /// The bytes and the metadata that Envoy has for a claim of this type.
    fn metadata(kind: Kind) -> Vec<u8> {
        #[derive(Clone, PartialEq, Message)]
        struct Metadata {
            #[prost(btree_map = "string, message", tag = "1")]
            filter_metadata: std::collections::BTreeMap<String, Struct>,
        }
        let of = |kind| Value { kind: Some(kind) };
        let fields = |entries: Vec<(&str, Value)>| Struct {
            fields: entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        };
        let text = |text: &str| of(Kind::StringValue(text.to_owned()));
        let claims = fields(vec![
            ("sub", of(kind)),
            ("iss", text("sub")),
            ("exp", of(Kind::NumberValue(1.0))),
            ("yes", of(Kind::BoolValue(true))),
        ]);
        let payloads = fields(vec![("p", of(Kind::StructValue(claims))), ("q", text("sub"))]);
        let all = [("other".to_owned(), fields(vec![])), (METADATA_OF.to_owned(), payloads)];
        Metadata { filter_metadata: all.into_iter().collect() }.encode_to_vec()
    }

    fn text(text: &str) -> Claim {
        let all = metadata(Kind::StringValue(text.to_owned()));
        Claim::read(text.as_bytes().to_vec(), "p", "sub", || Some(all))
    }

    fn number(number: f64) -> Claim {
        let all = metadata(Kind::NumberValue(number));
        Claim::read(number.to_le_bytes().to_vec(), "p", "sub", || Some(all))
    }

    fn id(text: &str) -> Claim {
        Claim::Id(text.as_bytes().to_vec())
    }

    #[test]
    fn strings_and_whole_numbers_are_ids() {
        for same in ["alice", "zo\u{eb}", "12345678", "abcdefgC", "\u{eb}bcdefg", "7", "a b"] {
            assert_eq!(text(same), id(same));
        }
        assert_eq!(text(" alice\t"), id("alice"));
        assert_eq!(text("  alice "), id("alice"), "also if it has eight bytes");
        for (given, digits) in [(42.0, "42"), (-7.0, "-7"), (0.0, "0"), (1e15, "1000000000000000")]
        {
            assert_eq!(number(given), id(digits));
        }
        assert_eq!(number(EXACT_MAX - 1.0), id("9007199254740991"));
    }

    #[test]
    fn numbers_whose_bytes_are_text_are_numbers() {
        // The first is what is sent for 4657287834817077; read as text it would be "54546SPC"...
        for bytes in [*b"54546SPC", *b"abcdef0C", *b"ABCDEFGB", *b"!!!!!!!C"] {
            let given = f64::from_le_bytes(bytes);
            assert!(given.fract() == 0.0 || given > 1.0, "{given}");
            let expected = Claim::of_number(given);
            assert_eq!(number(given), expected);
            let as_text = String::from_utf8(bytes.to_vec()).unwrap();
            assert_eq!(text(&as_text), id(&as_text));
        }
    }

    #[test]
    fn anything_else_is_unusable() {
        for unusable in [1.5, f64::NAN, f64::INFINITY, EXACT_MAX, 1e20, -EXACT_MAX] {
            assert_eq!(number(unusable), Claim::Unusable, "{unusable}");
        }
        for unusable in ["", "  ", "a\u{1}b", "a\nb", "alice\u{a0}", "1234567\n", "\0\0\0\0\0\0E@"]
        {
            assert_eq!(text(unusable), Claim::Unusable, "{unusable:?}");
        }
        let untyped = |bytes: &[u8]| Claim::read(bytes.to_vec(), "p", "sub", || None);
        assert_eq!(untyped(&[1]), Claim::Unusable, "true");
        assert_eq!(untyped(b"\x01\0\0\0a"), Claim::Unusable, "a list");
        assert_eq!(untyped(b"\0\0\0\0"), Claim::Unusable, "an empty list");
        assert_eq!(untyped(b"\xff\xfe"), Claim::Unusable, "bytes that are no text");
    }

    #[test]
    fn the_type_is_asked_for_only_where_it_is_not_plain() {
        let plain = |bytes: &[u8]| {
            Claim::read(bytes.to_vec(), "p", "sub", || panic!("asked for {bytes:?}"))
        };
        assert_eq!(plain(b"alice"), id("alice"));
        assert_eq!(plain(b"0192f3a0-7c1e-7d2a"), id("0192f3a0-7c1e-7d2a"));
        assert_eq!(plain(&1_234_567f64.to_le_bytes()), id("1234567"));
        // As numbers these would be of no size that a number in a token has.
        for text in ["12345678", "user-123", "abcdefgh", "Zo\u{eb}-123"] {
            assert_eq!(plain(text.as_bytes()), id(text));
        }
        assert_eq!(*PLAUSIBLE.start(), 2f64.powi(-64));
        assert_eq!(*PLAUSIBLE.end(), 2f64.powi(128));
        let unknown = Claim::read(b"1234567A".to_vec(), "p", "sub", || None);
        assert_eq!(unknown, Claim::Unusable, "neither a text nor a number");
    }

    #[test]
    fn the_type_is_that_of_the_one_claim() {
        let all = metadata(Kind::StringValue("x".into()));
        assert_eq!(is_text(&all, "p", "sub"), Some(true));
        assert_eq!(is_text(&all, "p", "exp"), Some(false));
        assert_eq!(is_text(&all, "p", "yes"), Some(false));
        for (payload, claim) in [("p", "absent"), ("absent", "sub"), ("q", "sub"), ("", "")] {
            assert_eq!(is_text(&all, payload, claim), None, "{payload} {claim}");
        }
        let list = Kind::ListValue(ListValue::default());
        assert_eq!(is_text(&metadata(list), "p", "sub"), Some(false));
        for length in 0..all.len() {
            let cut = all.iter().copied().take(length).collect::<Vec<_>>();
            let _ = is_text(&cut, "p", "sub");
        }
    }

    proptest! {
        /// About one in 170 of these has bytes that are text.
        #[test]
        fn every_number_is_read_as_what_it_is(whole in 0_u64..1 << 53) {
            prop_assert_eq!(number(whole as f64), id(&whole.to_string()));
        }

        #[test]
        fn every_text_is_read_as_what_it_is(given in "[!-~]{8}|[ -~]{1,20}|\\PC{0,8}") {
            match text(&given) {
                Claim::Id(read) => {
                    prop_assert_eq!(String::from_utf8(read).unwrap(), given.trim());
                }
                _ => prop_assert!(given.trim().is_empty() || given.trim() != given.trim_matches([' ', '\t'])),
            }
        }

        #[test]
        fn arbitrary_metadata_has_a_type_or_none(all in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = is_text(&all, "p", "sub");
        }
    }
}
