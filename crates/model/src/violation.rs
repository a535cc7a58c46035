//! What an error is that says which rule was broken where.

use std::fmt;

/// A field that breaks a rule: of a configuration, an event, a message, a stored record. It never has the
/// field's value in it, which may be a secret or somebody's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field at fault, such as `limits[0].max_tokens`, as whoever wrote it spells it.
    pub field: String,
    /// What it must be.
    pub rule: String,
}

impl Violation {
    /// This field breaks this rule.
    #[must_use]
    #[cold]
    #[inline(never)]
    pub fn new(field: impl Into<String>, rule: impl Into<String>) -> Self {
        Self { field: field.into(), rule: rule.into() }
    }

    /// The same, seen from what the field at fault is a part of: `place` is put before its path. A field
    /// without a name is the whole of that part.
    #[must_use]
    pub fn within(mut self, place: &str) -> Self {
        let dot = if self.field.is_empty() || self.field.starts_with('[') { "" } else { "." };
        self.field = [place, dot, &self.field].concat();
        self
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.rule)
    }
}

impl std::error::Error for Violation {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_put_before_the_path() {
        let at =
            |field: &str, place| Violation::new(field, "must be right").within(place).to_string();
        assert_eq!(at("", "limits"), "limits: must be right");
        assert_eq!(at("key", "limits"), "limits.key: must be right");
        assert_eq!(at("[0].key", "limits"), "limits[0].key: must be right");
    }
}
