//! The one form of a path that rules are compared with.
//!
//! An upstream does not take a path as it is written: a servlet container drops the parameters of
//! each segment (`/v1;x/bet` is `/v1/bet`), most decode what is percent-encoded and fold double
//! slashes. A rule that looked at the path as written could be walked around. So a path is brought
//! into the form in which the laxest upstream sees it, and where upstreams would find two different
//! places it is ambiguous. Envoy's own normalization does some of this, if it is turned on.

use std::borrow::Cow;

/// How paths are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Paths {
    /// Whether a path with parameters (`;`) counts as ambiguous instead of losing them.
    pub refuses_parameters: bool,
    /// Whether a slash that is encoded or written as a backslash separates segments; otherwise a path
    /// that has one is ambiguous.
    pub decodes_slashes: bool,
    /// Whether upper and lower case (of ASCII) are the same.
    pub ignores_case: bool,
    /// Whether ambiguous paths are only counted.
    pub shadow: bool,
}

/// A path in the form that rules are compared with.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Canonical<'a> {
    /// Without query and parameters, decoded, with one slash between segments. If it is ambiguous:
    /// as most upstreams would read it.
    pub path: Cow<'a, [u8]>,
    /// Whether upstreams would read it in different ways.
    pub is_ambiguous: bool,
}

impl Paths {
    /// The canonical form of `:path`.
    #[must_use]
    pub fn canonical<'a>(&self, path: &'a [u8]) -> Canonical<'a> {
        let path = path.split(|byte| matches!(byte, b'?' | b'#')).next().unwrap_or(path);
        // `CONNECT` has no path, and `OPTIONS` may have this one.
        if self.is_canonical(path) || matches!(path, b"" | b"*") {
            return Canonical { path: Cow::Borrowed(path), is_ambiguous: false };
        }
        let mut built = Built { is_ambiguous: path.first() != Some(&b'/'), ..Built::default() };
        let mut rest = path;
        while let [first, after @ ..] = rest {
            let decoded = decoded(rest);
            let byte = decoded.map_or(*first, |(byte, _)| byte);
            rest = decoded.map_or(after, |(_, after)| after);
            // A lone `%` is nothing that a client means, and some know `%u002f`.
            built.is_ambiguous |= byte.is_ascii_control() || (*first == b'%' && decoded.is_none());
            match byte {
                b'/' | b'\\' => {
                    let is_plain = *first == b'/';
                    // Parameters end at it for who decodes first, and for others they do not.
                    let is_clear = self.decodes_slashes && !built.in_parameters;
                    built.is_ambiguous |= !is_plain && !is_clear;
                    built.end_segment(true);
                }
                // An encoded one begins parameters for who decodes first.
                b';' if !self.refuses_parameters => built.in_parameters = true,
                b';' if decoded.is_none() => built.is_ambiguous = true,
                _ if built.in_parameters => {}
                byte if self.ignores_case => built.path.push(byte.to_ascii_lowercase()),
                byte => built.path.push(byte),
            }
        }
        built.end_segment(false);
        // Bytes that are no text can be dots or slashes to a lax decoder (`%c0%af`).
        built.is_ambiguous |= std::str::from_utf8(&built.path).is_err();
        Canonical { path: Cow::Owned(built.path), is_ambiguous: built.is_ambiguous }
    }

    /// Whether there is nothing to do: true for most paths, so that they cost one look at each byte.
    fn is_canonical(&self, path: &[u8]) -> bool {
        let mut before = 0;
        path.first() == Some(&b'/')
            && path.iter().all(|byte| {
                let is_first = std::mem::replace(&mut before, *byte) == b'/';
                match byte {
                    b'/' | b'.' => !is_first,
                    b'%' | b';' | b'\\' | 0..0x20 | 0x7f.. => false,
                    byte => !(self.ignores_case && byte.is_ascii_uppercase()),
                }
            })
    }
}

/// The byte that a path begins with percent-encoded, and what comes after it; none if it does not.
fn decoded(path: &[u8]) -> Option<(u8, &[u8])> {
    let [b'%', high, low, after @ ..] = path else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(((digit(*high)? << 4) | digit(*low)?, after))
}

/// A path that is being built.
#[derive(Default)]
struct Built {
    path: Vec<u8>,
    in_parameters: bool,
    is_ambiguous: bool,
}

