//! Parts of a message that a signature of RFC 9421 can cover, and which of them it has to.

use std::sync::Arc;

use super::mac::ALGORITHM;

/// The most components that can be demanded.
pub const COMPONENTS_MAX: usize = 16;

/// The longest tag, in bytes.
const TAG_BYTES_MAX: usize = 128;

/// What a signature has to cover if nothing else is configured. A body has to be covered in any case.
pub const COMPONENTS_DEFAULT: [&str; 5] =
    ["@method", "@authority", "@path", "@query", "content-digest"];

/// A part of a message. Only what can be computed in one way: no parameters (such as `;sf` or `;req`), and neither
/// `@query-param`, which many parsers read differently, nor what responses have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Component<'a> {
    Method,
    TargetUri,
    Authority,
    Scheme,
    RequestTarget,
    Path,
    Query,
    /// A header, by its name in lower case.
    Field(&'a str),
}

impl<'a> Component<'a> {
    /// The component of this name.
    pub(crate) fn parse(name: &'a str) -> Option<Self> {
        Some(match name {
            "@method" => Self::Method,
            "@target-uri" => Self::TargetUri,
            "@authority" => Self::Authority,
            "@scheme" => Self::Scheme,
            "@request-target" => Self::RequestTarget,
            "@path" => Self::Path,
            "@query" => Self::Query,
            field => {
                let is_token = |byte: u8| {
                    byte.is_ascii_lowercase()
                        || byte.is_ascii_digit()
                        || b"!#$%&'*+-.^_`|~".contains(&byte)
                };
                let is_name = !field.is_empty() && field.bytes().all(is_token);
                return is_name.then_some(Self::Field(field));
            }
        })
    }

    /// Whether whoever covers this one covers the other as well.
    pub(crate) fn includes(self, other: Self) -> bool {
        let of_target = matches!(other, Self::Path | Self::Query);
        let of_uri = matches!(other, Self::Scheme | Self::Authority | Self::RequestTarget);
        match self {
            Self::TargetUri if of_target || of_uri => true,
            Self::RequestTarget if of_target => true,
            Self::Field("host") if other == Self::Authority => true,
            _ => self == other,
        }
    }
}

/// What signatures of RFC 9421 must be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageRules {
    required: Vec<Box<str>>,
    tag: Option<Box<str>>,
    accept: Arc<str>,
}

impl MessageRules {
    /// What a component has to look like, for error messages.
    pub const COMPONENT_RULE: &str = "must be @method, @target-uri, @authority, @scheme, @request-target, @path, @query, \
                                      or the name of a header in lower case";

    /// What a tag has to look like, for error messages.
    pub const TAG_RULE: &str =
        "must be 1 to 128 visible ASCII characters or spaces, no quotes and no backslashes";

    /// Demands these components, and a tag if there is one; none means no tag, or any.
    ///
    /// # Errors
    /// The index of a component that breaks [`MessageRules::COMPONENT_RULE`]; none if it is the tag that breaks
    /// [`MessageRules::TAG_RULE`].
    pub fn new(components: &[&str], tag: Option<&str>) -> Result<Self, Option<usize>> {
        if let Some(at) = components.iter().position(|name| Component::parse(name).is_none()) {
            return Err(Some(at));
        }
        let is_plain = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\';
        let is_tag =
            |tag: &str| (1..=TAG_BYTES_MAX).contains(&tag.len()) && tag.bytes().all(is_plain);
        if !tag.is_none_or(is_tag) {
            return Err(None);
        }
        Ok(Self {
            required: components.iter().map(|name| (*name).into()).collect(),
            tag: tag.map(Into::into),
            accept: accept_signature(components, tag).into(),
        })
    }

    /// The tag that a signature must have; without one any will do.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The value of `Accept-Signature` that asks for such a signature (RFC 9421, section 5).
    #[must_use]
    pub fn accept_signature(&self) -> &Arc<str> {
        &self.accept
    }

    pub(crate) fn required(&self) -> impl Iterator<Item = Component<'_>> {
        self.required.iter().filter_map(|name| Component::parse(name))
    }
}

impl Default for MessageRules {
    fn default() -> Self {
        let required = COMPONENTS_DEFAULT;
        Self {
            required: required.map(Into::into).into(),
            tag: None,
            accept: accept_signature(&required, None).into(),
        }
    }
}

fn accept_signature(components: &[&str], tag: Option<&str>) -> String {
    let names: Vec<_> = components.iter().map(|name| format!("\"{name}\"")).collect();
    let tag = tag.map_or_else(String::new, |tag| format!(";tag=\"{tag}\""));
    format!("sig1=({});created;alg=\"{ALGORITHM}\"{tag}", names.join(" "))
}
