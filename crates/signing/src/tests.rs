use std::time::Duration;

use model::testing::{EPOCH_S, at, name};
use model::time::UnixMicros;

use super::explain::Endpoint;
use super::key::{Key, KeyId, KeySet, Secret};
use super::signer::{Unsigned, sign};
use super::verify::{Verified, Verifier};
use super::*;
use crate::SignatureRules;
use crate::headers::Headers;

mod changes;
mod explain;
mod message;
mod profiles;
mod replay;
mod strict;
mod vectors;
mod windows;

const METHOD: &str = "POST";
const AUTHORITY: &str = "api.example";
const PATH: &str = "/pay?id=1";
const BODY: &[u8] = b"{\"amount\":100}";

fn key_of(id: &str, partner: &str, secret: &str) -> Key {
    Key {
        id: KeyId::parse(id).unwrap(),
        partner: name(partner),
        secret: Secret::new(secret.into()).unwrap(),
        not_before: None,
        not_after: None,
        integrations: Vec::new(),
        profile: None,
    }
}

/// The keys as they are where all integrations have this profile.
fn bound(keys: &KeySet, profile: Profile) -> KeySet {
    keys.bound(|_| Some(profile))
}

fn key(id: &str) -> Key {
    key_of(id, "acme", &format!("the secret of the key {id}"))
}

fn set(keys: impl IntoIterator<Item = Key>) -> KeySet {
    let mut set = KeySet::default();
    keys.into_iter().for_each(|key| set.add(key).unwrap());
    set
}

/// The headers of a request, as a proxy gives them.
fn headers<'a>(
    method: &str,
    path: &str,
    lines: impl IntoIterator<Item = (&'a str, String)>,
) -> Headers {
    let pseudo = [
        (":method", method.to_owned()),
        (":authority", AUTHORITY.to_owned()),
        (":path", path.to_owned()),
    ];
    let lines = pseudo.into_iter().chain(lines);
    lines.collect()
}

fn nonce_of(profile: Profile) -> Option<&'static str> {
    (!matches!(profile, Profile::Body | Profile::Stripe)).then_some("nonce-1")
}

/// A request signed by a key at the beginning of the test.
fn signed(profile: Profile, key: &Key, body: &[u8]) -> Headers {
    let nonce = nonce_of(profile);
    let request = Unsigned {
        method: METHOD,
        authority: AUTHORITY,
        path: PATH,
        body,
        timestamp: EPOCH_S,
        nonce,
    };
    headers(METHOD, PATH, sign(profile, &key.id, &key.secret, &request).unwrap())
}

fn verify(
    signature: &SignatureRules,
    headers: &Headers,
    body: &[u8],
    keys: &KeySet,
    now: UnixMicros,
) -> Result<Verified, Failure> {
    let keys = bound(keys, signature.profile);
    Verifier::begin(signature, None, headers, &keys, now)?.verify(body)
}

/// What comes of a request that any key may sign, at the beginning of the test.
fn check(
    profile: Profile,
    headers: &Headers,
    body: &[u8],
    keys: &KeySet,
) -> Result<Verified, Failure> {
    verify(&SignatureRules::of(profile), headers, body, keys, at(0))
}

#[test]
fn what_is_signed_is_accepted() {
    let keys = set([key("k1"), key("k2")]);
    for profile in Profile::ALL {
        let verified = check(profile, &signed(profile, &key("k2"), BODY), BODY, &keys).unwrap();
        assert_eq!((verified.key_id.as_str(), verified.partner.as_str()), ("k2", "acme"));
        assert_eq!(verified.profile, profile);
        assert_eq!(verified.skew_ms, profile.has_time().then_some(0));
        assert_eq!(Profile::parse(profile.as_str()), Some(profile));
    }
}

#[test]
fn neither_chunks_nor_the_order_of_keys_matter() {
    use proptest::prelude::*;
    let bodies = proptest::collection::vec(any::<u8>(), 0..512);
    let cuts = proptest::collection::vec(0usize..512, 0..8);
    let orders = Just((1..=16u32).collect::<Vec<_>>()).prop_shuffle();
    proptest!(ProptestConfig::with_cases(64), |(body in bodies, mut cuts in cuts,
                                                orders in orders, signer in 1..=16u32,
                                                is_preferred in any::<bool>())| {
        cuts.sort_unstable();
        // What became valid last is tried first.
        let key_at = |(order, id): (&u32, u32)| {
            Key { not_before: Some(at(-i64::from(*order))), ..key(&format!("k{id}")) }
        };
        let keys = set(orders.iter().zip(1..).map(key_at));
        let signer = key(&format!("k{signer}"));
        for profile in Profile::ALL {
            let headers = signed(profile, &signer, &body);
            let signature = of_many(profile);
            let keys = bound(&keys, profile);
            let begun = Verifier::begin(&signature, None, &headers, &keys, at(0));
            let mut verifier = begun.unwrap();
            if is_preferred {
                verifier.prefer(&signer.id);
            }
            let mut tried = 0;
            let verified = loop {
                let mut rest = body.as_slice();
                for cut in &cuts {
                    let (chunk, after) = rest.split_at((*cut).min(rest.len()));
                    verifier.update(chunk);
                    rest = after;
                }
                verifier.update(rest);
                tried += 1;
                match verifier.finish() {
                    Ok(verified) => break verified,
                    Err(_) => prop_assert!(verifier.next_key()),
                }
            };
            prop_assert_eq!(&verified.key_id, &signer.id);
            prop_assert!(!is_preferred || tried == 1);
            let whole = verify(&signature, &headers, &body, &keys, at(0)).unwrap();
            prop_assert_eq!(verified, whole);
        }
    });
}

