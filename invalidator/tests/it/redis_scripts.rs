//! The scripts in `redis/`, in a real Redis; `oracle` tries them beside sets.

mod oracle;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{SystemTime, UNIX_EPOCH};

use redis::{Connection, FromRedisValue, RedisResult, Script};
use serde_json::json;
use sha1::{Digest as _, Sha1};

use crate::harness::{Redis, free_port, wait_until};

pub(crate) const PUBLISH: &str = include_str!("../../redis/publish.lua");
pub(crate) const FORGET: &str = include_str!("../../redis/forget.lua");
const MEND: &str = include_str!("../../redis/mend.lua");

/// An event that the script lets pass; `more` stands beside its payload.
fn made(subject: &str, id: &str, more: &serde_json::Value) -> String {
    let (kind, user) = subject.split_once(':').unwrap();
    json!({
        "event_id": id, "key": { format!("{kind}_id"): user }, "payload": { "action": "block" },
        "more": more,
    })
    .to_string()
}

const CHANNEL: &str = "portcullis.invalidations";

struct Store {
    redis: Redis,
    connection: Connection,
}

impl Store {
    fn start() -> Self {
        let redis = Redis::start(free_port(), &[]);
        let connection = redis.connect();
        Self { redis, connection }
    }

    /// A made event.
    fn publish(&mut self, subject: &str, id: &str) -> RedisResult<(String, String)> {
        let event = made(subject, id, &json!(null));
        self.publish_with(subject, id, &event, (CHANNEL, 1_000, 256))
    }

    fn publish_with(
        &mut self,
        subject: &str,
        id: &str,
        event: &str,
        bounds: (&str, u32, u32),
    ) -> RedisResult<(String, String)> {
        self.publish_heard((subject, id, event), bounds, None)
    }

    /// With the instant at which a daemon has heard it, if one has: then the answer has its place as well.
    fn publish_heard<T: FromRedisValue>(
        &mut self,
        (subject, id, event): (&str, &str, &str),
        (channel, entries_max, events_max): (&str, u32, u32),
        heard_us: Option<u64>,
    ) -> RedisResult<T> {
        let script = Script::new(PUBLISH);
        let mut call = script.prepare_invoke();
        call.key(format!("{{portcullis}}:state:{subject}"))
            .key("{portcullis}:subjects")
            .key("{portcullis}:stream")
            .key("{portcullis}:digest")
            .arg(channel)
            .arg(subject)
            .arg(id)
            .arg(event)
            .arg(entries_max)
            .arg(events_max);
        if let Some(heard_us) = heard_us {
            call.arg(heard_us);
        }
        call.invoke(&mut self.connection)
    }

    fn forget(&mut self, subject: &str, events: &[(&str, u64)]) -> u64 {
        let script = Script::new(FORGET);
        let mut call = script.prepare_invoke();
        call.key(format!("{{portcullis}}:state:{subject}"))
            .key("{portcullis}:subjects")
            .key("{portcullis}:digest")
            .key(format!("{{portcullis}}:vouches:{subject}"))
            .arg(subject);
        for (id, not_before_ms) in events {
            call.arg(*id).arg(not_before_ms.to_string());
        }
        call.invoke(&mut self.connection).unwrap()
    }

    fn ask<T: FromRedisValue>(&mut self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(*word);
        }
        command.query(&mut self.connection).unwrap()
    }

    fn digest(&mut self) -> (u64, u64) {
        let fields: HashMap<String, String> = self.ask(&["HGETALL", "{portcullis}:digest"]);
        let number = |name: &str| fields.get(name).map_or(0, |text| text.parse().unwrap());
        (number("count"), number("sum"))
    }

    fn clock_ms(&mut self) -> u64 {
        let (seconds, micros): (u64, u64) = self.ask(&["TIME"]);
        seconds * 1_000 + micros / 1_000
    }
}

fn hash(subject: &str, id: &str) -> u64 {
    let digest = Sha1::digest(format!("{subject}\n{id}"));
    digest.iter().take(6).fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
}

