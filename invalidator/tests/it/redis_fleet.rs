//! `redis/fleet.lua` in a real Redis gives what the ledger of the crate `fleet` gives.

use std::collections::BTreeMap;
use std::time::Duration;

use fleet::bounds::{NEWS_PER_CALL_MAX, REPORT_MEMORY, REPORTS_PER_CALL_MAX};
use fleet::epoch::{Begins, Epoch};
use fleet::ledger::{AHEAD_MAX, Ledger};
use fleet::lines::EXACT_MAX;
use fleet::terms::{DebtMax, Terms};
use fleet::wire::{Answer, BucketName, Partition, Report, ReportId};
use model::bucket::Rate;
use model::hash::SubjectHash;
use model::time::UnixMicros;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use redis::{Connection, RedisResult, Script};

use crate::harness::{Redis, free_port};

const FLEET: &str = include_str!("../../redis/fleet.lua");
const CHANNEL: &str = "portcullis.fleet.0";

/// Put before the script: Redis's clock is the key `now`, and keys end by it. All else is the real Redis.
const OTHER_CLOCK: &str = r"
local real = redis
local redis = setmetatable({}, {__index = real})
local function now_us() return tonumber(real.call('GET', 'now')) end
function redis.call(command, ...)
  if command == 'TIME' then
    local now, ends = now_us(), real.call('HGETALL', 'ends')
    for i = 1, #ends, 2 do
      if tonumber(ends[i + 1]) <= now then real.call('DEL', ends[i]) real.call('HDEL', 'ends', ends[i]) end
    end
    return {string.format('%.0f', math.floor(now / 1000000)), string.format('%.0f', now % 1000000)}
  elseif command == 'SET' then
    local key, value, unit, for_ms = ...
    assert(unit == 'PX')
    real.call('HSET', 'ends', key, string.format('%.0f', now_us() + tonumber(for_ms) * 1000))
    return real.call('SET', key, value)
  end
  return real.call(command, ...)
end
";

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

    fn report(
        &mut self,
        script: &Script,
        reports: &[Report],
        news_max: usize,
    ) -> RedisResult<Vec<String>> {
        let mut call = script.prepare_invoke();
        call.arg(CHANNEL).arg(REPORT_MEMORY.as_millis() as u64).arg(news_max);
        for report in reports {
            call.key(report.bucket.key("portcullis")).key(report.id.key("portcullis"));
            call.arg(report.bucket.to_string());
            call.arg(report.terms.charge_us(report.takes)).arg(report.terms.spent_us(1));
            call.arg(report.terms.fill_us()).arg(report.terms.cap_us());
            call.arg(report.epoch.at.0).arg(format!("{:016x}", report.epoch.id));
            call.arg(u8::from(report.begins == Begins::Emptied));
        }
        call.invoke(&mut self.connection)
    }

    fn ask<T: redis::FromRedisValue>(&mut self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(*word);
        }
        command.query(&mut self.connection).unwrap()
    }
}

fn text(answer: Answer) -> String {
    let Answer { epoch, remaining_us } = answer;
    format!("{remaining_us} {} {:016x}", epoch.at.0, epoch.id)
}

fn terms(tokens: u32, per_second: u32, debt_percent: u32) -> Terms {
    let rate = Rate::new(tokens, per_second, Duration::from_secs(1)).unwrap();
    Terms { rate, debt: DebtMax::percent(debt_percent).unwrap() }
}

fn a_report(serial: u64, takes: u32) -> Report {
    let partition = Partition(0);
    let bucket = BucketName { partition, subject: SubjectHash([7; 16]), limit: 1, rate: 2 };
    let id = ReportId { partition, boot: 3, serial };
    let (epoch, begins) = (Epoch::default(), Begins::Full);
    Report { id, bucket, takes, epoch, begins, terms: terms(100, 10, 100) }
}

/// One report of a call, in numbers: subject, serial, takes, which rate, which event and whether that was a zero.
type Drawn = (u8, u64, u32, usize, u64, bool);

