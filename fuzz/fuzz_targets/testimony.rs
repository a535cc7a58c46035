//! What daemons say their audit logs have, as anybody may write it to Redis: nobody without the key is believed, and
//! whatever a log says, nothing counts as proven that is not in the part of it that was checked and holds.
#![no_main]

use evidence::{About, Document, Log, Vouched};
use fuzz::inquiry::Testimony;
use fuzz::{KEYS, NOW};
use libfuzzer_sys::fuzz_target;

const WORD_BYTES_MAX: usize = 128;

fn is_word(word: &str) -> bool {
    !word.is_empty()
        && word.len() <= 64
        && !word.contains(|c: char| !c.is_ascii_alphanumeric() && c != '-')
}

/// The same with another word in one member.
fn forged(said: &Testimony) -> [Testimony; 3] {
    let one = || said.clone();
    [
        Testimony { nonce: format!("{}x", said.nonce), ..one() },
        Testimony { run: said.nonce.clone(), nonce: format!("{}-", said.run), ..one() },
        Testimony { log: format!("{} ", said.log), ..one() },
    ]
}

fn judge(document: &Document, log: &Log) {
    for line in document.lines.iter().filter(|line| line.in_chain) {
        assert!(log.verdict.as_ref().is_some_and(|verdict| verdict.covers(line.seq)));
        assert!(log.lines.iter().any(|one| one.is_sealed && one.text == line.text));
    }
    if log.verdict.is_none() {
        assert_eq!(document.statement.proven, [""; 0]);
    }
    let not_proven = &document.statement.not_proven;
    assert!(document.knows_any() || !not_proven.is_empty());
    let is_missing = log.failure.is_some() || log.left_out > 0 || log.unreadable > 0;
    assert!(!is_missing || !document.is_whole());
}

fuzz_target!(|data: &[u8]| {
    let Some(written) = Testimony::read(data) else { return };
    assert!(is_word(&written.nonce) && is_word(&written.run));
    let believed = written.believed(&KEYS);
    let Ok(log) = serde_json::from_str::<Log>(&written.log) else {
        assert_eq!(believed, None);
        return;
    };
    assert_eq!(log.vouched, Vouched::Nobody, "who is believed is not for the log to say");
    // What somebody would say who has the key.
    let said = Testimony::of(&written.nonce, &written.run, &log, &KEYS, NOW);
    let said = said.expect("a key is in use");
    let fits = log.daemon.len() <= WORD_BYTES_MAX
        && log.region.as_ref().is_none_or(|region| region.len() <= WORD_BYTES_MAX);
    let vouched = Log { vouched: Vouched::SharedKey, ..log.clone() };
    assert!(believed.is_none() || believed.as_ref() == Some(&vouched));
    assert_eq!(said.believed(&KEYS), fits.then(|| vouched.clone()));
    assert!(forged(&said).iter().all(|one| one.believed(&KEYS).is_none()));
    let of = |about| Document::of(about, std::slice::from_ref(&vouched), Vec::new(), NOW, "fuzz");
    let all = of(About::User("u".into()));
    judge(&all, &vouched);
    for event in &all.events {
        judge(&of(About::EventId(event.event_id.clone())), &vouched);
    }
});
