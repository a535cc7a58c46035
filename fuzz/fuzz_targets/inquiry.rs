//! What daemons are asked about their audit logs, as anybody may write it to Redis: nobody without the key asks, and what
//! is read is within its bounds, of now, and in every member as it was asked.
#![no_main]

use std::time::Duration;

use fuzz::inquiry::{INQUIRY_LASTS_MAX, Inquiry};
use fuzz::{KEYS, NOW};
use libfuzzer_sys::fuzz_target;
use model::time::UnixMicros;

const BYTES_MAX: usize = 4 * 1024;
const APART_MAX: Duration = Duration::from_secs(5);

/// It becomes part of a key's name.
fn is_word(word: &str) -> bool {
    !word.is_empty()
        && word.len() <= 64
        && !word.contains(|c: char| !c.is_ascii_alphanumeric() && c != '-')
}

fn is_of_now(inquiry: &Inquiry) -> bool {
    let asked = UnixMicros(inquiry.asked_us);
    let waits = inquiry.lasts().saturating_add(APART_MAX);
    NOW.since(asked) <= waits && asked.since(NOW) <= APART_MAX
}

/// The same with another word in one member.
fn forged(asked: &Inquiry) -> [Inquiry; 5] {
    let one = || asked.clone();
    [
        Inquiry { nonce: format!("{}x", asked.nonce), ..one() },
        Inquiry { run: asked.nonce.clone(), nonce: format!("{}-", asked.run), ..one() },
        Inquiry { asked_us: asked.asked_us ^ 1, ..one() },
        Inquiry { for_ms: asked.for_ms ^ 1, ..one() },
        Inquiry { subject: asked.event_id.clone(), event_id: asked.subject.clone(), ..one() },
    ]
}

fn read(inquiry: &Inquiry) -> (usize, Option<Inquiry>) {
    let bytes = serde_json::to_vec(inquiry).expect("it is plain data");
    (bytes.len(), Inquiry::read(&bytes, &KEYS, NOW))
}

fuzz_target!(|data: &[u8]| {
    let heard = Inquiry::read(data, &KEYS, NOW);
    let written = serde_json::from_slice::<Inquiry>(data).ok();
    let question = written.as_ref().and_then(Inquiry::question);
    let (Some(written), Some(question)) = (written, question) else {
        assert_eq!(heard, None);
        return;
    };
    // What somebody would ask who has the key.
    let names = (written.nonce.clone(), written.run.clone());
    let lasts = Duration::from_millis(written.for_ms);
    let at = UnixMicros(written.asked_us);
    let Some(asked) = Inquiry::of(&question, names, lasts, &KEYS, at) else { return };
    assert_eq!(Inquiry { mac: asked.mac.clone(), ..written }, asked);
    assert!(heard.is_none() || heard.as_ref() == Some(&asked));
    let (bytes, again) = read(&asked);
    let is_good =
        bytes <= BYTES_MAX && is_word(&asked.nonce) && is_word(&asked.run) && is_of_now(&asked);
    assert_eq!(again, is_good.then(|| asked.clone()));
    assert!(asked.lasts() <= INQUIRY_LASTS_MAX);
    assert!(forged(&asked).iter().all(|one| read(one).1.is_none()));
});
