//! When a key may be used.

use model::time::UnixMicros;

/// Whether a key is valid now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// Not yet.
    Pending,
    /// Yes.
    Active,
    /// Not any more.
    Expired,
}

impl Validity {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Pending, Self::Active, Self::Expired];

    /// In one word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Expired => "expired",
        }
    }

    /// Whether a time lies within a key's validity; both ends belong to it.
    #[must_use]
    pub fn at(
        not_before: Option<UnixMicros>,
        not_after: Option<UnixMicros>,
        now: UnixMicros,
    ) -> Self {
        if not_before.is_some_and(|from| now < from) {
            Self::Pending
        } else if not_after.is_some_and(|until| now > until) {
            Self::Expired
        } else {
            Self::Active
        }
    }
}
