//! Whatever a signature covers cannot be changed.
//!
//! What a profile does not sign is not changed here: the method and the path of all but
//! `portcullis`, the time of `body`, and the delivery's id of `github`.

use proptest::prelude::*;

use super::*;

const CHANGES: u32 = 10_000;

/// Which parts of a request its signature covers, beside the body.
fn covered(profile: Profile) -> &'static [&'static str] {
    match profile {
        Profile::Portcullis => {
            &[":method", ":path", "x-key-id", "x-timestamp", "x-request-id", "x-signature"]
        }
        Profile::Body => &["x-key-id", "x-signature"],
        Profile::StandardWebhooks => &["webhook-id", "webhook-timestamp", "webhook-signature"],
        Profile::Stripe => &["stripe-signature"],
        Profile::Github => &["x-hub-signature-256"],
        // Of the host, letters in upper case are the same as those in lower case.
        Profile::Rfc9421 => &[":method", ":path", "content-digest", "signature-input", "signature"],
    }
}

/// How one byte is changed.
#[derive(Clone, Copy, Debug)]
enum Change {
    Flip(u8),
    Set(u8),
    Insert(u8),
    Remove,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (0..8u8).prop_map(|bit| Change::Flip(1 << bit)),
        1 => any::<u8>().prop_map(Change::Set),
        1 => any::<u8>().prop_map(Change::Insert),
        1 => Just(Change::Remove),
    ]
}

fn apply(change: Change, place: usize, bytes: &mut Vec<u8>) {
    match change {
        Change::Insert(byte) => bytes.insert(place % (bytes.len() + 1), byte),
        _ if bytes.is_empty() => bytes.push(0),
        Change::Flip(mask) => {
            let place = place % bytes.len();
            bytes[place] ^= mask;
        }
        Change::Set(byte) => {
            let place = place % bytes.len();
            bytes[place] = byte;
        }
        Change::Remove => drop(bytes.remove(place % bytes.len())),
    }
}

#[test]
fn no_changed_request_is_accepted() {
    let keys = set([key("k1"), key("k2"), key("k3")]);
    let profiles = proptest::sample::select(Profile::ALL.to_vec());
    let bodies = proptest::collection::vec(any::<u8>(), 0..64);
    let config = ProptestConfig::with_cases(CHANGES);
    proptest!(config, |(profile in profiles, mut body in bodies, part in any::<usize>(),
                        place in any::<usize>(), change in change())| {
        let mut headers = signed(profile, &key("k1"), &body);
        let (before, body_before) = (headers.clone(), body.clone());
        let names = covered(profile);
        match names.get(part % (names.len() + 1)) {
            Some(name) => {
                headers = headers.changed(name, |value| {
                    let mut value = value.to_vec();
                    apply(change, place, &mut value);
                    value
                });
            }
            None => apply(change, place, &mut body),
        }
        if (&headers, &body) != (&before, &body_before) {
            let found = check(profile, &headers, &body, &keys);
            prop_assert!(found.is_err(), "{headers:?}");
        }
        prop_assert!(check(profile, &before, &body_before, &keys).is_ok());
    });
}

/// The signed text of Standard Webhooks can be cut in one way only.
#[test]
fn nothing_moves_between_the_id_and_the_body() {
    let (profile, keys) = (Profile::StandardWebhooks, set([key("k1")]));
    let later = (EPOCH_S + 1).to_string();
    let mut headers = signed(profile, &key("k1"), format!("{later}.{{}}").as_bytes());
    for (name, value) in
        [("webhook-id", format!("nonce-1.{EPOCH_S}")), ("webhook-timestamp", later)]
    {
        headers = headers.changed(name, |_| value.clone().into_bytes());
    }
    let rule = "must be 1 to 128 visible ASCII characters without a comma or a full stop";
    let refused = Err(Failure::Malformed { header: "webhook-id", rule });
    assert_eq!(check(profile, &headers, b"{}", &keys), refused);
    let nonce = Some("nonce.1");
    let request = Unsigned {
        method: METHOD,
        authority: AUTHORITY,
        path: PATH,
        body: BODY,
        timestamp: EPOCH_S,
        nonce,
    };
    assert!(sign(profile, &key("k1").id, &key("k1").secret, &request).is_err());
}

/// What a profile does not sign is documented, and stays so.
#[test]
fn what_is_not_signed_can_be_changed() {
    let keys = set([key("k1")]);
    for (profile, header, value) in [
        (Profile::Body, "x-timestamp", (EPOCH_S + 1).to_string()),
        (Profile::Body, ":path", "/other".to_owned()),
        (Profile::StandardWebhooks, ":method", "PUT".to_owned()),
        (Profile::Stripe, ":path", "/other".to_owned()),
        (Profile::Github, "x-github-delivery", "another".to_owned()),
    ] {
        let headers = signed(profile, &key("k1"), BODY);
        let headers = headers.changed(header, |_| value.clone().into_bytes());
        assert!(check(profile, &headers, BODY, &keys).is_ok(), "{profile} {header}");
    }
}
