//! Requests that are held for their bodies, in whichever pieces Envoy has them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use proptest::prelude::*;
use signing::Profile;
use signing::key::{KeyId, Secret};
use signing::signer::{Unsigned, sign};

use super::*;
use crate::clockwork;

const BODY: &[u8] = b"{\"amount\":100,\"to\":\"bob\"}";

/// A payment with this body. It is signed a little later than now: a process that had another memory before, as that of
/// tests has, refuses what was signed before this one.
fn signed(nonce: &str, body: &[u8]) -> Box<Exchange> {
    let (key_id, secret) =
        (KeyId::parse("k1").unwrap(), Secret::new(b"a secret of acme".to_vec()).unwrap());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let (timestamp, nonce) = (now + 5, Some(nonce));
    let unsigned =
        Unsigned { method: "POST", authority: "edge", path: "/pay", body, timestamp, nonce };
    let lines = sign(Profile::Portcullis, &key_id, &secret, &unsigned).unwrap();
    let mut request = Exchange::get("/pay", "alice");
    request.headers[0].1 = "POST".into();
    lines.into_iter().fold(request, |request, (name, value)| request.with(name, &value))
}

/// The pieces that these places cut a body into.
fn pieces(body: &[u8], cuts: &[usize]) -> Vec<Vec<u8>> {
    let mut places: Vec<_> = cuts.iter().map(|cut| cut % (body.len() + 1)).collect();
    places.extend([0, body.len()]);
    places.sort_unstable();
    places.windows(2).map(|ends| body[ends[0]..ends[1]].to_vec()).collect()
}

/// Hands a body over, piece by piece, as Envoy does: what was kept is there with the last one.
fn hand_over(request: &mut Exchange, stream: *mut Stream, pieces: &[Vec<u8>]) -> u32 {
    let (last, rest) = pieces.split_last().unwrap();
    for piece in rest {
        request.received = vec![piece.clone()];
        assert_eq!(request_body(request.pointer(), stream, false), 1, "kept");
        request.buffered.append(&mut request.received);
    }
    request.buffered.push(last.clone());
    request_body(request.pointer(), stream, true)
}

#[test]
fn a_signed_body_is_verified_in_place() {
    let _turn = turn();
    let gate = Gate::new("bodies-signed", &configuration());
    for (nonce, body, expected) in [("a", BODY, 200), ("b", b"forged", 401), ("a", BODY, 409)] {
        let mut request = signed(nonce, BODY);
        let stream = gate.open(&mut request);
        assert_eq!(request_headers(request.pointer(), stream, false), 1, "held");
        let action = hand_over(&mut request, stream, &pieces(body, &[3, 4]));
        assert_eq!(
            request.answer().map_or(200, |(status, _)| status),
            expected,
            "{:?}",
            request.answer()
        );
        assert_eq!(action == 0, expected == 200);
        filter_destroy(stream);
    }
    assert_eq!(counted("portcullis.signature.portcullis.verified"), 2, "one of them had been used");
}

#[test]
fn trailers_end_a_body() {
    let _turn = turn();
    let gate = Gate::new("bodies-trailers", &configuration());
    let mut request = signed("a", BODY);
    request.trailers =
        vec![("x-portcullis-partner".into(), "evil".into()), ("x".into(), "y".into())];
    let stream = gate.open(&mut request);
    assert_eq!(request_headers(request.pointer(), stream, false), 1);
    request.received = vec![BODY.to_vec()];
    assert_eq!(request_body(request.pointer(), stream, false), 1);
    request.buffered.append(&mut request.received);
    assert_eq!(request_trailers(request.pointer(), stream), 0);
    assert_eq!(request.trailers, [("x".to_owned(), "y".to_owned())]);
    assert!(request.headers.contains(&("x-portcullis-partner".into(), "acme".into())));
    filter_destroy(stream);
}

#[test]
fn what_another_filter_has_kept_counts_once() {
    let _turn = turn();
    let gate = Gate::new("bodies-kept", &configuration());
    let mut request = signed("a", BODY);
    let stream = gate.open(&mut request);
    assert_eq!(request_headers(request.pointer(), stream, false), 1);
    (request.received, request.buffered) = (vec![BODY.to_vec()], vec![BODY.to_vec()]);
    request.is_same = true;
    assert_eq!(request_body(request.pointer(), stream, true), 0);
    filter_destroy(stream);
}

