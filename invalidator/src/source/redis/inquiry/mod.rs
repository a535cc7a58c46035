//! The daemons on one Redis, asked about their audit logs: this one asks the others ([`ask`]) and answers them
//! ([`answer`]). What is said is decided in [`crate::inquiry`]; here bytes are moved.
//!
//! An inquiry is an entry of the stream, as a fence is, so it needs no further channel or right. Answers go into a list of
//! the one who asks. Both are rare: one inquiry is asked at a time, and one is answered.

mod answer;
mod ask;

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::locked;
use crate::hub::{Gathered, Witnesses};
use crate::inquiry::{Inquiry, Question};

/// Most inquiries of this daemon that wait to be asked.
const ASKING_MAX: usize = 16;
/// Most inquiries of others that wait to be answered: whoever finds no place gets no answer, and says so.
const HEARD_MAX: usize = 16;

/// What waits to be asked and answered.
#[derive(Debug, Default)]
pub(super) struct Inquiries {
    open: AtomicBool,
    asking: Mutex<VecDeque<Asking>>,
    /// Rings when there is something to ask.
    asked: Notify,
    heard: Mutex<VecDeque<(Inquiry, Instant)>>,
    /// Rings when there is something to answer.
    rung: Notify,
}

/// An inquiry, and who waits for what comes of it.
#[derive(Debug)]
struct Asking {
    question: Question,
    until: Instant,
    answer: oneshot::Sender<Gathered>,
}

impl Witnesses for Inquiries {
    fn inquire(&self, question: Question, lasts: Duration) -> oneshot::Receiver<Gathered> {
        let (answer, answered) = oneshot::channel();
        let mut asking = locked(&self.asking);
        // Those who have given up make room.
        asking.retain(|one| !one.answer.is_closed());
        if asking.len() < ASKING_MAX {
            asking.push_back(Asking { question, until: Instant::now() + lasts, answer });
        }
        drop(asking);
        self.asked.notify_one();
        answered
    }

    fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }
}

impl Inquiries {
    pub(super) fn set_open(&self, open: bool) {
        self.open.store(open, Ordering::Relaxed);
    }

    /// Notes an inquiry of somebody, to be answered.
    pub(super) fn hear(&self, inquiry: Inquiry) {
        let until = Instant::now() + inquiry.lasts();
        let mut heard = locked(&self.heard);
        heard.retain(|(_, until)| Instant::now() < *until);
        if heard.len() < HEARD_MAX {
            heard.push_back((inquiry, until));
        }
        drop(heard);
        self.rung.notify_one();
    }

    async fn next_asking(&self) -> Asking {
        loop {
            if let Some(asking) = locked(&self.asking).pop_front() {
                return asking;
            }
            self.asked.notified().await;
        }
    }

    async fn next_heard(&self) -> (Inquiry, Instant) {
        loop {
            if let Some(heard) = locked(&self.heard).pop_front() {
                return heard;
            }
            self.rung.notified().await;
        }
    }
}
