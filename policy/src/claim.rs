//! Claims of a verified token, as Envoy hands them to a plugin: bytes without a type.
//!
//! A string comes as its text, a number as eight bytes of a little-endian double. Lists, objects and
//! truth values are no ids.

/// Whole numbers beyond this one are not exact in a double.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// The claim as an id: text as it is, a whole number as its decimal digits.
///
/// Numbers above 2^53 have lost digits before they come here, so they are no ids either.
#[must_use]
pub fn id_text(bytes: Vec<u8>) -> Option<Vec<u8>> {
    let is_text = |text: &str| !text.chars().any(char::is_control);
    if std::str::from_utf8(&bytes).is_ok_and(is_text) {
        return Some(bytes);
    }
    let number = f64::from_le_bytes(bytes.try_into().ok()?);
    let is_whole = number.fract() == 0.0 && number.abs() < EXACT_MAX;
    // Exact, as just checked.
    is_whole.then(|| (number as i64).to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> Option<String> {
        id_text(bytes.to_vec()).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn strings_and_whole_numbers_are_ids() {
        assert_eq!(text(b"alice"), Some("alice".into()));
        assert_eq!(text("zo\u{eb}".as_bytes()), Some("zo\u{eb}".into()));
        assert_eq!(text(&42f64.to_le_bytes()), Some("42".into()));
        assert_eq!(text(&(-7f64).to_le_bytes()), Some("-7".into()));
    }

    #[test]
    fn anything_else_is_not() {
        assert_eq!(text(&1.5f64.to_le_bytes()), None);
        assert_eq!(text(&f64::NAN.to_le_bytes()), None);
        assert_eq!(text(&9_007_199_254_740_993f64.to_le_bytes()), None);
        assert_eq!(text(&[1]), None, "true");
        assert_eq!(text(b"a\x01b"), None, "a list");
    }
}