#[test]
fn an_event_is_written_once_everywhere() {
    let mut store = Store::start();
    let mut listener = store.redis.connect();
    let mut listener = listener.as_pubsub();
    listener.subscribe(CHANNEL).unwrap();
    let event = made("user:alice", "evt-1", &json!(1));
    let bounds = (CHANNEL, 1_000, 256);
    let (id, what) = store.publish_with("user:alice", "evt-1", &event, bounds).unwrap();
    assert_eq!(what, "written");
    let state: HashMap<String, String> = store.ask(&["HGETALL", "{portcullis}:state:user:alice"]);
    assert_eq!(state, [("evt-1".to_owned(), format!("{id} {event}"))].into());
    let subjects: Vec<String> = store.ask(&["SMEMBERS", "{portcullis}:subjects"]);
    assert_eq!(subjects, ["user:alice"]);
    let stream: Vec<(String, BTreeMap<String, String>)> =
        store.ask(&["XRANGE", "{portcullis}:stream", "-", "+"]);
    let heard = ("heard", id.as_str());
    let entry = [("event", event.as_str()), ("subject", "user:alice"), ("id", "evt-1"), heard];
    let entry = entry.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(stream[0].1, entry.into());
    assert_eq!(stream.len(), 1);
    assert_eq!(store.digest(), (1, hash("user:alice", "evt-1")));
    let published: String = listener.get_message().unwrap().get_payload().unwrap();
    assert_eq!(published, format!("{id} {event}"), "with when it was written");

    let again = store.publish_with("user:alice", "evt-1", &event, bounds).unwrap();
    assert_eq!(again, (id, "duplicate".to_owned()));
    assert_eq!(store.ask::<u64>(&["XLEN", "{portcullis}:stream"]), 1);
    assert_eq!(store.digest().0, 1);
    let quiet = made("user:bob", "evt-1", &json!("quiet"));
    store.publish_with("user:bob", "evt-1", &quiet, ("", 1_000, 256)).unwrap();
    let loud = made("user:bob", "evt-2", &json!("loud"));
    let (id, _) = store.publish_with("user:bob", "evt-2", &loud, bounds).unwrap();
    let told: String = listener.get_message().unwrap().get_payload().unwrap();
    assert_eq!(told, format!("{id} {loud}"), "neither a duplicate nor a quiet one is told");
}

/// Within one millisecond ids of the stream are in another unit than clocks: both have to give one order.
#[test]
fn what_a_daemon_writes_and_what_a_publisher_writes_are_in_the_order_of_their_answers() {
    let mut store = Store::start();
    let place = |id: &str| -> (u64, u64) {
        let (ms, rest) = id.split_once('-').unwrap();
        (ms.parse().unwrap(), rest.parse().unwrap())
    };
    let mut last = (0, 0);
    for number in 0..500 {
        let (user, id) = (format!("user:{number}"), format!("evt-{number}"));
        let (id, what) = if number % 2 == 0 {
            store.publish(&user, &id).unwrap()
        } else {
            // A daemon that has just heard it, by Redis's own clock.
            let (seconds, micros): (u64, u64) = store.ask(&["TIME"]);
            let event = made(&user, &id, &json!(null));
            let heard = Some(seconds * 1_000_000 + micros);
            let (id, what, _): (String, String, String) =
                store.publish_heard((&user, &id, &event), ("", 1_000, 256), heard).unwrap();
            (id, what)
        };
        assert_eq!(what, "written");
        assert!(place(&id) > last, "{id} after {last:?}");
        last = place(&id);
    }
}

/// Two daemons write what they took in at instants that each of them knows, in whatever order.
#[test]
fn what_was_heard_later_counts_later_whenever_it_is_written() {
    let mut store = Store::start();
    let mut write = |user: &str, id: &str, heard: u64| {
        let event = made(user, id, &json!(null));
        let written = store.publish_heard((user, id, &event), ("", 1_000, 256), Some(heard));
        let (place, what, _): (String, String, String) = written.unwrap();
        assert_eq!(what, "written");
        place
    };
    let micros = |place: &str| -> u64 {
        let (ms, rest) = place.split_once('-').unwrap();
        ms.parse::<u64>().unwrap() * 1_000 + rest.parse::<u64>().unwrap()
    };
    for number in 0..2_000 {
        let user = format!("user:{number}");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        // Some of it in this millisecond, some before; what comes second may be written first.
        let first = u64::try_from(now.as_micros()).unwrap() - number % 7 * 150;
        let mut heard = [("a", first), ("b", first + 1)];
        if number % 3 == 0 {
            heard.reverse();
        }
        let mut places = heard.map(|(id, at)| (id, micros(&write(&user, id, at))));
        places.sort();
        // Redis's clock is that of this machine, and has gone on since.
        assert_eq!(places, [("a", first), ("b", first + 1)]);
    }
}

