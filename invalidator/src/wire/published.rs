//! The answer to a published event.

use serde::{Deserialize, Serialize};

use engine::{Overruling, Receipt};

use super::Everywhere;

/// What became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Published {
    /// Its id.
    pub event_id: String,
    /// What the engine made of it: `applied`, `duplicate`, `stale` or `no_effect`.
    pub result: String,
    /// Whether what the event says is so, by all that the daemon knows. Older daemons do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_effect: Option<bool>,
    /// The events that overrule it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overruled_by: Vec<Overruling>,
    /// Its place among the changes of this run.
    pub sequence: u64,
    /// Who enforces it.
    #[serde(flatten)]
    pub receipt: Receipt,
    /// Whether it is on the daemon's disk.
    #[serde(default = "yes")]
    pub durable: bool,
    /// Whether Redis has it; nothing without Redis.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redis: Option<bool>,
    /// Whether all Envoys of the fleet enforce it; nothing unless that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<Everywhere>,
    /// What its publisher should know.
    #[serde(default)]
    pub warnings: Vec<String>,
}

fn yes() -> bool {
    true
}

impl Published {
    /// Whether what the event says is so. A daemon of an older version says it with its result only.
    #[must_use]
    pub fn is_in_effect(&self) -> bool {
        self.in_effect.unwrap_or_else(|| self.result != "stale")
    }

    /// Whether the event was to end something, or has ended itself, and so has changed nothing.
    #[must_use]
    pub fn has_no_effect(&self) -> bool {
        self.result == "no_effect"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_written_as_documented_and_read_back() {
        let text = concat!(
            r#"{"event_id":"e1","result":"applied","in_effect":true,"sequence":7,"enforced":true,"#,
            r#""elapsed_ms":0.5,"nodes":[{"node":"n1","boot_id":"b","ms":0.5}],"pending":[],"#,
            r#""refused":[],"durable":true,"redis":true,"warnings":[]}"#
        );
        let published: Published = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&published).unwrap(), text);
    }

    #[test]
    fn an_older_daemon_says_less() {
        let text = r#"{"event_id":"e1","result":"stale","sequence":7,"enforced":false,
            "elapsed_ms":0,"nodes":[],"pending":[],"refused":[]}"#;
        let published: Published = serde_json::from_str(text).unwrap();
        assert!(published.durable && !published.is_in_effect() && !published.has_no_effect());
    }
}
