//! One cookie among those of a request, as all common readers of cookies would find it.
//!
//! There is no one way to read a `Cookie` header: RFC 6265 separates cookies with `;` and knows no
//! escapes, Python's `http.cookies` also ends a cookie at white space and knows quoted strings with
//! octal and backslash escapes, ASP.NET and Jetty may separate with `,`, PHP and Rack decode names,
//! Node.js and PHP decode values, and ASP.NET ignores case. So whatever common readers can find under
//! the name counts, and where they would cut or unescape differently the header is ambiguous. Only
//! what bears on this one cookie is looked at: other cookies may be as odd as they like.

use model::id::trim;
use percent_encoding::percent_decode;

/// What is found under the name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reading<'a> {
    /// The value as it stands, without quotes around it.
    Plain(&'a [u8]),
    /// The same value, percent-decoded.
    Decoded(Vec<u8>),
    /// Something that readers would not agree about.
    Ambiguous,
}

/// Everything that one header line has under a cookie's name.
pub(crate) fn read<'a>(line: &'a [u8], name: &str, mut found: impl FnMut(Reading<'a>)) {
    for pair in line.split(|byte| *byte == b';') {
        // Most cookies are others: each is looked at where it has a `=`, and nowhere else.
        let mut equals = (0..).zip(pair).filter(|(_, byte)| **byte == b'=').map(|(at, _)| at);
        let Some((key, value)) = equals.next().and_then(|at| pair.split_at_checked(at)) else {
            continue;
        };
        if is_name(trim(key), name) {
            read_value(value.strip_prefix(b"=").unwrap_or_default(), &mut found);
        } else if is_hidden(key, name) {
            found(Reading::Ambiguous);
        }
        let mut keys = equals.filter_map(|at| Some(pair.split_at_checked(at)?.0));
        if keys.any(|key| is_hidden(key, name)) {
            found(Reading::Ambiguous);
        }
    }
}

/// Whether some reader takes this for the name.
fn is_name(key: &[u8], name: &str) -> bool {
    let name = name.as_bytes();
    if key.eq_ignore_ascii_case(name) {
        return true;
    }
    // PHP decodes names, passes over blanks, ends them at a zero byte, and has `_` for what cannot
    // stand in a variable's name; Rack decodes them.
    if !key.iter().any(|byte| b"%+. [".contains(byte)) {
        return false;
    }
    let mut decoded = decode(key);
    decoded.iter_mut().filter(|byte| **byte == b'+').for_each(|byte| *byte = b' ');
    let decoded = trim(decoded.split(|byte| *byte == 0).next().unwrap_or_default());
    let same = |(a, b): (&u8, &u8)| a.eq_ignore_ascii_case(b) || (*b == b'_' && b". [".contains(a));
    decoded.len() == name.len() && decoded.iter().zip(name).all(same)
}

/// Whether what stands before a `=` ends in the name in such a way that a reader with other separators
/// than `;`, or other white space, would begin a cookie there.
fn is_hidden(key: &[u8], name: &str) -> bool {
    // White space of any sort, also in encodings in which it is no ASCII.
    let is_space = |byte: &u8| *byte <= b' ' || *byte >= 0x7f;
    let end = key.iter().rposition(|byte| !is_space(byte)).map_or(0, |last| last.saturating_add(1));
    let key = key.get(..end).unwrap_or_default();
    let start = key.len().checked_sub(name.len()).and_then(|start| key.split_at_checked(start));
    start.is_some_and(|(before, tail)| {
        let begins = before.last().is_none_or(|byte| is_space(byte) || b",\"".contains(byte));
        begins && tail.eq_ignore_ascii_case(name.as_bytes())
    })
}

fn read_value<'a>(value: &'a [u8], found: &mut impl FnMut(Reading<'a>)) {
    let value = trim(value);
    let quoted = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    let plain = quoted.unwrap_or(value);
    // What ends a value for some, and is a part of it for others. Inside of quotes blanks are not.
    let divides = |byte: &u8| match byte {
        b'"' | b'\\' | b',' => true,
        b' ' => quoted.is_none(),
        byte => byte.is_ascii_control(),
    };
    if plain.iter().any(divides) {
        return found(Reading::Ambiguous);
    }
    found(Reading::Plain(plain));
    if plain.contains(&b'%') {
        found(Reading::Decoded(decode(plain)));
    }
}

