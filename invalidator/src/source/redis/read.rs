//! Everything that Redis holds, read and compared subject by subject: what is missing here is taken
//! in, what is missing there is written back, and a digest that does not fit is put right.
//!
//! Bounded: some subjects at a time, and while others wait for Redis too, with pauses.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::time::Instant;

use engine::{Digest, Verdict};
use model::name::EventId;
use model::subject::Subject;
use model::time::UnixMicros;
use redis::RedisResult;
use tokio::time::sleep;
use tracing::{error, warn};

use super::layout::{FIELDS_READ_MAX, StreamId, parse_kept};
use super::outbox::{Entry, Purpose};
use super::reconcile::{Held, Plan, plan};
use super::refused::may_pass;
use super::scripts::Look;
use super::session::{SETTLE_INTERVAL, Session};
use super::write::ends_connection;
use super::{KIND, Lost, REDIS, locked};
use crate::intake::{Origin, Path, Stored};

/// How many subjects one step of the scan looks for.
const SCAN_COUNT: usize = 256;
/// Subjects whose events are read at once.
pub(super) const SUBJECTS_AT_ONCE: usize = 16;
/// Our subjects looked at at once.
const OURS_AT_ONCE: usize = 256;
/// Most repairs that wait to be written, so that what is published meanwhile finds room.
const REPAIRS_WAITING_MAX: usize = 256;

/// An event as it lies in Redis: its id, and its time and bytes.
pub(super) type Field = (Vec<u8>, Vec<u8>);

/// What reading everything has found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Events that were missing here, and have been taken in.
    pub(super) taken: u64,
    /// Events that were missing there, and wait to be written.
    pub(super) written: u64,
    /// Events that stay there, and are none of ours.
    pub(super) foreign: Digest,
    /// How many events the digest counts that are not there: somebody may know them.
    pub(super) hole: u64,
    /// All that is there.
    counted: Digest,
}

/// Subjects that have been looked at: a scan may name one twice.
#[derive(Default)]
struct Visited {
    hasher: RandomState,
    hashes: HashSet<u64>,
}

impl Visited {
    fn insert(&mut self, subject: &[u8]) -> bool {
        self.hashes.insert(self.hasher.hash_one(subject))
    }

    fn contains(&self, subject: &[u8]) -> bool {
        self.hashes.contains(&self.hasher.hash_one(subject))
    }
}

/// An event that lies in Redis, and when it was heard and what it says if it is accepted here.
type Accepted<'a> = (EventId, Option<(StreamId, &'a [u8])>);

