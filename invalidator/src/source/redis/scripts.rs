//! The scripts that change and read what is in Redis; see `redis/*.lua` and docs/reference/redis.md.

use engine::Digest;
use model::name::EventId;
use model::subject::Subject;
use model::time::UnixMicros;
use redis::aio::ConnectionLike;
use redis::{RedisResult, Script};

use super::layout::{EVENTS_OF_DAEMONS_MAX, FIELDS_READ_MAX, Layout, StreamId};

/// The code of the error that says a subject has its most events: [`EVENTS_OF_DAEMONS_MAX`].
pub(super) const SUBJECT_FULL: &str = "PORTCULLIS_SUBJECT_FULL";

/// The code of the error that says an event breaks a rule that a script can see.
pub(super) const INVALID: &str = "PORTCULLIS_INVALID";

/// Every script, for one set of keys.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) layout: Layout,
    channel: String,
    stream_entries_max: u64,
    publish: Script,
    forget: Script,
    look: Script,
    mend: Script,
    vouch: Script,
    aside: Script,
}

/// An event to be written.
#[derive(Clone, Copy, Debug)]
pub(super) struct ToWrite<'a> {
    pub(super) subject: &'a Subject,
    pub(super) event_id: &'a EventId,
    pub(super) event: &'a [u8],
    pub(super) heard: UnixMicros,
}

/// What became of an event written with the script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    /// The id that it is found under: another than its own if that is another event's.
    pub(super) event_id: Option<EventId>,
    /// Whether it had been there before.
    pub(super) duplicate: bool,
}

/// What there is in Redis at one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// Redis's clock.
    pub(super) time: UnixMicros,
    /// The digest that the scripts keep; nothing if it is missing.
    pub(super) digest: Option<Digest>,
    /// Names the life of the digest: another one after a loss of data.
    pub(super) since: String,
    /// The id of the last entry ever written to the stream; zero without a stream.
    pub(super) last: StreamId,
    /// The first entry that is still there.
    pub(super) first: Option<StreamId>,
    /// Whether every entry that was ever written is still there; not known before Redis 7.
    pub(super) whole: bool,
    /// Changes whenever a daemon finds that something is missing.
    pub(super) doubt: String,
    /// How many keys were put aside because they were of a wrong type, or full.
    pub(super) aside: u64,
}

type RawLook = (u64, u64, String, String, String, String, String, String, String, u64, String);

impl Scripts {
    pub(super) fn new(prefix: &str, channel: &str, stream_entries_max: u64) -> Self {
        Self {
            layout: Layout::new(prefix),
            channel: channel.to_owned(),
            stream_entries_max,
            publish: Script::new(include_str!("../../../redis/publish.lua")),
            forget: Script::new(include_str!("../../../redis/forget.lua")),
            look: Script::new(include_str!("../../../redis/look.lua")),
            mend: Script::new(include_str!("../../../redis/mend.lua")),
            vouch: Script::new(include_str!("../../../redis/vouch.lua")),
            aside: Script::new(include_str!("../../../redis/aside.lua")),
        }
    }

    /// About how many entries the stream keeps.
    pub(super) fn stream_entries_max(&self) -> u64 {
        self.stream_entries_max
    }

    /// Writes an event, and tells everybody unless they have heard it already.
    pub(super) async fn publish(
        &self,
        redis: &mut impl ConnectionLike,
        new: ToWrite<'_>,
        tell: bool,
    ) -> RedisResult<Written> {
        let ToWrite { subject, event_id, event, heard } = new;
        let layout = &self.layout;
        let mut call = self.publish.prepare_invoke();
        call.key(layout.state(subject))
            .key(&layout.subjects)
            .key(&layout.stream)
            .key(&layout.digest)
            .arg(if tell { self.channel.as_str() } else { "" })
            .arg(subject.to_text())
            .arg(event_id.as_str())
            .arg(event)
            .arg(self.stream_entries_max)
            .arg(EVENTS_OF_DAEMONS_MAX)
            .arg(heard.0);
        let (_, what, id): (String, String, String) = call.invoke_async(redis).await?;
        Ok(Written { event_id: EventId::parse(&id), duplicate: what == "duplicate" })
    }

