//! What is reported of the fleet's buckets: when, to whom, and what becomes of answers and of their absence.

use std::time::Duration;

use model::push::{
    FLEET_BYTES_MAX, FLEET_PATH, FleetAnswer, FleetAnswers, FleetEpoch, FleetKey, FleetNews,
    FleetReports, Message as _,
};

use super::*;
use crate::host::Level;

fn config(on_loss: &str) -> Value {
    base_with("/limits/0/fleet", json!({"on_loss": on_loss}))
}

fn key() -> FleetKey {
    FleetKey { version: 3, key: vec![5; 16], partitions: 1 }
}

/// A worker of a node that knows the key of the fleet.
fn joined<'a>(proxy: &'a Proxy, on_loss: &str) -> Vm<'a> {
    let mut vm = start(proxy, &config(on_loss));
    vm.tick_after(50);
    vm.answer_with(&Batch { fleet_key: Some(key()), fleet_nodes: 2, ..batch(&[]) });
    vm.tick_after(50);
    vm
}

/// The calls with reports, each with its number.
fn calls(proxy: &Proxy) -> Vec<(u32, FleetReports)> {
    let sent = proxy.sent.borrow();
    let numbered = (0u32..).zip(sent.iter());
    let is_call = |path: &(String, String)| path.0 == ":path" && path.1 == FLEET_PATH;
    let calls = numbered.filter(|(_, sent)| sent.headers.iter().any(is_call));
    calls.map(|(at, sent)| (at, FleetReports::decode(sent.body.as_slice()).unwrap())).collect()
}

fn answer(reports: &FleetReports, remaining_us: u64) -> Vec<u8> {
    let one = |serial| FleetAnswer { serial, epoch: None::<FleetEpoch>, remaining_us };
    let answers = reports.reports.iter().map(|report| one(report.serial)).collect();
    FleetAnswers { answers, fleet_nodes: 2 }.encode_to_vec()
}

#[test]
fn a_first_sight_is_reported_within_the_millisecond_and_no_request_waits() {
    let proxy = Proxy::default();
    let mut vm = joined(&proxy, "local");
    assert_eq!(proxy.tick_period.get(), Some(Duration::from_millis(50)));
    assert_eq!(vm.ask(alice("/")).answer(), None);
    assert_eq!(vm.ask(alice("/")).answer(), None);
    assert_eq!(calls(&proxy).len(), 0, "the request sends nothing");
    assert_eq!(proxy.tick_period.get(), Some(Duration::from_millis(1)));
    vm.tick_after(1);
    let [(number, call)] = &calls(&proxy)[..] else { panic!("not one call") };
    let sent = proxy.sent.borrow()[*number as usize].clone();
    assert_eq!((sent.cluster.as_str(), sent.timeout), ("daemon", Duration::from_secs(1)));
    assert!(sent.headers.contains(&("authorization".into(), "Bearer 0123456789abcdef".into())));
    let [report] = call.reports.as_slice() else { panic!("not one report") };
    assert_eq!((call.key_version, report.takes, report.debt_percent), (3, 2, 100));
    assert_eq!(report.bucket.as_ref().unwrap().subject.len(), 16);
    assert!(call.boot != 0);
    // Its answer empties the bucket: three tokens have gone elsewhere.
    let answered = answer(call, 4_500_000);
    vm.answer(*number, Some(200), answered);
    let denied = vm.ask(alice("/"));
    assert_eq!(denied.answer().unwrap().0, 429);
    vm.tick_after(50);
    for (name, count) in [("reports", 1), ("answers", 1), ("failed", 0), ("cut_off", 0)] {
        assert_eq!(proxy.counter(&format!("portcullis.fleet.{name}")), Some(count), "{name}");
    }
    assert_eq!(proxy.counter("portcullis.limit.per-user.denied"), Some(1));
}

