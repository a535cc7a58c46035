//! The order in which heard messages are taken in: what may be a block before everything else.
//!
//! Messages come in the order in which they were published, so that a block would have to wait
//! until everything before it is checked, merged and logged: a fifth of a second behind a burst of
//! 20,000. Looking for a word in a message is a hundred times faster. Order does not matter to what
//! comes of it, since merging is commutative, as long as each message keeps the instant at which it
//! came: whoever puts it here has to note that. Plain and synchronous; what a message really says is
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

/// Messages that have been heard and not been taken in yet.
#[derive(Debug)]
pub struct Waiting<T> {
    content: fn(&T) -> &[u8],
    urgent: Queue<T>,
    others: Queue<T>,
}

impl<T> Waiting<T> {
    /// None yet, and how to see what a message says.
    #[must_use]
    pub fn new(content: fn(&T) -> &[u8]) -> Self {
        Self { content, urgent: Queue::new(), others: Queue::new() }
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.urgent.messages.is_empty() && self.others.messages.is_empty()
    }

    /// Whether one more of either urgency may wait; see [`WAITING_MAX`].
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.urgent.has_room() && self.others.has_room()
    }

    /// Lets a message wait.
    pub fn push(&mut self, message: T) {
        let content = (self.content)(&message);
        let bytes = content.len();
        let queue = if may_be_urgent(content) { &mut self.urgent } else { &mut self.others };
        queue.push(bytes, message);
    }

    /// The one to take in next: the oldest of the urgent ones, else of the others.
    pub fn pop(&mut self) -> Option<T> {
        self.urgent.pop().or_else(|| self.others.pop())
    }
}

/// Messages of one urgency, oldest first.
#[derive(Debug)]
struct Queue<T> {
    messages: VecDeque<(usize, T)>,
    bytes: usize,
}

impl<T> Queue<T> {
    fn new() -> Self {
        Self { messages: VecDeque::new(), bytes: 0 }
    }

    fn has_room(&self) -> bool {
        self.messages.len() < WAITING_MAX && self.bytes < WAITING_BYTES_MAX
    }

    fn push(&mut self, bytes: usize, message: T) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.messages.push_back((bytes, message));
    }

    fn pop(&mut self) -> Option<T> {
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
        let mut queue = Queue::new();
        while queue.has_room() {
            queue.push(WAITING_BYTES_MAX / 3, "large");
        }
        assert_eq!(queue.messages.len(), 4);
        assert_eq!(std::iter::from_fn(|| queue.pop()).count(), 4);
        assert!(queue.messages.is_empty() && queue.bytes == 0);
        let mut number = 0;
        while queue.has_room() {
            queue.push(1, "small");
            number += 1;
        }
        assert_eq!(number, WAITING_MAX);
        queue.pop();
        queue.push(0, "last");
        assert_eq!(std::iter::from_fn(|| queue.pop()).last(), Some("last"));
    }

    #[test]
    fn what_is_urgent_comes_first() {
        let mut waiting = Waiting::new(|message: &&str| message.as_bytes());
        for message in [r#"{"action":"unblock"}"#, r#"{"a":"block"}"#, "{}", r#"{"a":"zero"}"#] {
            waiting.push(message);
        }
        let order: Vec<_> = std::iter::from_fn(|| waiting.pop()).collect();
        let expected = [r#"{"a":"block"}"#, r#"{"a":"zero"}"#, r#"{"action":"unblock"}"#, "{}"];
        assert_eq!(order, expected);
        assert!(waiting.is_empty());
    }
}