impl Session<'_> {
    /// See the module's description. With `paced`, as much time passes in pauses as in reading.
    pub(super) async fn read_everything(&self, paced: bool) -> Result<Found, Lost> {
        let scripts = &self.source.scripts;
        let mut link = self.link.clone();
        let before = self.look().await?;
        let was_known = self.source.is_known();
        let (mut found, mut visited) = (Found::default(), Visited::default());
        let mut cursor = 0_u64;
        loop {
            let mut scan = redis::cmd("SSCAN");
            scan.arg(&scripts.layout.subjects).arg(cursor).arg("COUNT").arg(SCAN_COUNT);
            let (next, mut subjects): (u64, Vec<Vec<u8>>) = scan.query_async(&mut link).await?;
            subjects.retain(|subject| visited.insert(subject));
            self.put_oversized_aside(&subjects).await?;
            for subjects in subjects.chunks(SUBJECTS_AT_ONCE) {
                let started = Instant::now();
                self.read_some(&mut found, subjects).await?;
                if paced {
                    sleep(started.elapsed()).await;
                }
            }
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        self.write_missing(&mut found, &visited).await?;
        // What is forgotten meanwhile is no hole.
        let now = self.look().await?;
        let counts = [&before, &now].map(|look| look.digest.unwrap_or_default().count);
        let counted = counts.into_iter().min().unwrap_or_default();
        if was_known || counted <= found.counted.count {
            self.mend_digest(&before, found.counted).await?;
        } else {
            found.hole = counted.saturating_sub(found.counted.count);
        }
        Ok(found)
    }

    /// Reads and compares some subjects.
    pub(super) async fn read_some(
        &self,
        found: &mut Found,
        subjects: &[Vec<u8>],
    ) -> Result<(), Lost> {
        let scripts = &self.source.scripts;
        let mut link = self.link.clone();
        let mut ask = redis::pipe();
        for subject in subjects {
            ask.hgetall(scripts.layout.state_of(subject));
        }
        let vouched = self.hub.intake().vouches_after(&KIND).is_some();
        if vouched {
            for subject in subjects {
                ask.hgetall(scripts.layout.vouches_of(subject));
            }
        }
        // What one key is like must not decide what becomes of the others.
        ask.ignore_errors();
        let mut all: Vec<RedisResult<Vec<Field>>> = ask.query_async(&mut link).await?;
        let mut words = all.split_off(subjects.len().min(all.len())).into_iter();
        for (name, fields) in subjects.iter().zip(all) {
            let words = words.next().and_then(Result::ok).unwrap_or_default();
            let Some(fields) = self.readable(name, fields).await? else { continue };
            for (event_id, _) in &fields {
                found.counted.add_text(name, event_id);
            }
            let subject = std::str::from_utf8(name).ok().and_then(Subject::from_text);
            let Some(subject) = subject else {
                for (event_id, _) in &fields {
                    found.foreign.add_text(name, event_id);
                }
                continue;
            };
            locked(&self.source.refused).looked_at(&subject, |event_id| {
                fields.iter().any(|(name, _)| name == event_id.as_str().as_bytes())
            });
            let plan = self.compare(found, &subject, &fields, &words);
            self.write_back(found, &subject, &plan.write).await;
            if !plan.forget.is_empty() || fields.is_empty() {
                let forgotten = scripts.forget(&mut link, &subject, &plan.forget).await?;
                self.source.metrics.forgotten(forgotten);
            }
            for event_id in &plan.foreign {
                found.foreign.add(&subject, event_id);
            }
        }
        Ok(())
    }

    /// Nobody reads a hash of a hundred thousand fields into memory because somebody has filled it.
    pub(super) async fn put_oversized_aside(&self, subjects: &[Vec<u8>]) -> Result<(), Lost> {
        if subjects.is_empty() {
            return Ok(());
        }
        let (scripts, mut link) = (&self.source.scripts, self.link.clone());
        let mut ask = redis::pipe();
        ask.ignore_errors();
        for subject in subjects {
            ask.hlen(scripts.layout.state_of(subject));
        }
        let lengths: Vec<RedisResult<usize>> = ask.query_async(&mut link).await?;
        for (subject, length) in subjects.iter().zip(lengths) {
            let fields = length.unwrap_or_default();
            if fields > FIELDS_READ_MAX && scripts.put_aside(&mut link, subject).await? {
                self.source.metrics.put_aside(1);
                error!(source = REDIS, fields, "the state of a subject is far too large");
            }
        }
        Ok(())
    }

    /// The fields of a subject's state, if they are to be looked at. A state of a wrong type is put
    /// aside, and stands for an empty one.
    async fn readable(
        &self,
        subject: &[u8],
        fields: RedisResult<Vec<Field>>,
    ) -> Result<Option<Vec<Field>>, Lost> {
        let error = match fields {
            Ok(fields) => return Ok(Some(fields)),
            Err(error) if ends_connection(&error) => return Err(error.into()),
            Err(error) => error,
        };
        let mut link = self.link.clone();
        let is_put_aside = self.source.scripts.put_aside(&mut link, subject).await?;
        self.source.metrics.put_aside(1);
        error!(source = REDIS, cause = %error, is_put_aside, "the state of a subject is damaged");
        Ok(is_put_aside.then(Vec::new))
    }

    /// Takes in what is missing here of one subject, and says what to do about it there.
    /// `words` are daemons' words for its events.
    pub(super) fn compare(
        &self,
        found: &mut Found,
        subject: &Subject,
        fields: &[Field],
        words: &[Field],
    ) -> Plan {
        let mut accepted = Vec::new();
        // In the order in which they were heard: who hears them one by one has them so.
        let mut fields: Vec<_> = fields.iter().collect();
        fields.sort_by_key(|(_, value)| parse_kept(value).map(|(id, _)| id));
        for (name, value) in fields {
            let event_id = std::str::from_utf8(name).ok().and_then(EventId::parse);
            let Some(event_id) = event_id else {
                found.foreign.add_text(subject.to_text().as_bytes(), name);
                continue;
            };
            let kept = parse_kept(value);
            let vouch = words.iter().find(|(of, _)| of == name).map(|(_, word)| word.as_slice());
            let identity = (subject, &event_id);
            let taken = kept.is_some_and(|kept| self.take(found, identity, kept, vouch));
            accepted.push((event_id, kept.filter(|_| taken)));
        }
        let first = self.plan(subject, &accepted);
        let standing = accepted.iter().filter(|(event_id, _)| first.standing.contains(event_id));
        let mut is_back = false;
        for (event_id, (id, event)) in standing.filter_map(|(name, kept)| Some((name, (*kept)?))) {
            is_back |= self.hub.bring_back(&KIND, (subject, event_id), id.heard_at(), event);
        }
        if !is_back {
            return first;
        }
        found.taken = found.taken.saturating_add(1);
        self.plan(subject, &accepted)
    }

    fn plan(&self, subject: &Subject, accepted: &[Accepted<'_>]) -> Plan {
        let known = self.hub.engine().events_of(subject);
        let held: Vec<_> = accepted
            .iter()
            .map(|(event_id, kept)| match kept {
                Some((id, event)) => {
                    let heard = (id.heard_at(), self.hub.now().wall);
                    Held::accepted(subject, event_id.clone(), event, heard)
                }
                None => Held { event_id: event_id.clone(), register: None },
            })
            .collect();
        plan(&held, &known, self.hub.common_time())
    }

    /// Takes in one event, unless it is known. Says whether it is accepted.
    fn take(
        &self,
        found: &mut Found,
        identity: (&Subject, &EventId),
        (id, event): (StreamId, &[u8]),
        vouch: Option<&[u8]>,
    ) -> bool {
        let source = self.source;
        self.say_if_earlier(identity, id, event);
        if self.hub.place(&KIND, identity, id.heard_at(), event) {
            locked(&source.refused).cured(identity);
            return true;
        }
        if locked(&source.refused).is_for_good(identity) {
            return false;
        }
        let origin = Origin::new(&KIND, Path::Written(id.heard_at()));
        let stored = Stored { event_id: Some(identity.1), vouch };
        match self.hub.ingest_stored(origin, stored, event) {
            Ok(accepted) => {
                locked(&source.refused).cured(identity);
                let is_new = accepted.ingested.verdict != Verdict::Duplicate;
                if is_new && accepted.ingested.is_kept {
                    found.taken = found.taken.saturating_add(1);
                }
                true
            }
            Err(refusal) => {
                let now = self.hub.now().mono;
                locked(&source.refused).note(identity, may_pass(&refusal), now);
                false
            }
        }
    }

    /// Hands over what Redis lacks of one subject, as it is kept here, and waits for room.
    pub(super) async fn write_back(
        &self,
        found: &mut Found,
        subject: &Subject,
        missing: &[EventId],
    ) {
        for event_id in missing {
            let Some(record) = self.hub.keeper().event(subject, event_id) else {
                // Else a newer one has overtaken it meanwhile.
                if self.hub.engine().events_of(subject).contains(event_id) {
                    warn!(source = REDIS, %event_id, "an event that Redis lacks is not kept here");
                }
                continue;
            };
            while self.source.outbox.queue().len() > REPAIRS_WAITING_MAX {
                sleep(SETTLE_INTERVAL).await;
            }
            self.source.outbox.push(Entry {
                subject: subject.clone(),
                event_id: event_id.clone(),
                event: record.event.to_vec(),
                // It may be kept with a later instant: where it had to be raised to, here.
                heard: self.place_of(subject, event_id).unwrap_or(record.first_heard),
                urgent: false,
                purpose: Purpose::Repair,
                answer: None,
            });
            found.written = found.written.saturating_add(1);
        }
    }

    fn place_of(&self, subject: &Subject, event_id: &EventId) -> Option<UnixMicros> {
        self.hub.engine().place_of(subject, event_id)
    }

    /// Hands over everything about subjects that Redis does not name at all.
    async fn write_missing(&self, found: &mut Found, visited: &Visited) -> Result<(), Lost> {
        let mut after = None;
        loop {
            let ours = self.hub.engine().events_after(after.as_ref(), OURS_AT_ONCE);
            let Some((last, _)) = ours.last() else { return Ok(()) };
            after = Some(last.clone());
            for (subject, events) in ours {
                if !visited.contains(subject.to_text().as_bytes()) {
                    self.write_back(found, &subject, &events).await;
                }
            }
        }
    }

    /// Puts the digest right, if nothing has changed while everything was counted.
    async fn mend_digest(&self, before: &Look, counted: Digest) -> Result<(), Lost> {
        let scripts = &self.source.scripts;
        let mut link = self.link.clone();
        let now = self.look().await?;
        let quiet = now.digest == before.digest && now.last == before.last;
        if quiet && now.digest.unwrap_or_default() != counted {
            let mended = scripts.mend(&mut link, now.digest, counted).await?;
            warn!(source = REDIS, mended, "the digest in Redis did not fit what is stored there");
        }
        Ok(())
    }
}