/// Ids of the stream never go back, whatever Redis's clock does: they serve while it is behind.
#[test]
fn while_the_clock_is_behind_events_count_by_their_ids() {
    let mut store = Store::start();
    store.publish("user:alice", "evt-1").unwrap();
    let ahead = (store.clock_ms() + 60_000) * 1_000;
    let _: () = store.ask(&["HSET", "{portcullis}:digest", "clock", &ahead.to_string()]);
    let (place, _) = store.publish("user:alice", "evt-2").unwrap();
    let stream: Vec<(String, BTreeMap<String, String>)> =
        store.ask(&["XRANGE", "{portcullis}:stream", "-", "+"]);
    assert_eq!(stream[1].0, place);
    assert_eq!(stream[1].1.get("heard"), None);
    let clock: String = store.ask(&["HGET", "{portcullis}:digest", "clock"]);
    assert_eq!(clock, ahead.to_string());
}

#[test]
fn the_same_id_with_other_content_is_a_conflict() {
    let mut store = Store::start();
    store.publish("user:alice", "evt-1").unwrap();
    let other = made("user:alice", "evt-1", &json!("other"));
    let refused = store.publish_with("user:alice", "evt-1", &other, ("", 1_000, 256)).unwrap_err();
    assert_eq!(refused.code(), Some("PORTCULLIS_CONFLICT"));
    let ids: Vec<String> = store.ask(&["HKEYS", "{portcullis}:state:user:alice"]);
    assert_eq!(ids, ["evt-1"]);
    let stream: Vec<(String, BTreeMap<String, String>)> =
        store.ask(&["XRANGE", "{portcullis}:stream", "-", "+"]);
    assert_eq!(stream[1].1["conflicting"], other, "daemons are told");

    // A retry that is signed anew is the same event, and says anew when it occurred.
    let signed = |mac: &str, at: &str, more: &str| {
        let mut event: serde_json::Value =
            serde_json::from_str(&made("user:alice", "evt-2", &json!(more))).unwrap();
        event["sig"] = json!({ "mac": mac });
        event["occurred_at"] = at.into();
        event.to_string()
    };
    let bounds = ("", 1_000, 256);
    let mut publish =
        |event: &str| store.publish_with("user:alice", "evt-2", event, bounds).unwrap().1;
    assert_eq!(publish(&signed("a", "1", "x")), "written");
    assert_eq!(publish(&signed("a", "2", "x")), "duplicate");
    // Who came first may be a forger: what is signed is written all the same.
    assert_eq!(publish(&signed("a", "1", "y")), "written");
    assert_eq!(publish(&signed("a", "1", "y")), "duplicate");
    let mut ids: Vec<String> = store.ask(&["HKEYS", "{portcullis}:state:user:alice"]);
    ids.sort();
    let sha1 = Sha1::digest(signed("a", "1", "y"));
    let own = format!("evt-2~{:02x}{:02x}{:02x}{:02x}", sha1[0], sha1[1], sha1[2], sha1[3]);
    assert_eq!(ids, ["evt-1".to_owned(), "evt-2".to_owned(), own.clone()]);
    let sums = ["evt-1", "evt-2", &own].map(|id| hash("user:alice", id));
    assert_eq!(store.digest(), (3, sums.iter().sum::<u64>() % (1 << 48)));
}

#[test]
fn what_no_daemon_can_take_in_is_refused_with_the_field_and_the_rule() {
    let mut store = Store::start();
    let good = made("user:alice", "evt-1", &json!(null));
    let with = |name: &str, value: serde_json::Value| {
        let mut event: serde_json::Value = serde_json::from_str(&good).unwrap();
        event[name] = value;
        event.to_string()
    };
    let cases = [
        ("x".repeat(16_385), "event: must be at most 16384 bytes"),
        ("not json".to_owned(), "event: must be a JSON object"),
        ("1".to_owned(), "event: must be a JSON object"),
        (with("event_id", json!("evt-2")), "event_id: must be the event id"),
        (with("key", json!({ "user_id": "bob" })), "key: must be the subject"),
        (with("key", json!(1)), "key: must be the subject"),
        (with("payload", json!({ "action": "blok" })), "payload.action: must be block"),
        (with("payload", json!(null)), "payload.action: must be block"),
    ];
    for (event, rule) in cases {
        let refused = store.publish_with("user:alice", "evt-1", &event, ("", 1_000, 256));
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), Some("PORTCULLIS_INVALID"));
        assert!(refused.detail().unwrap().starts_with(rule), "{refused}");
    }
    assert_eq!(store.ask::<Vec<String>>(&["KEYS", "*"]), [""; 0]);
}