    /// Notes our word for events of one subject.
    pub(super) async fn vouch(
        &self,
        redis: &mut impl ConnectionLike,
        subject: &Subject,
        words: &[(EventId, String)],
    ) -> RedisResult<()> {
        let mut call = self.vouch.prepare_invoke();
        call.key(self.layout.state(subject)).key(self.layout.vouches(subject));
        for (event_id, word) in words {
            call.arg(event_id.as_str()).arg(word);
        }
        call.invoke_async(redis).await
    }

    /// Forgets events, each not before its time by Redis's clock; says how many were forgotten.
    pub(super) async fn forget(
        &self,
        redis: &mut impl ConnectionLike,
        subject: &Subject,
        events: &[(EventId, UnixMicros)],
    ) -> RedisResult<u64> {
        let layout = &self.layout;
        let mut call = self.forget.prepare_invoke();
        call.key(layout.state(subject)).key(&layout.subjects).key(&layout.digest);
        call.key(layout.vouches(subject));
        call.arg(subject.to_text());
        for (event_id, not_before) in events {
            call.arg(event_id.as_str()).arg(not_before.0.div_ceil(1_000));
        }
        call.invoke_async(redis).await
    }

    /// What there is now.
    pub(super) async fn look(&self, redis: &mut impl ConnectionLike) -> RedisResult<Look> {
        let mut call = self.look.prepare_invoke();
        call.key(&self.layout.digest).key(&self.layout.stream).key(&self.layout.subjects);
        let raw: RawLook = call.invoke_async(redis).await?;
        Ok(Look::of(raw))
    }

    /// Tells all daemons that something is missing.
    pub(super) async fn doubt(&self, redis: &mut impl ConnectionLike) -> RedisResult<()> {
        let mut tell = redis::cmd("HSET");
        tell.arg(&self.layout.digest).arg("doubt").arg(uuid::Uuid::new_v4().to_string());
        tell.query_async(redis).await
    }

    /// Puts the state of a subject aside if it is no hash, or far too large; says whether it was.
    pub(super) async fn put_aside(
        &self,
        redis: &mut impl ConnectionLike,
        subject: &[u8],
    ) -> RedisResult<bool> {
        let mut call = self.aside.prepare_invoke();
        call.key(self.layout.state_of(subject)).key(self.layout.aside_of(subject));
        call.arg(FIELDS_READ_MAX);
        call.invoke_async(redis).await
    }

    /// Replaces the digest, if it still is the one that was seen; says whether it was.
    pub(super) async fn mend(
        &self,
        redis: &mut impl ConnectionLike,
        seen: Option<Digest>,
        counted: Digest,
    ) -> RedisResult<bool> {
        let text = |seen: Option<u64>| seen.map_or_else(String::new, |seen| seen.to_string());
        let mut call = self.mend.prepare_invoke();
        call.key(&self.layout.digest)
            .arg(text(seen.map(|digest| digest.count)))
            .arg(text(seen.map(|digest| digest.sum)))
            .arg(counted.count)
            .arg(counted.sum);
        call.invoke_async(redis).await
    }
}

impl Look {
    fn of(raw: RawLook) -> Self {
        let (seconds, micros, count, sum, since, last, first, length, added, aside, doubt) = raw;
        let digest = match (count.parse(), sum.parse()) {
            (Ok(count), Ok(sum)) => Some(Digest { count, sum }),
            _ => None,
        };
        Self {
            time: UnixMicros(seconds.saturating_mul(1_000_000).saturating_add(micros)),
            digest,
            since,
            last: StreamId::parse(&last).unwrap_or_default(),
            first: StreamId::parse(&first),
            whole: added == length,
            doubt,
            aside,
        }
    }
}