fn drawn(start_us: u64, (subject, serial, takes, rate, event, is_zero): Drawn) -> Report {
    let partition = Partition(0);
    let terms = [terms(10, 1, 100), terms(100, 10, 0), terms(1_000, 500, 1_000)][rate];
    let subject = SubjectHash([subject; 16]);
    let bucket = BucketName { partition, subject, limit: 1, rate: rate as u32 };
    // Events of one instant, of different ones, of the future, of the end of all time, and ids whose halves differ.
    let at = match event {
        5.. => UnixMicros(EXACT_MAX - event % 2),
        _ => UnixMicros(start_us + event / 2 * 1_500_000),
    };
    let epoch = match event {
        0 => Epoch::default(),
        _ => Epoch { at, id: event.wrapping_mul(0x9e37_79b9_7f4a_7c15) },
    };
    let begins = if is_zero { Begins::Emptied } else { Begins::Full };
    Report {
        id: ReportId { partition, boot: u64::MAX - serial % 2, serial },
        bucket,
        takes,
        epoch,
        begins,
        terms,
    }
}

/// Calls of many reports, repeated ids, events in any order, and a clock that is set back and forward.
#[test]
fn the_script_gives_what_the_ledger_gives() {
    const START_US: u64 = 1_795_000_000_000_000;
    let mut store = Store::start();
    let mut listener = store.redis.connect();
    let mut listener = listener.as_pubsub();
    listener.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    listener.subscribe(CHANNEL).unwrap();
    let script = Script::new(&format!("{OTHER_CLOCK}{FLEET}"));
    let takes = prop_oneof![0u32..5, 0u32..200, Just(u32::MAX)];
    let report = (0u8..3, 0u64..40, takes, 0usize..3, 0u64..7, any::<bool>());
    let step_us = prop_oneof![
        8 => 0i64..3_000_000,
        1 => -10_000_000i64..200_000_000,
        1 => -3_600_000_000i64..3_600_000_000,
    ];
    let calls = prop::collection::vec((step_us, prop::collection::vec(report, 1..8)), 1..20);
    let mut runner = TestRunner::new(Config { cases: 128, ..Config::default() });
    let cell = std::cell::RefCell::new((&mut store, listener));
    runner
        .run(&(calls, 0usize..4), |(calls, news_max)| {
            let mut held = cell.borrow_mut();
            let (store, listener) = &mut *held;
            store.ask::<()>(&["FLUSHALL"]);
            // What a case that failed has left unheard.
            store.ask::<u64>(&["PUBLISH", CHANNEL, "begin"]);
            while listener.get_message().unwrap().get_payload::<String>().unwrap() != "begin" {}
            let mut ledger = Ledger::default();
            let mut now_us = START_US;
            for (step_us, reports) in calls {
                now_us = now_us.saturating_add_signed(step_us);
                store.ask::<()>(&["SET", "now", &now_us.to_string()]);
                let reports: Vec<_> =
                    reports.into_iter().map(|numbers| drawn(START_US, numbers)).collect();
                let mut told = Vec::new();
                let expected: Vec<_> = reports
                    .iter()
                    .map(|report| {
                        let (answer, news) = ledger.report(report, UnixMicros(now_us));
                        told.extend(news.map(|news| format!("{} {}", news.bucket, text(answer))));
                        text(answer)
                    })
                    .collect();
                let answers = store.report(&script, &reports, news_max).unwrap();
                prop_assert_eq!(answers, expected);
                told.truncate(news_max);
                if !told.is_empty() {
                    let heard: String = listener.get_message().unwrap().get_payload().unwrap();
                    prop_assert_eq!(heard, told.join("\n"));
                }
            }
            // What was not expected would be heard before this.
            store.ask::<u64>(&["PUBLISH", CHANNEL, "end"]);
            let heard: String = listener.get_message().unwrap().get_payload().unwrap();
            prop_assert_eq!(heard, "end");
            Ok(())
        })
        .unwrap();
}

#[test]
fn buckets_and_ids_end_by_rediss_own_clock() {
    let mut store = Store::start();
    let script = Script::new(FLEET);
    let report = a_report(1, 50);
    let answers = store.report(&script, &[report], 1).unwrap();
    assert_eq!(answers, ["5000000 0 0000000000000000"]);
    let ends = |store: &mut Store, key: &str| store.ask::<u64>(&["PTTL", key]);
    let memory_ms = REPORT_MEMORY.as_millis() as u64;
    let id_ms = ends(&mut store, &report.id.key("portcullis"));
    assert!((memory_ms - 5_000..=memory_ms).contains(&id_ms), "{id_ms}");
    let bucket_ms = ends(&mut store, &report.bucket.key("portcullis"));
    assert!((memory_ms..=memory_ms + 5_000).contains(&bucket_ms), "{bucket_ms}");
    let again = store.report(&script, &[report], 1).unwrap();
    let remaining: u64 = again[0].split(' ').next().unwrap().parse().unwrap();
    assert!(remaining <= 5_000_000, "counted once");
}