#[test]
fn a_subject_has_its_most_events_and_no_more() {
    let mut store = Store::start();
    let bounds = ("", 1_000, 2);
    for id in ["a", "b"] {
        store
            .publish_with("user:alice", id, &made("user:alice", id, &json!(null)), bounds)
            .unwrap();
    }
    let before = store.digest();
    let event = |id| made("user:alice", id, &json!(null));
    let full = store.publish_with("user:alice", "c", &event("c"), bounds).unwrap_err();
    assert_eq!(full.code(), Some("PORTCULLIS_SUBJECT_FULL"));
    assert_eq!(store.publish_with("user:alice", "a", &event("a"), bounds).unwrap().1, "duplicate");
    assert_eq!((store.digest(), store.ask(&["XLEN", "{portcullis}:stream"])), (before, 2));
    assert_eq!(store.forget("user:alice", &[("a", 0)]), 1);
    assert_eq!(store.publish_with("user:alice", "c", &event("c"), bounds).unwrap().1, "written");
}

#[test]
fn the_stream_keeps_about_as_many_entries_as_it_is_told_to() {
    let mut store = Store::start();
    for number in 0..1_000 {
        let id = format!("evt-{number}");
        let event = made("user:alice", &id, &json!(null));
        store.publish_with("user:alice", &id, &event, ("", 100, 10_000)).unwrap();
    }
    let length: u64 = store.ask(&["XLEN", "{portcullis}:stream"]);
    assert!((100..=300).contains(&length), "{length}");
}

#[test]
fn nothing_is_forgotten_before_its_time_by_rediss_clock() {
    let mut store = Store::start();
    for id in ["overtaken", "ended", "holds", "forever"] {
        store.publish("user:alice", id).unwrap();
    }
    let now = store.clock_ms();
    let all =
        [("overtaken", 0), ("ended", now), ("holds", now + 60_000), ("forever", u64::MAX / 1_000)];
    assert_eq!(store.forget("user:alice", &all), 2);
    let left: BTreeSet<String> = store.ask(&["HKEYS", "{portcullis}:state:user:alice"]);
    assert_eq!(left, ["forever", "holds"].map(str::to_owned).into());
    assert_eq!(store.forget("user:alice", &all), 0, "what is gone is not counted again");
    // Whatever its caller's clock says, what is no number forgets nothing.
    let script = Script::new(FORGET);
    let mut call = script.prepare_invoke();
    call.key("{portcullis}:state:user:alice").key("{portcullis}:subjects");
    call.key("{portcullis}:digest").key("{portcullis}:vouches:user:alice");
    call.arg("user:alice").arg("holds").arg("soon");
    assert_eq!(call.invoke::<u64>(&mut store.connection).unwrap(), 0);
}

#[test]
fn a_key_of_a_wrong_type_leaves_nothing_half_done() {
    for key in ["subjects", "stream", "digest", "state:user:alice"] {
        let mut store = Store::start();
        let key = format!("{{portcullis}}:{key}");
        store.ask::<()>(&["SET", &key, "x"]);
        store.publish("user:alice", "evt-1").unwrap_err();
        assert_eq!(store.ask::<Vec<String>>(&["KEYS", "*"]), [key]);
    }
}

#[test]
fn the_digest_is_put_right_only_if_it_is_as_seen() {
    let mut store = Store::start();
    store.publish("user:alice", "evt-1").unwrap();
    let (count, sum) = store.digest();
    let mend = |store: &mut Store, seen: (&str, &str), to: (u64, u64)| -> u64 {
        let script = Script::new(MEND);
        let mut call = script.key("{portcullis}:digest");
        call.arg(seen.0).arg(seen.1).arg(to.0).arg(to.1).invoke(&mut store.connection).unwrap()
    };
    assert_eq!(mend(&mut store, ("7", "7"), (9, 9)), 0);
    assert_eq!(store.digest(), (count, sum));
    assert_eq!(mend(&mut store, (&count.to_string(), &sum.to_string()), (9, 8)), 1);
    assert_eq!(store.digest(), (9, 8));
    store.ask::<()>(&["DEL", "{portcullis}:digest"]);
    assert_eq!(mend(&mut store, ("", ""), (1, 2)), 1);
    assert_eq!(store.digest(), (1, 2));
}

#[test]
fn scripts_survive_a_restart_of_redis_that_forgets_them() {
    let mut store = Store::start();
    store.publish("user:alice", "evt-1").unwrap();
    store.ask::<()>(&["SCRIPT", "FLUSH"]);
    wait_until("it to be loaded again", || store.publish("user:alice", "evt-2").is_ok());
}
