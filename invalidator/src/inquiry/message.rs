//! What daemons ask each other about their audit logs, and what they answer, as it lies in Redis. Anybody who can write
//! there can write this: so each message carries a MAC under the key that all daemons share, and one whose MAC is not
//! right, or that is longer than stated, is not read.

use std::time::Duration;

use audit::SharedKeys;
use evidence::{Log, Vouched};
use model::name::EventId;
use model::subject::Subject;
use model::time::UnixMicros;
use serde::{Deserialize, Serialize};

use super::Question;

/// How long a daemon is waited for at most.
pub const INQUIRY_LASTS_MAX: Duration = Duration::from_secs(30);
/// How far daemons may be apart about what time it is.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(5);
/// Longest inquiry that is read, in bytes: the id of a subject has 256 at most.
const INQUIRY_BYTES_MAX: usize = 4 * 1024;
/// Longest testimony that is read, in bytes: its lines stand in it as text in text, and their quotes twice over.
const TESTIMONY_BYTES_MAX: usize = 1024 * 1024;
/// Longest name in these messages, in bytes.
const WORD_BYTES_MAX: usize = 128;
/// What the text of each kind of message begins with, so that none is taken for another.
const OF_INQUIRY: &str = "inquiry-1";
const OF_TESTIMONY: &str = "testimony-1";

/// "What does your audit log have about this?": an entry of the stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inquiry {
    /// Random, made for this inquiry: an answer to another one is none to this.
    pub nonce: String,
    /// The run of the daemon that asks.
    pub run: String,
    /// When it was asked, in microseconds since the Unix epoch, by the clock that daemons share: who puts an old one
    /// back is not answered.
    pub asked_us: u64,
    /// How long it waits, in milliseconds.
    pub for_ms: u64,
    /// Whom it is about: `user:ID` or `session:ID`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Which event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    /// The MAC over all of it.
    pub mac: String,
}

impl Inquiry {
    /// Asks a question; nothing if no shared key is in use.
    #[must_use]
    pub fn of(
        question: &Question,
        (nonce, run): (String, String),
        lasts: Duration,
        keys: &SharedKeys,
        now: UnixMicros,
    ) -> Option<Self> {
        let (subject, event_id) = match question {
            Question::Subject(subject) => (Some(subject.to_text()), None),
            Question::Event(id) => (None, Some(id.to_string())),
        };
        let for_ms = u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX);
        let (asked_us, mac) = (now.0, String::new());
        let mut inquiry = Self { nonce, run, asked_us, for_ms, subject, event_id, mac };
        inquiry.mac = keys.mac(&inquiry.text(), now)?;
        Some(inquiry)
    }

    /// Reads one; nothing if it is none, breaks a bound, is of somebody without the key, or nobody waits any more.
    #[must_use]
    pub fn read(bytes: &[u8], keys: &SharedKeys, now: UnixMicros) -> Option<Self> {
        let inquiry: Self =
            (bytes.len() <= INQUIRY_BYTES_MAX).then(|| serde_json::from_slice(bytes).ok())??;
        let is_good = is_word(&inquiry.nonce)
            && is_word(&inquiry.run)
            && inquiry.question().is_some()
            && inquiry.is_of_now(now)
            && keys.is_mac(&inquiry.text(), &inquiry.mac);
        is_good.then_some(inquiry)
    }

    /// What it asks.
    #[must_use]
    pub fn question(&self) -> Option<Question> {
        match (&self.subject, &self.event_id) {
            (Some(subject), None) => Subject::from_text(subject).map(Question::Subject),
            (None, Some(id)) => EventId::parse(id).map(Question::Event),
            _ => None,
        }
    }

    fn is_of_now(&self, now: UnixMicros) -> bool {
        let asked = UnixMicros(self.asked_us);
        let (age, ahead) = (now.since(asked), asked.since(now));
        age <= self.lasts().saturating_add(CLOCKS_APART_MAX) && ahead <= CLOCKS_APART_MAX
    }

    /// For how long it is to be answered.
    #[must_use]
    pub fn lasts(&self) -> Duration {
        Duration::from_millis(self.for_ms).min(INQUIRY_LASTS_MAX)
    }

    fn text(&self) -> Vec<u8> {
        let Self { nonce, run, asked_us, for_ms, subject, event_id, .. } = self;
        // As JSON, in which no part can be taken for another.
        let text = serde_json::json!([OF_INQUIRY, nonce, run, asked_us, for_ms, subject, event_id]);
        text.to_string().into_bytes()
    }
}

/// What one daemon says to an inquiry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Testimony {
    /// That of the inquiry.
    pub nonce: String,
    /// The name of the daemon's run.
    pub run: String,
    /// A [`Log`], as the very text that the MAC is made over.
    pub log: String,
    /// The MAC over all of it.
    pub mac: String,
}

impl Testimony {
    /// Says what a log has; nothing if no shared key is in use.
    #[must_use]
    pub fn of(
        nonce: &str,
        run: &str,
        log: &Log,
        keys: &SharedKeys,
        now: UnixMicros,
    ) -> Option<Self> {
        let (nonce, run) = (nonce.to_owned(), run.to_owned());
        let mut testimony =
            Self { nonce, run, log: serde_json::to_string(log).ok()?, mac: String::new() };
        testimony.mac = keys.mac(&testimony.text(), now)?;
        Some(testimony)
    }

