//! Which requests are meant: methods, paths, and named groups of them.

use model::name::Name;
use regex_lite::Regex;

/// Requests by method and path; both must match.
#[derive(Debug)]
pub struct Matcher {
    /// Methods, upper case; none means any.
    pub methods: Vec<String>,
    /// The path; none means any.
    pub path: Option<PathMatch>,
}

/// A test of the path in its [canonical](crate::path::Canonical) form.
#[derive(Debug)]
pub enum PathMatch {
    /// The path as a whole.
    Exact(String),
    /// Whole segments from the start: `/bet` is `/bet` and `/bet/1`, and not `/better`.
    /// Held without the slash at its end.
    Prefix(String),
    /// A regular expression that matches the path as a whole.
    Regex(Regex),
}

/// A named set of requests.
#[derive(Debug)]
pub struct RouteGroup {
    /// Its name, which scopes refer to.
    pub name: Name,
    /// Any of these.
    pub matchers: Vec<Matcher>,
}

impl Matcher {
    /// Whether a request is meant. `path` is canonical. Methods are compared without regard to case: over HTTP/2 `post` gets through, and some upstreams take it for `POST`.
    #[must_use]
    pub fn matches(&self, method: &[u8], path: &[u8]) -> bool {
        let any_method = self.methods.is_empty();
        let method_fits =
            any_method || self.methods.iter().any(|m| m.as_bytes().eq_ignore_ascii_case(method));
        method_fits && self.path.as_ref().is_none_or(|test| test.matches(path))
    }
}

impl Matcher {
    pub(super) fn has_regex(&self) -> bool {
        matches!(self.path, Some(PathMatch::Regex(_)))
    }
}

impl PathMatch {
    fn matches(&self, path: &[u8]) -> bool {
        match self {
            Self::Exact(whole) => path == whole.as_bytes(),
            Self::Prefix(prefix) => path
                .strip_prefix(prefix.as_bytes())
                .is_some_and(|rest| matches!(rest.first(), None | Some(b'/'))),
            Self::Regex(regex) => regex.is_match(&String::from_utf8_lossy(path)),
        }
    }
}

/// Which requests a limit or an integration is about.
#[derive(Debug)]
pub enum LimitMatch {
    /// Those of a route group, by its index.
    RouteGroup(usize),
    /// Those that match.
    Matcher(Matcher),
}

impl LimitMatch {
    pub(super) fn has_regex(&self) -> bool {
        matches!(self, Self::Matcher(matcher) if matcher.has_regex())
    }

    /// Whether any of these matches.
    #[must_use]
    pub fn any(all: &[Self], groups: Groups, method: &[u8], path: &[u8]) -> bool {
        all.iter().any(|one| match one {
            Self::RouteGroup(index) => groups.contains(*index),
            Self::Matcher(matcher) => matcher.matches(method, path),
        })
    }
}

/// A set of route groups, by their index in the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Groups(u64);

impl Groups {
    /// The groups that a request is in.
    #[must_use]
    pub fn matching(all: &[RouteGroup], method: &[u8], path: &[u8]) -> Self {
        let mut groups = Self::default();
        for (index, group) in all.iter().enumerate() {
            if group.matchers.iter().any(|matcher| matcher.matches(method, path)) {
                groups.insert(index);
            }
        }
        groups
    }

    /// Adds a group; indexes beyond the most that there can be are not kept.
    pub fn insert(&mut self, index: usize) {
        let bit = u32::try_from(index).ok().and_then(|index| 1u64.checked_shl(index));
        self.0 |= bit.unwrap_or(0);
    }

    /// Whether this group is in the set.
    #[must_use]
    pub fn contains(self, index: usize) -> bool {
        let mut one = Self::default();
        one.insert(index);
        self.intersects(one)
    }

    /// Whether the sets have a group in common.
    #[must_use]
    pub fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}
