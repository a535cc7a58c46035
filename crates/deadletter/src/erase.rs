//! Removes the letters that are about a user or session.

use std::time::Duration;

use events::{Document, protobuf};
use model::subject::Subject;
use serde_json::Value;

use super::{DeadLetters, Filter, Unavailable, table};

/// Letters that are looked at, and removed, in one step.
const STEP: usize = 1_000;
/// Longest wait for letters that are still to be written.
const FLUSH_MAX: Duration = Duration::from_secs(2);

impl DeadLetters {
    /// Removes every letter about a subject: whose event names it, or, if that cannot be told,
    /// whose bytes have its id as a word. Answers with their number. Blocks.
    ///
    /// # Errors
    /// If the file cannot be used: some may be removed already.
    pub fn erase(&self, subject: &Subject) -> Result<u64, Unavailable> {
        // What still waits to be written would be there afterwards.
        if !self.flush(FLUSH_MAX) {
            return Err(Unavailable);
        }
        let mut removed: u64 = 0;
        let mut filter = Filter::default();
        loop {
            let letters = self.list(&filter, STEP)?;
            let Some((last, letter)) = letters.last() else { return Ok(removed) };
            filter.after = Some((letter.first_at, last.clone()));
            let about = letters.iter().filter(|(_, letter)| is_about(&letter.raw(), subject));
            let about: Vec<_> = about.map(|(id, letter)| (letter.first_at, id.clone())).collect();
            if about.is_empty() {
                continue;
            }
            self.inner.with(|database| table::remove(database, &about))?;
            removed = removed.saturating_add(u64::try_from(about.len()).unwrap_or(u64::MAX));
        }
    }
}

fn is_about(raw: &[u8], subject: &Subject) -> bool {
    let is_protobuf = protobuf::is_meant(raw);
    let document = if is_protobuf { protobuf::read(raw) } else { Document::read(raw) };
    let field = match subject {
        Subject::User(_) => "user_id",
        Subject::Session(_) => "session_id",
    };
    let key = document.ok().and_then(|document| document.members().get("key").cloned());
    match key.as_ref().and_then(|key| key.get(field)).and_then(Value::as_str) {
        Some(id) => id == subject.id(),
        None => has_word(raw, subject.id().as_bytes()),
    }
}

/// Whether a text is there that does not go on with a letter or digit on either side.
fn has_word(raw: &[u8], word: &[u8]) -> bool {
    let goes_on = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    raw.windows(word.len().max(1)).enumerate().any(|(at, window)| {
        let before = at.checked_sub(1).and_then(|before| raw.get(before));
        window == word && !goes_on(before) && !goes_on(raw.get(at.saturating_add(word.len())))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_about_whom_its_key_names_or_whose_id_stands_in_it() {
        let alice = Subject::user("alice").unwrap();
        let is = |raw: &str| is_about(raw.as_bytes(), &alice);
        assert!(is(r#"{"key":{"user_id":"alice"}}"#));
        assert!(!is(r#"{"key":{"user_id":"bob"},"note":"alice"}"#));
        assert!(!is(r#"{"key":{"user_id":"alice2"}}"#));
        assert!(is(r#"{"key":{"user_id":"alice""#));
        assert!(is(r#"{"payload":{"who":"alice"}}"#));
        assert!(!is(r#"{"payload":{"who":"malice"}}"#));
        assert!(!is("nothing"));
    }
}
