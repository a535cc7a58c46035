//! Requests of the gate's own: which of them have no answer yet, and the answer that is being looked at. All are sent
//! from the main thread, and answered there.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::abi::Config;

/// Requests that have no answer yet, and the answer that is being looked at.
struct Expected {
    next: u32,
    /// Each by the configuration that has sent it and Envoy's number, and by our own.
    sent: Vec<(Config, u64, u32)>,
    /// The numbers of those whose answers will not come any more.
    lost: Vec<u32>,
    answer: (Option<u32>, Vec<u8>),
}

static EXPECTED: Mutex<Expected> = Mutex::new(Expected {
    next: 0,
    sent: Vec::new(),
    lost: Vec::new(),
    answer: (None, Vec::new()),
});

fn expected() -> MutexGuard<'static, Expected> {
    EXPECTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes that a request was sent. Gives the number that stands for it in the process.
pub(crate) fn expect(config: Config, id: u64) -> u32 {
    let mut expected = expected();
    let number = expected.next;
    expected.next = number.wrapping_add(1);
    expected.sent.push((config, id, number));
    number
}

/// Its number, once its answer has come.
pub(crate) fn arrived(config: Config, id: u64) -> Option<u32> {
    let mut expected = expected();
    let place = expected.sent.iter().position(|(of, known, _)| (*of, *known) == (config, id))?;
    Some(expected.sent.swap_remove(place).2)
}

/// Notes that answers to what a configuration has sent will not come any more.
pub(crate) fn give_up(config: Config) {
    let expected = &mut *expected();
    let is_of = |(of, ..): &&(Config, u64, u32)| *of == config;
    expected.lost.extend(expected.sent.iter().filter(is_of).map(|(.., number)| *number));
    expected.sent.retain(|one| !is_of(&one));
}

/// The numbers of answers that will not come any more, each once.
pub(crate) fn take_lost() -> Vec<u32> {
    std::mem::take(&mut expected().lost)
}

/// Lets an answer be looked at, by those who [`take`] it, until `look` is over.
pub(crate) fn with_answer(status: Option<u32>, body: Vec<u8>, look: impl FnOnce()) {
    expected().answer = (status, body);
    look();
    expected().answer = (None, Vec::new());
}

/// Status and body of the answer that is being delivered.
pub(crate) fn take(bytes: usize) -> (Option<u32>, Vec<u8>) {
    let mut expected = expected();
    let (status, mut body) = std::mem::take(&mut expected.answer);
    body.truncate(bytes);
    (status, body)
}
