//! The daemons on one Redis: each renews its registration ([`register`]), asks the others who enforces an event
//! ([`ask`]), and answers them ([`answer`]). What is said, and what it means, is decided in [`crate::fence`]; here
//! bytes are moved.
//!
//! A fence is an entry of the stream. So whoever comes to it has come to all that was written before, the events
//! that it asks about among it, and it costs nothing while nobody asks. Answers go into a list of the one who asks.

mod answer;
mod ask;
mod register;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use events::record::Record;
use model::name::EventId;
use model::subject::Subject;
use redis::{RedisResult, Script};
use tokio::sync::{Notify, oneshot, watch};

use super::connect::Link;
use super::locked;
use crate::fence::{ASKS_MAX, Ask, Fence, Members, Tally};
use crate::hub::{Asked, Daemons};

/// Most events that wait to be asked about: their number is bounded by that of the API's requests, too.
const WAITING_MAX: usize = 4_096;
/// Most fences of others that are answered at the same time. The oldest go first.
const HEARD_MAX: usize = 256;

/// Scripts, and what waits to be asked and answered.
#[derive(Debug)]
pub(super) struct Fences {
    register: Script,
    members: Script,
    open: AtomicBool,
    asking: Mutex<Asking>,
    /// Rings when there is something to ask.
    asked: Notify,
    /// Rings when there are answers to wait for.
    awaited: Notify,
    heard: Mutex<VecDeque<Fence>>,
    /// Rings when there is something to answer.
    rung: Notify,
}

#[derive(Debug, Default)]
struct Asking {
    new: VecDeque<Question>,
    who: Vec<oneshot::Sender<Members>>,
    /// Fences that answers are waited for, by nonce.
    open: HashMap<String, Vec<Question>>,
}

/// One event that somebody asks about.
#[derive(Debug)]
struct Question {
    subject: Subject,
    event_id: EventId,
    ask: Ask,
    /// The event as it is kept here, which names the key that answers are signed with.
    record: Option<Record>,
    /// When the event was taken in, and until when somebody waits, by the daemon's steady clock.
    since: Duration,
    lasts: Duration,
    tally: Arc<Mutex<Tally>>,
    news: watch::Sender<()>,
}

impl Question {
    /// Whether somebody waits for more.
    fn is_open(&self, now: Duration) -> bool {
        let in_time = now < self.since.saturating_add(self.lasts);
        in_time && !self.news.is_closed() && !locked(&self.tally).is_complete()
    }
}

impl Default for Fences {
    fn default() -> Self {
        Self {
            register: Script::new(include_str!("../../../../redis/register.lua")),
            members: Script::new(include_str!("../../../../redis/members.lua")),
            open: AtomicBool::default(),
            asking: Mutex::default(),
            asked: Notify::default(),
            awaited: Notify::default(),
            heard: Mutex::default(),
            rung: Notify::default(),
        }
    }
}

impl Daemons for Fences {
    fn members(&self) -> oneshot::Receiver<Members> {
        let (answer, answered) = oneshot::channel();
        let mut asking = locked(&self.asking);
        // Those who have given up make room.
        asking.who.retain(|who| !who.is_closed());
        if asking.who.len() < WAITING_MAX {
            asking.who.push(answer);
        }
        drop(asking);
        self.asked.notify_one();
        answered
    }

    fn fence(
        &self,
        (subject, event_id): (Subject, EventId),
        since: Duration,
        lasts: Duration,
    ) -> Asked {
        let tally = Arc::new(Mutex::new(Tally::default()));
        let (news, heard) = watch::channel(());
        let asked = Asked { tally: Arc::clone(&tally), news: heard };
        let (ask, record) = (Ask::of(&subject, &event_id), None);
        let question = Question { subject, event_id, ask, record, since, lasts, tally, news };
        let mut asking = locked(&self.asking);
        if asking.new.len() < WAITING_MAX {
            asking.new.push_back(question);
        }
        drop(asking);
        self.asked.notify_one();
        asked
    }

    fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }
}

impl Fences {
    pub(super) fn set_open(&self, open: bool) {
        self.open.store(open, Ordering::Relaxed);
    }

    /// Who is registered at this key.
    pub(super) async fn read_members(
        &self,
        daemons: &str,
        link: &mut Link,
    ) -> RedisResult<Members> {
        let mut call = self.members.prepare_invoke();
        call.key(daemons);
        let (now_ms, raw): (u64, Vec<(String, Vec<u8>)>) = call.invoke_async(link).await?;
        Ok(Members::read(&raw, now_ms))
    }

    /// What is to be asked next: so many events as fit into one fence, and all who ask for the daemons.
    fn take(&self) -> (Vec<Question>, Vec<oneshot::Sender<Members>>) {
        let mut asking = locked(&self.asking);
        let some = asking.new.len().min(ASKS_MAX);
        let new = asking.new.drain(..some).filter(|question| !question.news.is_closed()).collect();
        (new, std::mem::take(&mut asking.who))
    }

    /// Waits for answers to a fence.
    fn await_answers(&self, nonce: String, questions: Vec<Question>) {
        locked(&self.asking).open.insert(nonce, questions);
        self.awaited.notify_one();
    }

    /// Whether answers are waited for. Forgets those that are not any more.
    fn is_awaiting(&self, now: Duration) -> bool {
        let mut asking = locked(&self.asking);
        asking.open.retain(|_, questions| questions.iter().any(|one| one.is_open(now)));
        !asking.open.is_empty()
    }

    /// Notes a fence of somebody, to be answered.
    pub(super) fn hear(&self, fence: Fence) {
        let mut heard = locked(&self.heard);
        if heard.len() >= HEARD_MAX {
            heard.pop_front();
        }
        heard.push_back(fence);
        drop(heard);
        self.rung.notify_one();
    }

    fn take_heard(&self) -> VecDeque<Fence> {
        std::mem::take(&mut *locked(&self.heard))
    }
}