impl Built {
    fn end_segment(&mut self, has_next: bool) {
        let start = self.path.iter().rposition(|byte| *byte == b'/');
        let segment = start.and_then(|at| self.path.get(at..)).unwrap_or(&self.path);
        match segment {
            // What upstream takes these for a step depends on when it decodes and drops parameters.
            b"/." | b"/.." => {
                self.is_ambiguous = true;
                let steps = segment.len().saturating_sub(1);
                for _ in 0..steps {
                    let parent = self.path.iter().rposition(|byte| *byte == b'/');
                    self.path.truncate(parent.unwrap_or_default());
                }
                if !has_next {
                    self.path.push(b'/');
                }
            }
            // In the middle nobody means an empty segment with parameters, and not all drop it. At the
            // beginning an empty one makes the next a host's name to some.
            b"/" if has_next => {
                self.is_ambiguous |= self.in_parameters || self.path.len() == 1;
                self.path.pop();
            }
            _ => {}
        }
        if has_next {
            self.path.push(b'/');
        }
        self.in_parameters = false;
    }
}

#[cfg(test)]
mod tests {
    use percent_encoding::percent_decode;
    use proptest::prelude::*;

    use super::*;

    const DEFAULT: Paths = Paths {
        refuses_parameters: false,
        decodes_slashes: false,
        ignores_case: false,
        shadow: false,
    };

    fn read(paths: Paths, path: &str) -> (String, bool) {
        let Canonical { path, is_ambiguous } = paths.canonical(path.as_bytes());
        (String::from_utf8_lossy(&path).into_owned(), is_ambiguous)
    }

    fn clear(paths: Paths, cases: &[(&str, &str)]) {
        for (path, canonical) in cases {
            assert_eq!(read(paths, path), ((*canonical).to_owned(), false), "{path}");
        }
    }

    #[test]
    fn paths_have_one_form() {
        clear(
            DEFAULT,
            &[
                ("/v1/bet", "/v1/bet"),
                ("/v1/bet?x=/a;b", "/v1/bet"),
                ("/v1/bet#/x", "/v1/bet"),
                ("/v1/bet/", "/v1/bet/"),
                ("/V1/Bet", "/V1/Bet"),
                ("/", "/"),
                ("/?", "/"),
                ("", ""),
                ("*", "*"),
                ("/%62%65t", "/bet"),
                ("/k%c3%a4se", "/k\u{e4}se"),
                ("/k\u{e4}se", "/k\u{e4}se"),
                ("/a//b///c", "/a/b/c"),
                ("/a//", "/a/"),
                ("/.well-known/x", "/.well-known/x"),
                ("/a/...", "/a/..."),
                ("/a/b.c", "/a/b.c"),
                ("/100%25", "/100%"),
                ("/a%3fb%23", "/a?b#"),
            ],
        );
        // Nothing is copied where nothing changes.
        assert!(matches!(DEFAULT.canonical(b"/v1/bet?x").path, Cow::Borrowed(b"/v1/bet")));
    }

    /// Each was sent by hand to a Tomcat 10.1.34 (embedded, with its defaults) behind a real Envoy: it
    /// served each as the path on the right.
    #[test]
    fn parameters_are_no_part_of_a_path() {
        clear(
            DEFAULT,
            &[
                ("/v1;x/bet", "/v1/bet"),
                ("/v1;x=1;y=2/bet;jsessionid=7", "/v1/bet"),
                ("/v1/bet;", "/v1/bet"),
                ("/v1;/bet", "/v1/bet"),
                ("/v1;a?b=/x", "/v1"),
                ("/;jsessionid=7", "/"),
                ("/v1/;jsessionid=7", "/v1/"),
                ("/v1;x%20y=z/bet", "/v1/bet"),
                ("/v1;a.b/bet", "/v1/bet"),
            ],
        );
        // Nobody means these; the same Tomcat serves them, and other upstreams another place.
        for path in ["/;/v1/bet", "/;x/v1/bet", "/v1/;/bet", "/v1/;a=b/bet", "/v1;/./bet"] {
            assert_eq!(read(DEFAULT, path), ("/v1/bet".to_owned(), true), "{path}");
        }
    }

    #[test]
    fn parameters_can_be_refused() {
        let paths = Paths { refuses_parameters: true, ..DEFAULT };
        clear(paths, &[("/v1/bet?a;b", "/v1/bet"), ("/a%3bb", "/a;b")]);
        for path in ["/v1;x/bet", "/v1/bet;", "/;jsessionid=7"] {
            assert!(read(paths, path).1, "{path}");
        }
    }