/// As many keys are tried as can be.
fn of_many(profile: Profile) -> SignatureRules {
    SignatureRules { keys_max: 16, ..SignatureRules::of(profile) }
}

/// What comes of a request where so many keys are tried.
fn check_many(profile: Profile, headers: &Headers, keys: &KeySet) -> Result<Verified, Failure> {
    verify(&of_many(profile), headers, BODY, keys, at(0))
}

#[test]
fn two_keys_are_tried_unless_more_are_wanted() {
    let keys = set([key("k1"), key("k2"), key("k3")]);
    for profile in [Profile::StandardWebhooks, Profile::Stripe, Profile::Github] {
        let of = |id: &str| check(profile, &signed(profile, &key(id), BODY), BODY, &keys);
        assert!(of("k1").is_ok() && of("k2").is_ok());
        assert_eq!(of("k3"), Err(Failure::Mismatch));
        assert!(check_many(profile, &signed(profile, &key("k3"), BODY), &keys).is_ok());
    }
}

#[test]
fn of_too_many_keys_the_latest_are_tried() {
    let aged = |age: i64| Key { not_before: Some(at(-age)), ..key(&format!("k{age}")) };
    let keys = set((1..=17).map(aged));
    let of = |age| check_many(Profile::Github, &signed(Profile::Github, &aged(age), BODY), &keys);
    assert!(of(16).is_ok());
    assert_eq!(of(17), Err(Failure::Mismatch));
}

#[test]
fn a_key_without_an_end_goes_before_those_that_were_replaced() {
    let ends = |id: &str, hours: i64, begun: Option<i64>| Key {
        not_before: begun.map(at),
        not_after: Some(at(hours * 3_600)),
        ..key(id)
    };
    // As `portcullis keys rotate` leaves them, twice within the grace period: the new one comes last by
    // its id, and has no beginning.
    let keys = set([ends("k1", 1, Some(-10)), ends("k2", 2, None), key("k3")]);
    let of =
        |id: &str| check(Profile::Github, &signed(Profile::Github, &key(id), BODY), BODY, &keys);
    assert!(of("k3").is_ok() && of("k2").is_ok());
    assert_eq!(of("k1"), Err(Failure::Mismatch));
}

#[test]
fn of_too_many_keys_of_one_age_the_first_are_tried() {
    let numbered = |n: i64| key(&format!("k{n:02}"));
    let keys = set((0..20).map(numbered));
    let of = |n| check_many(Profile::Github, &signed(Profile::Github, &numbered(n), BODY), &keys);
    assert!(of(0).is_ok() && of(15).is_ok());
    assert_eq!(of(16), Err(Failure::Mismatch));
}

#[test]
fn one_request_signed_by_two_keys_is_one_request() {
    let (old, new) = (key("old"), key("new"));
    let keys = set([old.clone(), new.clone()]);
    let digits = |key| {
        let headers = signed(Profile::Stripe, key, BODY);
        let value = headers.one("stripe-signature").unwrap().unwrap().to_vec();
        String::from_utf8(value).unwrap().split_once(",v1=").unwrap().1.to_owned()
    };
    let (old, new) = (digits(&old), digits(&new));
    let nonce = |signatures: String| {
        let line = ("stripe-signature", format!("t={EPOCH_S},{signatures}"));
        let headers = headers(METHOD, PATH, [line]);
        check(Profile::Stripe, &headers, BODY, &keys).unwrap().nonce
    };
    let both = nonce(format!("v1={old},v1={new}"));
    assert_eq!(nonce(format!("v1={old}")), both);
    assert_eq!(nonce(format!("v1={new}")), both);
}

