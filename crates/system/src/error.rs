//! What is wrong in a file: the field, and the rule that it breaks.

use thiserror::Error;

/// Why a configuration cannot be used: the field and the rule it breaks.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{field}: {rule}")]
pub struct ConfigError {
    /// Path of the field, such as `sources.redis.url`, or the file itself.
    pub field: String,
    /// The rule that is broken.
    pub rule: String,
}

impl ConfigError {
    /// An error of this field.
    pub fn new(field: impl Into<String>, rule: impl Into<String>) -> Self {
        Self { field: field.into(), rule: rule.into() }
    }
}
