//! The first rejected request of an event, from the request to the poll.

use model::testing::{user, zero};

use super::*;

fn changes(sequence: u64, subject: &Subject, register: Register) -> Batch {
    let changes = vec![change(sequence, subject, &state([register]))];
    Batch { sequence, changes, kind: Kind::Changes.into(), ..batch(&[]) }
}

fn newest(proxy: &Proxy) -> model::push::Poll {
    proxy.sent.borrow().last().unwrap().poll()
}

#[test]
fn the_first_rejected_request_is_in_the_next_poll_and_in_none_after_its_answer() {
    let proxy = Proxy::default();
    let (mut vm, mut other) = (start_synced(&proxy, &base()), start(&proxy, &base()));
    vm.answer_with(&changes(1, &user("alice"), blocked("fraud")));
    assert_eq!(vm.ask(Exchange::get("/").with("x-user-id", "bob")).answer(), None);
    for vm in [&other, &vm, &other, &vm] {
        assert_eq!(vm.ask(alice("/")).answer().map(|(status, _)| status), Some(403));
    }
    assert_eq!(newest(&proxy).first_rejections, [], "it is on its way already");
    proxy.pass_ms(7);
    vm.answer_with(&Batch { kind: Kind::Heartbeat.into(), sequence: 1, ..batch(&[]) });
    vm.tick_after(50);
    let told = newest(&proxy).first_rejections;
    assert_eq!((told.len(), told[0].event_id.as_str(), told[0].ago_us), (1, "evt-fraud", 57_000));
    assert_eq!(told[0].subject, Some((&user("alice")).into()));
    vm.answer_with(&Batch { kind: Kind::Heartbeat.into(), sequence: 1, ..batch(&[]) });
    assert_eq!(newest(&proxy).first_rejections, []);
    vm.ask(alice("/"));
    other.tick_after(50);
    vm.tick_after(0);
    assert_eq!(proxy.counter("portcullis.push.first_rejections"), Some(1));
    assert_eq!(proxy.counter("portcullis.push.first_rejections_left_out"), Some(0));
}

#[test]
fn a_request_that_is_only_counted_or_has_no_event_behind_it_is_not_noted() {
    for config in [base(), base_with("/blocks", json!({"shadow": true}))] {
        let proxy = Proxy::default();
        let mut vm = start_synced(&proxy, &config);
        if config.get("blocks").is_some() {
            vm.answer_with(&changes(1, &user("alice"), blocked("fraud")));
            assert_eq!(vm.ask(alice("/")).answer(), None);
        }
        for _ in 0..4 {
            vm.ask(Exchange::get("/").with("x-user-id", "bob"));
        }
        vm.tick_after(50);
        assert_eq!(proxy.counter("portcullis.denied.limit"), Some(1));
        assert_eq!(proxy.counter("portcullis.push.first_rejections"), Some(0));
        assert_eq!(proxy.counter("portcullis.push.first_rejections_left_out"), Some(0));
    }
}

#[test]
fn an_emptied_bucket_and_a_request_that_was_held_have_an_event_behind_them() {
    let proxy = Proxy::default();
    let mut vm = start_synced(&proxy, &base());
    vm.answer_with(&changes(1, &user("alice"), event("evt-zero", 0, Effect::Zero(zero()))));
    assert_eq!(vm.ask(alice("/")).answer().map(|(status, _)| status), Some(429));
    // The block comes while the body of a request is awaited.
    let request = signed("n-1", BODY).with("x-user-id", "carol");
    let (mut stream, action) = vm.open(2, request, false);
    assert_eq!(action, Action::Pause);
    vm.answer_with(&changes(2, &user("carol"), blocked("fraud")));
    let events = |proxy: &Proxy| -> Vec<_> {
        newest(proxy).first_rejections.into_iter().map(|one| one.event_id).collect()
    };
    assert_eq!(events(&proxy), ["evt-zero"]);
    proxy.streams.borrow_mut().get_mut(&2).unwrap().body = BODY.to_vec();
    assert_eq!(stream.on_request_body(vm.call(), BODY.len(), true), Action::Pause);
    assert_eq!(proxy.stream(2).answer().map(|(status, _)| status), Some(403));
    vm.answer_with(&Batch { kind: Kind::Heartbeat.into(), sequence: 2, ..batch(&[]) });
    vm.tick_after(50);
    assert_eq!(events(&proxy), ["evt-fraud"]);
    assert_eq!(newest(&proxy).first_rejections[0].subject, Some((&user("carol")).into()));
}