    #[test]
    fn where_upstreams_find_two_places_it_is_ambiguous() {
        for (path, canonical) in [
            ("/public/../v1/bet", "/v1/bet"),
            ("/public/..;/v1/bet", "/v1/bet"),
            ("/public/..;x/v1/bet", "/v1/bet"),
            ("/public/.;/bet", "/public/bet"),
            ("/public/%2e%2E/v1/bet", "/v1/bet"),
            ("/public/.%2e;/v1/bet", "/v1/bet"),
            ("/public/..%3b/v1/bet", "/v1/bet"),
            ("/public/..%2fv1/bet", "/v1/bet"),
            ("/public/..%5cv1/bet", "/v1/bet"),
            ("/public/..\\v1/bet", "/v1/bet"),
            ("/v1/bet/..", "/v1/"),
            ("/v1/bet/.", "/v1/bet/"),
            ("/..", "/"),
            ("/../../v1", "/v1"),
            ("//evil/v1/bet", "/evil/v1/bet"),
            ("/%2fevil/v1/bet", "/evil/v1/bet"),
            ("/v1%2fbet", "/v1/bet"),
            ("/v1%5Cbet", "/v1/bet"),
            ("/v1\\bet", "/v1/bet"),
            ("/v1;a=%2fzzz/bet", "/v1/zzz/bet"),
            ("/bet%00", "/bet\0"),
            ("/bet%0a", "/bet\n"),
            ("/bet%7f", "/bet\u{7f}"),
            ("/bet\t", "/bet\t"),
            ("/%u0062et", "/%u0062et"),
            ("/bet%", "/bet%"),
            ("/bet%6", "/bet%6"),
            ("/%c0%ae%c0%ae/bet", "/\u{fffd}\u{fffd}\u{fffd}\u{fffd}/bet"),
            ("/%e9", "/\u{fffd}"),
            ("http://host/bet", "http:/host/bet"),
            ("bet", "bet"),
            ("*/bet", "*/bet"),
        ] {
            assert_eq!(read(DEFAULT, path), (canonical.to_owned(), true), "{path}");
        }
    }

    #[test]
    fn encoded_slashes_can_separate() {
        let paths = Paths { decodes_slashes: true, ..DEFAULT };
        clear(
            paths,
            &[
                ("/v1%2fbet", "/v1/bet"),
                ("/v1%2F%2Fbet", "/v1/bet"),
                ("/v1%5cbet\\1", "/v1/bet/1"),
                ("/v1;x/bet%2f", "/v1/bet/"),
            ],
        );
        for path in ["/v1;a=%2fzzz/bet", "/v1;a\\b/bet", "/public/..%2fv1/bet", "/%2fv1/bet"] {
            assert!(read(paths, path).1, "{path}");
        }
    }

    /// As a servlet container reads a path: parameters go, then each segment is decoded, then slashes are
    /// folded. Written for comparison, without a thought of what is ambiguous.
    fn servlet(path: &str) -> String {
        let path = path.split(['?', '#']).next().unwrap();
        let mut read = String::new();
        for segment in path.split('/').skip(1) {
            let name = segment.split(';').next().unwrap();
            let name = percent_decode(name.as_bytes()).decode_utf8_lossy();
            // Where somebody has decoded before.
            let name = name.split(';').next().unwrap();
            read = format!("{}/{name}", read.trim_end_matches('/'));
        }
        read
    }

    proptest! {
        #[test]
        fn a_clear_path_is_what_a_servlet_container_reads(
            parts in prop::collection::vec("[a-c/;.%=?]|/|;x|%2e|%2[Ff]|%5c|%3b|%41|\\.\\.|\\\\|//|\\PC", 0..12),
        ) {
            let path = format!("/{}", parts.concat());
            let read = DEFAULT.canonical(path.as_bytes());
            if !read.is_ambiguous {
                let (seen, expected) = (String::from_utf8_lossy(&read.path), servlet(&path));
                prop_assert_eq!(seen, expected, "{}", path);
            }
        }
    }

    #[test]
    fn case_can_be_ignored() {
        let paths = Paths { ignores_case: true, ..DEFAULT };
        clear(paths, &[("/V1/%42et", "/v1/bet"), ("/v1/b", "/v1/b"), ("/\u{c4}X", "/\u{c4}x")]);
    }
}