/// Of Standard Webhooks, whose senders keep the id of a message and sign each attempt.
#[test]
fn another_attempt_is_another_request_unless_messages_count() {
    let (profile, keys) = (Profile::StandardWebhooks, set([key("k1")]));
    let nonce = |id: &str, timestamp: u64, retries_pass: bool| {
        let rules = SignatureRules { retries_pass, ..SignatureRules::of(profile) };
        let (path, nonce) = (PATH, Some(id));
        let request =
            Unsigned { method: METHOD, authority: AUTHORITY, path, body: BODY, timestamp, nonce };
        let lines = sign(profile, &key("k1").id, &key("k1").secret, &request).unwrap();
        verify(&rules, &headers(METHOD, PATH, lines), BODY, &keys, at(0)).unwrap().nonce
    };
    assert_eq!(nonce("a", EPOCH_S, true), nonce("a", EPOCH_S, true));
    assert_ne!(nonce("a", EPOCH_S, true), nonce("a", EPOCH_S + 5, true));
    assert_ne!(nonce("a", EPOCH_S, true), nonce("b", EPOCH_S, true));
    assert_eq!(nonce("a", EPOCH_S, false), nonce("a", EPOCH_S + 5, false));
    assert!(SignatureRules::of(profile).retries_pass);
    assert!(!SignatureRules::of(Profile::Portcullis).retries_pass);
}

#[test]
fn another_name_of_the_same_secret_makes_no_other_request() {
    let [old, new] = ["old", "new"].map(|id| key_of(id, "acme", "a secret that was kept"));
    let keys = set([old.clone(), new]);
    let headers = signed(Profile::Body, &old, BODY);
    let first = check(Profile::Body, &headers, BODY, &keys).unwrap();
    let headers = headers.changed("x-key-id", |_| b"new".to_vec());
    let second = check(Profile::Body, &headers, BODY, &keys).unwrap();
    assert_eq!((first.nonce, second.key_id.as_str()), (second.nonce, "new"));
}

#[test]
fn secrets_do_not_show() {
    const SECRET: &str = "do not show this to anybody";
    let key = key_of("k1", "acme", SECRET);
    let keys = set([key.clone()]);
    let wire = keys.to_wire(1);
    let batch = model::push::Batch { keys: Some(wire.clone()), ..Default::default() };
    let headers = signed(Profile::Portcullis, &key, BODY);
    let signature = SignatureRules::of(Profile::Portcullis);
    let bound = bound(&keys, Profile::Portcullis);
    let verifier = Verifier::begin(&signature, None, &headers, &bound, at(0));
    for shown in
        [format!("{key:?}"), format!("{keys:?}"), format!("{batch:?}"), format!("{verifier:?}")]
    {
        let bytes = format!("{:?}", SECRET.as_bytes());
        assert!(!shown.contains(SECRET) && !shown.contains(bytes.trim_matches(['[', ']'])));
    }
}

#[test]
fn key_sets_survive_the_wire() {
    let key = Key {
        not_before: Some(at(-1)),
        not_after: Some(at(1)),
        integrations: vec![name("payments")],
        profile: Some(Profile::Stripe),
        ..key("K-1.a_b")
    };
    let mut wire = set([key.clone()]).to_wire(7);
    let other = model::push::SigningKey {
        id: "k2".into(),
        algorithms: vec!["hmac-sha512".into()],
        ..wire.keys[0].clone()
    };
    wire.keys.push(other);
    let newer = model::push::SigningKey {
        id: "k3".into(),
        profile: "of-the-future".into(),
        ..wire.keys[0].clone()
    };
    wire.keys.push(newer);
    let read = KeySet::try_from(wire.clone()).unwrap();
    assert_eq!(read.len(), 1, "a key for another algorithm or profile is of no use");
    assert_eq!(format!("{:?}", read.get(&key.id).unwrap()), format!("{key:?}"));
    assert_eq!(read.get(&key.id).unwrap().secret.expose(), key.secret.expose());
    wire.keys.push(wire.keys[0].clone());
    assert_eq!(KeySet::try_from(wire).unwrap_err().field, "keys");
}

#[test]
fn newer_sets_win_key_by_key() {
    let old = set([key("k1"), key_of("k2", "acme", "an old secret of k2")]);
    let new = set([key_of("k2", "acme", "a new secret of k2"), key("k3")]);
    let both = old.merged(&new);
    let secrets: Vec<_> =
        both.iter().map(|key| String::from_utf8_lossy(key.secret.expose()).into_owned()).collect();
    assert_eq!(
        secrets,
        ["the secret of the key k1", "a new secret of k2", "the secret of the key k3"]
    );
}

/// MACs are compared in one place, with the library's own comparison in constant time. Their type
/// has no other: this does not compile if it gets equality.
#[test]
fn macs_are_compared_in_one_place() {
    trait Unequal<T> {
        fn holds() {}
    }
    impl<T> Unequal<()> for T {}
    struct HasEquality;
    impl<T: PartialEq> Unequal<HasEquality> for T {}
    <mac::Claimed as Unequal<_>>::holds();

    assert_eq!(include_str!("mac.rs").matches(".verify_slice(").count(), 1);
    for (file, source) in [
        ("verify.rs", include_str!("verify.rs")),
        ("headers.rs", include_str!("headers.rs")),
        ("explain.rs", include_str!("explain.rs")),
        ("replay.rs", include_str!("replay.rs")),
    ] {
        assert!(!source.contains("verify_slice") && !source.contains("Hmac"), "{file}");
        assert!(!source.contains("mac.finish()"), "{file}: the MAC itself is for signing only");
    }
}
