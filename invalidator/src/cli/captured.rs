//! A captured HTTP/1.1 request, as `curl -v`, a proxy's dump or a text editor has it.

use httparse::{EMPTY_HEADER, Status};
use signing::headers::Headers;
use thiserror::Error;

/// Most headers of a captured request.
const HEADERS_MAX: usize = 128;

/// What of a request its signature is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Captured {
    /// With pseudo-headers, as Envoy has them.
    pub(super) headers: Headers,
    pub(super) body: Vec<u8>,
}

/// Why bytes are no request.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum CapturedError {
    #[error("request: not HTTP/1.1: {0}")]
    NotHttp(httparse::Error),
    #[error("request: ends within its headers: an empty line has to follow them")]
    NoBody,
    #[error("request target: must be a path such as /orders?id=7")]
    Target,
    #[error("content-length: must be a whole number")]
    Length,
    #[error("content-length: says {0} bytes, {1} follow the headers")]
    Short(usize, usize),
    #[error("transfer-encoding: the body is not whole chunks")]
    Chunks,
}

impl Captured {
    /// Reads one that was sent to a URL of this scheme.
    pub(super) fn parse(bytes: &[u8], scheme: &str) -> Result<Self, CapturedError> {
        let mut headers = [EMPTY_HEADER; HEADERS_MAX];
        let mut head = httparse::Request::new(&mut headers);
        let length = match head.parse(bytes).map_err(CapturedError::NotHttp)? {
            Status::Complete(length) => length,
            Status::Partial => return Err(CapturedError::NoBody),
        };
        let path = path(head.path.unwrap_or_default()).ok_or(CapturedError::Target)?;
        let method = head.method.unwrap_or_default().as_bytes().to_vec();
        let scheme = scheme.as_bytes().to_vec();
        let pseudo = [(":method", method), (":scheme", scheme), (":path", path.into_bytes())];
        let pseudo = pseudo.map(|(name, value)| (name.to_owned(), value));
        let lines = head.headers.iter();
        let lines = lines.map(|header| (envoys_name(header.name), header.value.to_vec()));
        let headers = pseudo.into_iter().chain(lines).collect();
        let rest = bytes.get(length..).unwrap_or_default();
        let body = framed(&headers, rest)?;
        Ok(Self { headers, body })
    }
}

/// What Envoy calls a header.
fn envoys_name(name: &str) -> String {
    match name.to_ascii_lowercase() {
        name if name == "host" => ":authority".to_owned(),
        name => name,
    }
}

/// The body as its framing has it; everything that follows if there is none.
fn framed(headers: &Headers, rest: &[u8]) -> Result<Vec<u8>, CapturedError> {
    let encoding = headers.all("transfer-encoding").next().unwrap_or_default();
    if encoding.eq_ignore_ascii_case(b"chunked") {
        return unchunked(rest).ok_or(CapturedError::Chunks);
    }
    let Some(length) = headers.all("content-length").next() else { return Ok(rest.to_vec()) };
    let length = std::str::from_utf8(length).ok().and_then(|text| text.parse().ok());
    let length = length.ok_or(CapturedError::Length)?;
    let body = rest.get(..length).ok_or(CapturedError::Short(length, rest.len()))?;
    Ok(body.to_vec())
}

/// The path and query of a target in either form.
fn path(target: &str) -> Option<String> {
    if target.starts_with('/') {
        return Some(target.to_owned());
    }
    let uri: axum::http::Uri = target.parse().ok()?;
    uri.scheme()?;
    uri.path_and_query().map(ToString::to_string)
}

/// The content of chunks; trailers are not looked at.
fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let Ok(Status::Complete((start, size))) = httparse::parse_chunk_size(rest) else {
            return None;
        };
        let size = usize::try_from(size).ok()?;
        if size == 0 {
            return Some(body);
        }
        let end = start.checked_add(size)?;
        body.extend_from_slice(rest.get(start..end)?);
        rest = rest.get(end..)?.strip_prefix(b"\r\n")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(text: &str) -> Result<Vec<u8>, CapturedError> {
        Captured::parse(text.as_bytes(), "https").map(|captured| captured.body)
    }

    #[test]
    fn the_parts_of_a_request_are_found() {
        let text = "POST /a?b=c HTTP/1.1\r\nHost: x\r\nX-A: 1\r\nx-a: 2\r\n\r\nbody";
        let captured = Captured::parse(text.as_bytes(), "https").unwrap();
        let all = |name| captured.headers.all(name).collect::<Vec<_>>();
        assert_eq!((all(":method"), all(":path")), (vec![&b"POST"[..]], vec![&b"/a?b=c"[..]]));
        assert_eq!(all("x-a"), [b"1", b"2"]);
        assert_eq!((all(":authority"), all(":scheme")), (vec![&b"x"[..]], vec![&b"https"[..]]));
        assert!(all("host").is_empty());
        assert_eq!(captured.body, b"body");
        let proxied = Captured::parse(b"GET http://x.example/a?b HTTP/1.1\n\n", "https").unwrap();
        assert_eq!(proxied.headers.all(":path").next(), Some(&b"/a?b"[..]));
    }

    #[test]
    fn a_body_ends_where_its_framing_says() {
        let post = "POST / HTTP/1.1\r\n";
        let with = |head: &str, rest: &str| body(&format!("{post}{head}\r\n\r\n{rest}"));
        assert_eq!(with("content-length: 3", "abc\n").unwrap(), b"abc");
        let chunks = "3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\ntrailer: x\r\n\r\n";
        assert_eq!(with("transfer-encoding: Chunked", chunks).unwrap(), b"abc0123456789");
        assert_eq!(with("x: y", "").unwrap(), b"");
        assert_eq!(with("content-length: 9", "abc"), Err(CapturedError::Short(9, 3)));
        assert_eq!(with("content-length: -1", "abc"), Err(CapturedError::Length));
        for broken in ["", "3\r\nab", "3\r\nabcd\r\n0\r\n\r\n", "ffffffffffffffff\r\n"] {
            assert_eq!(with("transfer-encoding: chunked", broken), Err(CapturedError::Chunks));
        }
    }

    #[test]
    fn what_is_no_request_is_said_to_be_none() {
        assert_eq!(body("POST / HTTP/1.1\r\nhost: x\r\n"), Err(CapturedError::NoBody));
        assert_eq!(body("POST * HTTP/1.1\r\n\r\n"), Err(CapturedError::Target));
        assert!(matches!(body("{\"not\":\"http\"}"), Err(CapturedError::NotHttp(_))));
    }
}