#[test]
fn ticks_are_as_rare_as_before_where_nothing_is_reported() {
    let proxy = Proxy::default();
    let mut vm = start(&proxy, &base());
    vm.tick_after(50);
    vm.answer_with(&batch(&[]));
    vm.ask(alice("/"));
    assert_eq!(proxy.tick_period.get(), Some(Duration::from_millis(50)));
    assert_eq!(proxy.counter("portcullis.fleet.reports"), None, "and no counters of it");
    vm.tick_after(50);
    assert_eq!(proxy.sent.borrow().last().unwrap().poll().fleet, None);
    // With it, an early tick does not do what a regular one does.
    let proxy = Proxy::default();
    let mut vm = joined(&proxy, "local");
    vm.ask(alice("/"));
    vm.tick_after(1);
    assert_eq!(proxy.counter("portcullis.allowed"), Some(0));
    let period = proxy.tick_period.get().unwrap();
    assert!(
        period <= Duration::from_millis(50) && period > Duration::from_millis(40),
        "{period:?}"
    );
    vm.tick_after(49);
    assert_eq!(proxy.counter("portcullis.allowed"), Some(1));
}

#[test]
fn polls_say_how_the_node_stands_and_news_empty_buckets() {
    let proxy = Proxy::default();
    let mut vm = joined(&proxy, "local");
    let fleet = |proxy: &Proxy| proxy.sent.borrow().last().unwrap().poll().fleet.unwrap();
    vm.ask(alice("/"));
    vm.tick_after(1);
    let (number, call) = calls(&proxy).remove(0);
    vm.answer(number, Some(200), answer(&call, 1_000_000));
    vm.tick_after(50);
    let bucket = call.reports[0].bucket.clone();
    let news = FleetNews { bucket, epoch: None, remaining_us: 4_000_000 };
    vm.answer_poll_with(&Batch { news: vec![news], ..batch(&[]) });
    assert_eq!(vm.ask(alice("/")).answer().unwrap().0, 429);
    vm.tick_after(50);
    assert_eq!(proxy.counter("portcullis.fleet.news"), Some(1));
    assert_eq!(fleet(&proxy).key_version, 3);
    assert_eq!(fleet(&proxy).waiting_ms, 0);
    let wrong = FleetKey { key: vec![1], ..key() };
    vm.tick_after(50);
    vm.answer_poll_with(&Batch { fleet_key: Some(wrong), ..batch(&[]) });
    let log = proxy.log.borrow();
    let (level, line) = log.last().unwrap();
    assert_eq!(*level, Level::Error);
    assert!(line.contains("the key of the fleet is not used: fleet_key: must"), "{line}");
}

#[test]
fn what_is_no_answer_is_told_once_and_counts_as_cut_off_after_a_second() {
    let proxy = Proxy::default();
    let mut vm = joined(&proxy, "deny");
    let failures = [(Some(503), 0), (Some(409), 0), (None, 0), (Some(200), FLEET_BYTES_MAX + 1)];
    vm.ask(alice("/"));
    for (status, bytes) in failures.into_iter().cycle().take(12) {
        let before = calls(&proxy).len();
        vm.tick_after(110);
        let calls = calls(&proxy);
        assert_eq!(calls.len(), before + 1);
        assert_eq!(calls[before].1.reports[0].serial, calls[0].1.reports[0].serial, "the same");
        vm.answer(calls[before].0, status, vec![0; bytes]);
    }
    vm.tick_after(50);
    assert_eq!(vm.ask(alice("/")).answer().unwrap().0, 503);
    vm.tick_after(110);
    assert_eq!(proxy.counter("portcullis.fleet.failed"), Some(12));
    assert_eq!(proxy.counter("portcullis.fleet.cut_off"), Some(1));
    assert_eq!(proxy.counter("portcullis.denied.fleet_lost"), Some(1));
    let told = |proxy: &Proxy, text: &str| {
        proxy.log.borrow().iter().filter(|(_, line)| line.contains(text)).count()
    };
    assert_eq!(told(&proxy, "reporting to the fleet through the invalidator: it answers with"), 1);
    let (number, call) = calls(&proxy).pop().unwrap();
    vm.answer(number, Some(200), answer(&call, 1_000_000));
    assert_eq!(told(&proxy, "reporting to the fleet works again"), 1);
    vm.tick_after(50);
    assert_eq!(vm.ask(alice("/")).answer(), None);
}
