//! Headers in the form in which the proxy hands them over, and takes them.

/// Every header line of a request, pseudo-headers included, or of an answer; names in lower case.
///
/// They stay as the proxy hands them over, in the proxy-wasm ABI's form of a map, since most are
/// never looked at: the number of lines, the two lengths of each (all 32 bits, little-endian), then
/// each line's name and value, with a zero byte after either.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<u8>);

const NUMBER_BYTES: usize = size_of::<u32>();

impl Headers {
    /// Takes a map of the proxy's. What is not one has no lines from where it is wrong.
    #[must_use]
    pub fn from_map(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The lines of a proxy that has another form for them, copied at once into a vector that may be used again.
    #[must_use]
    pub fn copied<'a>(
        lines: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
        mut map: Vec<u8>,
    ) -> Self {
        let (mut count, mut bytes) = (0_usize, NUMBER_BYTES);
        for (name, value) in lines.clone() {
            count = count.saturating_add(1);
            let texts = name.len().saturating_add(value.len());
            bytes = bytes.saturating_add(texts).saturating_add(2 * NUMBER_BYTES + 2);
        }
        map.clear();
        map.reserve(bytes);
        map.extend_from_slice(&length(count));
        for (name, value) in lines.clone() {
            map.extend_from_slice(&length(name.len()));
            map.extend_from_slice(&length(value.len()));
        }
        for (name, value) in lines {
            map.extend_from_slice(name);
            map.push(0);
            map.extend_from_slice(value);
            map.push(0);
        }
        Self(map)
    }

    /// The vector that they stand in.
    #[must_use]
    pub fn into_map(self) -> Vec<u8> {
        self.0
    }

    /// The same map, to hand to the proxy.
    #[must_use]
    pub fn as_map(&self) -> &[u8] {
        &self.0
    }

    /// Every line: name and value.
    pub fn lines(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let (count, rest) = self.0.split_at_checked(NUMBER_BYTES).unwrap_or_default();
        let table = number(count).saturating_mul(2 * NUMBER_BYTES);
        let (table, mut rest) = rest.split_at_checked(table).unwrap_or_default();
        table.chunks_exact(2 * NUMBER_BYTES).map_while(move |lengths| {
            let (name, value) = lengths.split_at_checked(NUMBER_BYTES)?;
            let name = take(&mut rest, number(name))?;
            Some((name, take(&mut rest, number(value))?))
        })
    }

    /// The same with another value wherever this header stands.
    pub(crate) fn changed(&self, header: &str, mut change: impl FnMut(&[u8]) -> Vec<u8>) -> Self {
        let line = |(name, value): (_, &[u8])| {
            (name, if name == header.as_bytes() { change(value) } else { value.to_vec() })
        };
        self.lines().map(line).collect()
    }

    /// Every value of a header.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let lines = self.lines().filter(move |(known, _)| *known == name.as_bytes());
        lines.map(|(_, value)| value)
    }

    /// The value of a header that stands at most once; none if it is not there.
    ///
    /// # Errors
    /// [`Ambiguous`] if it stands twice, or under a name that some upstreams take for this one.
    pub fn one<'a>(&'a self, name: &'a str) -> Result<Option<&'a [u8]>, Ambiguous> {
        let mut only = None;
        for (known, value) in self.lines() {
            if known == name.as_bytes() {
                if only.replace(value).is_some() {
                    return Err(Ambiguous);
                }
            } else if is_alias(known, name) {
                return Err(Ambiguous);
            }
        }
        Ok(only)
    }
}

/// Whether upstreams that make variables of headers, as CGI and WSGI do, take one name for the other:
/// `x_user_id` for `x-user-id`. A name is no alias of itself.
pub fn is_alias(known: &[u8], name: &str) -> bool {
    let folded = |byte: &u8| if *byte == b'_' { b'-' } else { *byte };
    known.len() == name.len()
        && known != name.as_bytes()
        && known.iter().map(folded).eq(name.as_bytes().iter().map(folded))
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(lines: I) -> Self {
        let (mut count, mut table, mut texts) = (0_u32, Vec::new(), Vec::new());
        for (name, value) in lines {
            for text in [name.as_ref(), value.as_ref()] {
                table.extend_from_slice(&length(text.len()));
                texts.extend_from_slice(text);
                texts.push(0);
            }
            count = count.saturating_add(1);
        }
        Self([&count.to_le_bytes()[..], &table, &texts].concat())
    }
}

fn length(bytes: usize) -> [u8; NUMBER_BYTES] {
    u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes()
}

fn number(bytes: &[u8]) -> usize {
    let bytes = bytes.try_into().unwrap_or_default();
    usize::try_from(u32::from_le_bytes(bytes)).unwrap_or(usize::MAX)
}

/// The next text, without the zero byte after it.
fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (text, after) = rest.split_at_checked(length)?;
    *rest = after.split_first()?.1;
    Some(text)
}

/// A header stands twice, or under two names that some readers take for one, so that two readers could
/// disagree about which one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ambiguous;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_with_an_alias_is_ambiguous() {
        let headers: Headers = [("x-a_b", "1"), ("x-c", "2"), ("x_d", "3")].into_iter().collect();
        assert_eq!(headers.one("x-a_b"), Ok(Some(&b"1"[..])));
        assert_eq!(headers.one("x-c"), Ok(Some(&b"2"[..])));
        for alias in ["x-a-b", "x_a_b", "x_c", "x-d"] {
            assert_eq!(headers.one(alias), Err(Ambiguous), "{alias}");
        }
        for other in ["x-a_bc", "xxc", "x-", "d", ""] {
            assert_eq!(headers.one(other), Ok(None), "{other}");
        }
    }

    #[test]
    fn headers_are_read_from_the_proxys_form_of_a_map() {
        let map = b"\x02\0\0\0\x01\0\0\0\x02\0\0\0\x01\0\0\0\0\0\0\0a\0bc\0a\0\0".to_vec();
        let headers = Headers::from_map(map.clone());
        let lines = [(&b"a"[..], &b"bc"[..]), (b"a", b"")];
        assert_eq!(headers.lines().collect::<Vec<_>>(), lines);
        assert_eq!(headers, lines.into_iter().collect());
        assert_eq!(headers, Headers::copied(lines.into_iter(), vec![7]));
        assert_eq!((headers.one("a"), headers.one("b")), (Err(Ambiguous), Ok(None)));
        assert_eq!(Headers::default().lines().count(), 0);
        // Cut anywhere, or with wrong numbers: what is whole until there, and nothing else.
        for length in 0..map.len() {
            let cut = Headers::from_map(map.iter().copied().take(length).collect());
            assert!(lines.starts_with(&cut.lines().collect::<Vec<_>>()), "{length}");
        }
        for (at, byte) in (0..map.len()).flat_map(|at| [0, 1, 0x7f, 0xff].map(|byte| (at, byte))) {
            let mut wrong = map.clone();
            wrong[at] = byte;
            assert!(Headers::from_map(wrong).lines().count() <= 2);
        }
    }
}