// Once in the module: few requests come here.
#[inline(never)]
fn decode(bytes: &[u8]) -> Vec<u8> {
    percent_decode(bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(line: &str, name: &str) -> Vec<String> {
        let mut readings = Vec::new();
        read(line.as_bytes(), name, |reading| {
            readings.push(match reading {
                Reading::Plain(value) => format!("{}", value.escape_ascii()),
                Reading::Decoded(value) => format!("decoded:{}", value.escape_ascii()),
                Reading::Ambiguous => "ambiguous".to_owned(),
            });
        });
        readings
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        for (line, values) in [
            ("xuid=1; uid=2", &["2"][..]),
            ("uidx=1;uid=", &[""]),
            ("uid", &[]),
            ("=uid; ;;uid ;", &[]),
            ("uid=a=b;=;;", &["a=b"]),
            ("uid = \"a b\" ", &["a b"]),
            ("uid=\"\"", &[""]),
            ("uid=%zz%61%", &["%zz%61%", "decoded:%zza%"]),
            ("uid=%41", &["%41", "decoded:A"]),
            ("uid=1; uid=2;uid=1", &["1", "2", "1"]),
            ("uid=Zo\u{eb}", &["Zo\\xc3\\xab"]),
            ("uid=\talice\t;x", &["alice"]),
        ] {
            assert_eq!(all(line, "uid"), values, "{line:?}");
        }
    }

    #[test]
    fn names_count_as_the_laxest_reader_takes_them() {
        for line in [
            "UID=1",
            "Uid=1",
            "u%69d=1",
            "%20uid=1",
            "uid%00x=1",
            "u%49d%20=1",
            "+uid=1",
            "%2buid=1",
        ] {
            assert_eq!(all(line, "uid"), ["1"], "{line:?}");
        }
        for line in ["user_id=1", "user.id=1", "user%2eid=1", "user[id=1", "user id=1", "user+id=1"]
        {
            assert_eq!(all(line, "user_id"), ["1"], "{line:?}");
        }
        for line in ["u.id=1", "u%69dx=1", "uid.=1", "userxid=1", "user-id=1"] {
            assert!(all(line, "uid").is_empty() && all(line, "user_id").is_empty(), "{line:?}");
        }
    }

    #[test]
    fn where_readers_disagree_about_the_cookie_it_is_ambiguous() {
        for line in [
            "x=1 uid=alice",
            "x=1\tuid=alice",
            "x=1, uid=alice",
            "x=1,uid = alice",
            "x uid=alice",
            ",uid=alice",
            "x=\"1\"uid=alice",
            "x=\"; y\\\"\"\tuid=alice",
            "\u{a0}uid=alice",
            "uid\u{a0}=alice",
            "x=1\u{b}uid=alice",
            "uid=\"al\\151ce\"",
            "uid=al\\ice",
            "uid=\"alice",
            "uid=alice\"",
            "uid=\"alice\"x",
            "uid=\"alice\" x",
            "uid=alice x",
            "uid=alice\tx",
            "uid=alice,x",
            "uid=\"a,b\"",
            "uid=\"",
            "uid=a\0",
        ] {
            assert!(all(line, "uid").contains(&"ambiguous".to_owned()), "{line:?}");
        }
    }

    #[test]
    fn odd_cookies_of_others_do_not_matter() {
        for odd in [
            "x=\"unclosed",
            "x=a b c",
            "x=a,b, c",
            "x=\\\"\\151",
            "prefs=uid=7&y=uid=8",
            "ref=/path?uid=7",
            "x={\"uid\":1,\"y\":2}",
            "\u{eb}\u{eb}=\u{eb}",
            "=uid=bob",
            "%%%=%00",
            "xuid =1, y",
            "uid",
            "===",
            "x=uid, uid;y=1",
        ] {
            for line in [format!("{odd}; uid=alice"), format!("uid=alice; {odd}")] {
                assert_eq!(all(&line, "uid"), ["alice"], "{line:?}");
            }
        }
    }
}
