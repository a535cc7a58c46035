//! What one id looks like, wherever it stands in a request: header, cookie or claim.
//!
//! Upstreams drop white space around a header's value: over HTTP/1.1 their parser does, and over
//! HTTP/2 and 3 the proxy passes it on untouched. So the gate has to drop it as well, or `alice` and
//! `alice ` are one user to the upstream and two to the gate. What readers do not agree about in
//! other ways (where a text ends at a control character, which letters bytes stand for) is no id.

/// An id that two readers could take for two different ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unclean;

/// The id without the blanks around it.
pub fn clean(value: &[u8]) -> Result<&[u8], Unclean> {
    let id = trim(value);
    if id.iter().all(|byte| (0x20..0x7f).contains(byte)) {
        return Ok(id);
    }
    // An event names an id as text, so that bytes which are none could never be blocked.
    let text = std::str::from_utf8(id).map_err(|_| Unclean)?;
    // Trimmed by some readers, and not by others. JavaScript counts the byte order mark.
    let is_space = |c: char| c.is_whitespace() || c == '\u{feff}';
    if text.contains(char::is_control) || text.starts_with(is_space) || text.ends_with(is_space) {
        return Err(Unclean);
    }
    Ok(id)
}

/// Whether a request can have exactly this id, so that an event about it can be enforced: it is not
/// empty, has no control characters, and no white space around it.
#[must_use]
pub fn can_be_in_request(id: &str) -> bool {
    !id.is_empty() && clean(id.as_bytes()) == Ok(id.as_bytes())
}

/// A field value without what RFC 9110 (section 5.5) takes for no part of it: spaces and tabs around.
/// Other white space is not dropped here, since not every reader drops it.
pub fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_around_an_id_are_no_part_of_it() {
        for same in ["alice", " alice", "alice ", "\talice\t ", "alice \t"] {
            assert_eq!(clean(same.as_bytes()), Ok(&b"alice"[..]), "{same:?}");
        }
        for nobody in ["", " ", "\t \t"] {
            assert_eq!(clean(nobody.as_bytes()), Ok(&b""[..]), "{nobody:?}");
        }
        for whole in ["a b", "zo\u{eb}", "a,b", "\"a\"", "a\u{a0}b", "\u{5c0f}\u{660e}", "a\\b"] {
            assert_eq!(clean(whole.as_bytes()), Ok(whole.as_bytes()), "{whole:?}");
        }
    }

    #[test]
    fn what_readers_do_not_agree_about_is_no_id() {
        let unclean = [
            &b"a\0"[..],
            b"\0a",
            b"a\nb",
            b"a\r",
            b"a\x0b",
            b"a\x7f",
            b"a\tb",
            b"\xe9",
            b"a\xff",
            b"\xc0\xae",
            b"a\xc2\xa0",
            b"\xc2\xa0a",
            b"a\xc2\x85",
            b"a\xe2\x80\x83",
            b"a\xe3\x80\x80",
            b"\xef\xbb\xbfa",
            b"a\xe2\x80\xa8",
        ];
        for id in unclean {
            assert_eq!(clean(id), Err(Unclean), "{id:?}");
        }
    }

    #[test]
    fn an_event_can_name_only_what_a_request_can_be_from() {
        for id in ["alice", "a b", "zo\u{eb}", "a,b"] {
            assert!(can_be_in_request(id), "{id:?}");
        }
        for id in ["", " alice", "alice ", "alice\t", "a\nb", "a\0", "alice\u{a0}"] {
            assert!(!can_be_in_request(id), "{id:?}");
        }
    }
}