#[test]
fn a_body_that_takes_too_long_is_answered_once() {
    let _turn = turn();
    let gate = Gate::new("bodies-slow", &configuration());
    let mut request = signed("a", BODY);
    let stream = gate.open(&mut request);
    assert_eq!(request_headers(request.pointer(), stream, false), 1);
    config_scheduled();
    assert_eq!(envoy(|envoy| envoy.wakes), 0, "not yet");
    scheduled(request.pointer(), stream);
    assert_eq!(request.answer().map(|(status, _)| status), Some(408));
    request.received = vec![BODY.to_vec()];
    assert_eq!(request_body(request.pointer(), stream, true), 1, "it has been answered");
    assert_eq!(request.answers.len(), 1);
    scheduled(request.pointer(), stream);
    assert_eq!(request.answers.len(), 1);
    filter_destroy(stream);
}

#[test]
fn where_that_is_only_counted_it_goes_on() {
    let _turn = turn();
    let mut configuration = configuration();
    configuration["shadow"] = json!(true);
    let gate = Gate::new("bodies-shadow", &configuration);
    let mut request = signed("a", BODY);
    let stream = gate.open(&mut request);
    assert_eq!(request_headers(request.pointer(), stream, false), 1);
    scheduled(request.pointer(), stream);
    assert!(request.is_resumed && request.answers.is_empty());
    request.received = vec![BODY.to_vec()];
    assert_eq!(request_body(request.pointer(), stream, true), 0, "and so does its body");
    filter_destroy(stream);
}

#[test]
fn streams_that_wait_are_called_about_when_time_is_up() {
    let _turn = turn();
    let mut configuration = configuration();
    configuration["held"] = json!({"time_max": "1s"});
    let Some(gate) = Gate::try_new("bodies-wake", &configuration.to_string()) else {
        panic!("{:?}", envoy(|envoy| envoy.log.clone()));
    };
    let mut request = signed("a", BODY);
    let stream = gate.open(&mut request);
    assert_eq!(request_headers(request.pointer(), stream, false), 1);
    let begun = Instant::now();
    while envoy(|envoy| envoy.wakes) == 0 {
        assert!(begun.elapsed() < Duration::from_secs(10));
        config_scheduled();
    }
    filter_destroy(stream);
    // One that is over is forgotten.
    let mut request = signed("b", BODY);
    let stream = gate.open(&mut request);
    assert_eq!(request_headers(request.pointer(), stream, false), 1);
    filter_destroy(stream);
    assert_eq!(clockwork::held_count(), 0);
}

proptest! {
    /// Whatever the pieces, what is read is the part of the body that was asked for.
    #[test]
    fn a_part_is_read_as_it_is(
        buffered in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..6),
        received in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..6),
        start in 0_usize..60,
        bytes in 0_usize..60,
    ) {
        let whole = [buffered.concat(), received.concat()].concat();
        let mut request = Exchange { buffered, received, ..Exchange::default() };
        prop_assert_eq!(request.filter().body_bytes(), whole.len());
        let mut read = Vec::new();
        request.filter().read_body(start, bytes, |piece| read.extend_from_slice(piece));
        let part = whole.get(start..).unwrap_or_default();
        prop_assert_eq!(&read, part.get(..bytes).unwrap_or(part));
    }

    /// A signature holds for the bytes, however they come.
    #[test]
    fn a_body_is_verified_in_any_pieces(cuts in prop::collection::vec(0_usize..64, 0..5)) {
        let _turn = turn();
        let gate = Gate::new("bodies-pieces", &configuration());
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed).to_string();
        let mut request = signed(&number, BODY);
        request.headers[2].1 = number;
        let stream = gate.open(&mut request);
        prop_assert_eq!(request_headers(request.pointer(), stream, false), 1);
        let action = hand_over(&mut request, stream, &pieces(BODY, &cuts));
        prop_assert_eq!((action, request.answer()), (0, None));
        filter_destroy(stream);
    }
}
