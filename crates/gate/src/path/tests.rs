use percent_encoding::percent_decode;
use proptest::prelude::*;

use super::*;

const DEFAULT: Paths = Paths {
    refuses_parameters: false,
    decodes_slashes: false,
    ignores_case: false,
    allows_tunnels: false,
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
