//! The order in which heard messages are taken in: what may be a block before everything else.
//!
//! Messages come in the order in which they were published, so that a block would have to wait
//! until everything before it is checked, merged and logged: a fifth of a second behind a burst of
//! 20,000. Looking for a word in a message is a hundred times faster. Order does not matter to what
//! comes of it, since merging is commutative. Plain and synchronous; what a message really says is
//! decided elsewhere.

use std::collections::VecDeque;

/// Most messages of one urgency that wait. With so many the connection is given up: a publisher
/// must not be able to fill the daemon's memory.
pub const WAITING_MAX: usize = 65_536;
/// Most bytes that wait.
pub const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How many are taken in before it is looked whether a block has come.
pub const TURN: usize = 32;

/// What only events that cannot wait have in them, and few others.
const WORDS: [&[u8]; 2] = [b"\"block\"", b"\"zero\""];

/// Whether a message may be an event that cannot wait. One in another form than JSON may be.
#[must_use]
pub fn may_be_urgent(message: &[u8]) -> bool {
    let is_json = message.trim_ascii_start().first() == Some(&b'{');
    let has = |word: &[u8]| message.windows(word.len()).any(|part| part == word);
    !is_json || WORDS.iter().any(|word| has(word))
}

/// Messages that can wait, oldest first.
#[derive(Debug, Default)]
pub struct Waiting<T> {
    messages: VecDeque<(usize, T)>,
    bytes: usize,
}

impl<T> Waiting<T> {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self { messages: VecDeque::new(), bytes: 0 }
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Whether one more may wait; see [`WAITING_MAX`].
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.messages.len() < WAITING_MAX && self.bytes < WAITING_BYTES_MAX
    }

    /// Lets a message of so many bytes wait.
    pub fn push(&mut self, bytes: usize, message: T) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.messages.push_back((bytes, message));
    }

    /// The one that has waited longest.
    pub fn pop(&mut self) -> Option<T> {
        let (bytes, message) = self.messages.pop_front()?;
        self.bytes = self.bytes.saturating_sub(bytes);
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_and_zeros_cannot_wait_and_other_json_can() {
        let urgent: [&[u8]; 5] = [
            br#"{"payload":{"action":"block"}}"#,
            br#" {"payload":{"action": "zero","until":"2026-11-23T00:00:00Z"}}"#,
            br#"{"payload":{"action":"unblock","note":"block"}}"#,
            b"\x0a\x03abc",
            b"",
        ];
        assert!(urgent.into_iter().all(may_be_urgent));
        let others: [&[u8]; 3] = [
            br#"{"payload":{"action":"unblock","reason":"blocks"}}"#,
            br#"{"payload":{"action":"override"}}"#,
            b"{",
        ];
        assert!(!others.into_iter().any(may_be_urgent));
    }

    #[test]
    fn what_waits_is_bounded_and_keeps_its_order() {
        let mut waiting = Waiting::new();
        while waiting.has_room() {
            waiting.push(WAITING_BYTES_MAX / 3, "large");
        }
        assert_eq!(waiting.messages.len(), 4);
        assert_eq!(std::iter::from_fn(|| waiting.pop()).count(), 4);
        assert!(waiting.is_empty() && waiting.bytes == 0);
        let mut number = 0;
        while waiting.has_room() {
            waiting.push(1, "small");
            number += 1;
        }
        assert_eq!(number, WAITING_MAX);
        waiting.pop();
        waiting.push(0, "last");
        assert_eq!(std::iter::from_fn(|| waiting.pop()).last(), Some("last"));
    }
}