#[test]
fn what_is_damaged_reads_as_nothing_and_does_not_stop_the_others() {
    let mut store = Store::start();
    let script = Script::new(FLEET);
    let (report, mut other) = (a_report(1, 10), a_report(2, 10));
    other.bucket.limit = 9;
    store.ask::<()>(&["LPUSH", &report.bucket.key("portcullis"), "x"]);
    store.ask::<()>(&["SET", &other.bucket.key("portcullis"), "no bucket"]);
    let answers = store.report(&script, &[report, other], 1).unwrap();
    assert_eq!(answers, ["1000000 0 0000000000000000"; 2]);
    let kind: String = store.ask(&["TYPE", &report.bucket.key("portcullis")]);
    assert_eq!(kind, "string", "written anew");
}

#[test]
fn a_beginning_that_somebody_has_written_far_ahead_is_none() {
    let mut store = Store::start();
    let script = Script::new(FLEET);
    let seconds: Vec<u64> = store.ask(&["TIME"]);
    let far_us = (seconds[0] + AHEAD_MAX.as_secs() + 60) * 1_000_000;
    let bucket = a_report(1, 10).bucket.key("portcullis");
    store.ask::<()>(&["SET", &bucket, &format!("0 {far_us} 00000000000000ff")]);
    let lift = Epoch { at: UnixMicros(seconds[0] * 1_000_000), id: 3 };
    let report = Report { epoch: lift, ..a_report(1, 10) };
    let answers = store.report(&script, &[report], 1).unwrap();
    assert_eq!(answers, [format!("1000000 {} {:016x}", lift.at.0, lift.id)]);
    // Whoever reports can set none so far ahead either.
    let far = Epoch { at: UnixMicros(far_us), id: 4 };
    let report = Report { epoch: far, ..a_report(2, 10) };
    let answers = store.report(&script, &[report], 1).unwrap();
    let at: u64 = answers[0].split(' ').nth(1).unwrap().parse().unwrap();
    assert!(at > lift.at.0 && at < far_us, "{answers:?}");
}

#[test]
fn a_call_has_bounds_and_a_wrong_one_counts_nothing() {
    let mut store = Store::start();
    let script = Script::new(FLEET);
    let many = |count: usize| -> Vec<Report> {
        (0..count as u64)
            .map(|serial| {
                let mut report = a_report(serial, 200);
                report.bucket.limit = serial as u32;
                report
            })
            .collect()
    };
    let too_many = store.report(&script, &many(REPORTS_PER_CALL_MAX + 1), 1).unwrap_err();
    assert_eq!(too_many.code(), Some("PORTCULLIS_INVALID"));
    let mut listener = store.redis.connect();
    let mut listener = listener.as_pubsub();
    listener.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    listener.subscribe(CHANNEL).unwrap();
    let all = many(REPORTS_PER_CALL_MAX);
    assert_eq!(store.report(&script, &all, NEWS_PER_CALL_MAX).unwrap().len(), all.len());
    let heard: String = listener.get_message().unwrap().get_payload().unwrap();
    assert_eq!(heard.lines().count(), NEWS_PER_CALL_MAX, "news have a bound of their own");
    assert_eq!(store.report(&script, &[], 1).unwrap(), [""; 0]);
    store.ask::<()>(&["FLUSHALL"]);

    let good: BTreeMap<usize, &str> = [
        (0, "ch"),
        (1, "60000"),
        (2, "1"),
        (3, "name"),
        (4, "1"),
        (5, "1"),
        (6, "1"),
        (7, "1"),
        (8, "0"),
        (9, "0000000000000000"),
        (10, "0"),
    ]
    .into();
    let wrong =
        [(1, "0"), (1, "x"), (2, "-1"), (4, "1.5"), (5, ""), (7, "1e300"), (8, "-1"), (9, "12")];
    for (at, value) in wrong {
        let mut call = script.key("b");
        call.key("r");
        for (field, valid) in &good {
            call.arg(if *field == at { value } else { *valid });
        }
        let refused = call.invoke::<Vec<String>>(&mut store.connection).unwrap_err();
        assert_eq!(refused.code(), Some("PORTCULLIS_INVALID"), "{at} {value:?}");
    }
    assert_eq!(store.ask::<Vec<String>>(&["KEYS", "*"]), [""; 0]);
}