    /// Reads one; nothing if it is none, or breaks a bound.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let testimony: Self =
            (bytes.len() <= TESTIMONY_BYTES_MAX).then(|| serde_json::from_slice(bytes).ok())??;
        (is_word(&testimony.nonce) && is_word(&testimony.run)).then_some(testimony)
    }

    /// What it says, if it is of somebody who has the key.
    #[must_use]
    pub fn believed(&self, keys: &SharedKeys) -> Option<Log> {
        if !keys.is_mac(&self.text(), &self.mac) {
            return None;
        }
        let log: Log = serde_json::from_str(&self.log).ok()?;
        let fits = log.daemon.len() <= WORD_BYTES_MAX
            && log.region.as_ref().is_none_or(|region| region.len() <= WORD_BYTES_MAX);
        fits.then_some(Log { vouched: Vouched::SharedKey, ..log })
    }

    fn text(&self) -> Vec<u8> {
        let Self { nonce, run, log, .. } = self;
        serde_json::json!([OF_TESTIMONY, nonce, run, log]).to_string().into_bytes()
    }
}

/// Letters, digits and hyphens: what can stand in the name of a key without a meaning.
fn is_word(word: &str) -> bool {
    (1..=64).contains(&word.len())
        && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMicros = UnixMicros(1_800_000_000_000_000);

    fn keys(secret: &str) -> SharedKeys {
        let text = format!("[[keys]]\nbegins = 2026-11-01T00:00:00Z\nsecret = \"{secret}\"\n");
        SharedKeys::parse(&text).unwrap()
    }

    fn shared() -> SharedKeys {
        keys("a secret that all daemons share, and nobody else")
    }

    fn ask(question: &Question) -> Inquiry {
        let names = ("n".to_owned(), "run".to_owned());
        Inquiry::of(question, names, Duration::from_secs(9), &shared(), NOW).unwrap()
    }

    #[test]
    fn only_who_has_the_key_can_ask_and_answer() {
        let (ours, others) = (shared(), keys("another secret, of somebody who is no daemon here"));
        let question = Question::Subject(Subject::user("alice").unwrap());
        let inquiry = ask(&question);
        let bytes = serde_json::to_vec(&inquiry).unwrap();
        let read = Inquiry::read(&bytes, &ours, NOW).unwrap();
        assert_eq!((read.question(), read.lasts()), (Some(question), Duration::from_secs(9)));
        assert_eq!(Inquiry::read(&bytes, &others, NOW), None);
        assert_eq!(Inquiry::read(&bytes, &SharedKeys::default(), NOW), None);
        let forged = Inquiry { subject: Some("user:bob".into()), ..inquiry };
        assert_eq!(Inquiry::read(&serde_json::to_vec(&forged).unwrap(), &ours, NOW), None);
        let later = NOW.saturating_add(Duration::from_secs(15));
        assert_eq!(Inquiry::read(&bytes, &ours, later), None, "put back when nobody waits");
        let early = NOW.saturating_sub(Duration::from_secs(6));
        assert_eq!(Inquiry::read(&bytes, &ours, early), None, "of the future");
        let log = Log { daemon: "one".into(), ..Log::default() };
        let testimony = Testimony::of("n", "run", &log, &ours, NOW).unwrap();
        let read = Testimony::read(&serde_json::to_vec(&testimony).unwrap()).unwrap();
        assert_eq!(read.believed(&ours), Some(Log { vouched: Vouched::SharedKey, ..log.clone() }));
        assert_eq!(read.believed(&others), None);
        let forged = Testimony { run: "other".into(), ..read };
        assert_eq!(forged.believed(&ours), None, "in the name of another daemon");
        assert_eq!(Testimony::of("n", "run", &log, &SharedKeys::default(), NOW), None);
    }

    #[test]
    fn what_breaks_a_bound_is_not_read() {
        let keys = shared();
        let inquiry = ask(&Question::Event(EventId::parse("e").unwrap()));
        let is_read = |inquiry: &Inquiry| {
            let mac = keys.mac(&inquiry.text(), NOW).unwrap();
            let bytes = serde_json::to_vec(&Inquiry { mac, ..inquiry.clone() }).unwrap();
            Inquiry::read(&bytes, &keys, NOW).is_some()
        };
        assert!(is_read(&inquiry));
        assert!(!is_read(&Inquiry { run: "a:b".into(), ..inquiry.clone() }));
        assert!(!is_read(&Inquiry { event_id: None, ..inquiry.clone() }));
        assert!(!is_read(&Inquiry { subject: Some("user:x".into()), ..inquiry.clone() }));
        assert!(!is_read(&Inquiry { event_id: Some("no id".into()), ..inquiry.clone() }));
        let long = Inquiry { for_ms: u64::MAX, ..inquiry.clone() };
        assert_eq!(long.lasts(), INQUIRY_LASTS_MAX);
        let many = vec![b' '; INQUIRY_BYTES_MAX + 1];
        assert_eq!(Inquiry::read(&many, &keys, NOW), None);
        assert_eq!(Testimony::read(&vec![b' '; TESTIMONY_BYTES_MAX + 1]), None);
    }
}
