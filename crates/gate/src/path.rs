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
    /// Whether a `CONNECT` is let through, though nobody sees what is asked for in its tunnel.
    pub allows_tunnels: bool,
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
mod tests;
