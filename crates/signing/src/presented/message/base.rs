//! The bytes that are signed: a line for each component, and one for the parameters (RFC 9421, section 2.5).

use super::{INPUT, malformed};
use crate::Failure;
use crate::components::Component;
use crate::headers::Headers;

const FIELD_RULE: &str =
    "must cover only headers that are there, stand once, and are visible ASCII";
const ONCE_RULE: &str = "must stand once, of visible ASCII without spaces";
const PATH_RULE: &str = "must be a path, neither with a fragment nor with an empty query";
const AUTHORITY_RULE: &str = "must be a host, and a port if it has one";

/// Where a request goes.
pub(crate) struct Target<'a> {
    method: &'a str,
    /// None if the proxy knows none.
    scheme: Option<&'a str>,
    authority: &'a str,
    path: &'a str,
    /// Without its question mark.
    query: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// Reads it of the pseudo-headers.
    pub(crate) fn of(headers: &'a Headers) -> Result<Self, Failure> {
        let method = required(headers, ":method")?;
        let authority = required(headers, ":authority")?;
        if authority.contains(['@', '/', '?', '#']) {
            return malformed(":authority", AUTHORITY_RULE);
        }
        let target = required(headers, ":path")?;
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        // An empty query signs as none does.
        if !path.starts_with('/') || target.contains('#') || query == Some("") {
            return malformed(":path", PATH_RULE);
        }
        Ok(Self { method, scheme: optional(headers, ":scheme")?, authority, path, query })
    }

    pub(super) fn has_query(&self) -> bool {
        self.query.is_some()
    }

    fn scheme(&self) -> Result<&'a str, Failure> {
        self.scheme.ok_or(Failure::Missing { header: ":scheme" })
    }

    /// The path, with its query if it has one.
    fn push_path(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.path.as_bytes());
        if let Some(query) = self.query {
            out.push(b'?');
            out.extend_from_slice(query.as_bytes());
        }
    }
}

/// A host in lower case, without the port that its scheme has anyway.
pub(super) fn normalized(authority: &str, scheme: Option<&str>) -> String {
    let default_port = match scheme {
        Some("https") => ":443",
        Some("http") => ":80",
        _ => "",
    };
    authority.strip_suffix(default_port).unwrap_or(authority).to_ascii_lowercase()
}

/// Appends the line of one component.
pub(crate) fn line(
    component: Component<'_>,
    headers: &Headers,
    target: &Target<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    let mut name = |name: &str| {
        [b"\"", name.as_bytes(), b"\": "].into_iter().for_each(|part| out.extend_from_slice(part));
    };
    match component {
        Component::Method => {
            name("@method");
            out.extend_from_slice(target.method.as_bytes());
        }
        Component::TargetUri => {
            name("@target-uri");
            out.extend_from_slice(target.scheme()?.as_bytes());
            out.extend_from_slice(b"://");
            out.extend_from_slice(target.authority.as_bytes());
            target.push_path(out);
        }
        Component::Authority => {
            name("@authority");
            out.extend_from_slice(normalized(target.authority, target.scheme).as_bytes());
        }
        Component::Scheme => {
            name("@scheme");
            out.extend_from_slice(target.scheme()?.to_ascii_lowercase().as_bytes());
        }
        Component::RequestTarget => {
            name("@request-target");
            target.push_path(out);
        }
        Component::Path => {
            name("@path");
            out.extend_from_slice(target.path.as_bytes());
        }
        Component::Query => {
            name("@query");
            out.push(b'?');
            out.extend_from_slice(target.query.unwrap_or_default().as_bytes());
        }
        Component::Field(field) => {
            name(field);
            // Envoy has no such header: it is `:authority`.
            let value = match field {
                "host" => target.authority,
                _ => field_value(headers, field)?,
            };
            out.extend_from_slice(value.as_bytes());
        }
    }
    out.push(b'\n');
    Ok(())
}

/// Appends the last line, which says what is covered, and how.
pub(crate) fn parameters_line(parameters: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\"@signature-params\": ");
    out.extend_from_slice(parameters.as_bytes());
}

/// What stands in a header that is signed.
fn field_value<'a>(headers: &'a Headers, field: &'a str) -> Result<&'a str, Failure> {
    let value = headers.one(field).ok().flatten();
    let value = value.filter(|value| value.iter().all(|byte| (b' '..=b'~').contains(byte)));
    let text = value.and_then(|value| std::str::from_utf8(value).ok());
    text.map(str::trim_ascii).ok_or(Failure::Malformed { header: INPUT, rule: FIELD_RULE })
}

fn required<'a>(headers: &'a Headers, header: &'static str) -> Result<&'a str, Failure> {
    optional(headers, header)?.ok_or(Failure::Missing { header })
}

fn optional<'a>(headers: &'a Headers, header: &'static str) -> Result<Option<&'a str>, Failure> {
    let Ok(value) = headers.one(header) else { return malformed(header, ONCE_RULE) };
    let Some(value) = value.filter(|value| !value.is_empty()) else { return Ok(None) };
    match std::str::from_utf8(value) {
        Ok(text) if text.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(Some(text)),
        _ => malformed(header, ONCE_RULE),
    }
}
