use std::time::Duration;

use events::EventErrorKind as Kind;
use events::signature::mac;
use serde_json::{Value, json};
use signing::key::Secret;
use system::{Stamps, parse_toml};

use super::*;

const SECRET: &str = "0123456789abcdef";
const NOW: &str = "2026-11-22T12:00:00Z";

fn time(text: &str) -> UnixMicros {
    UnixMicros::parse_rfc3339(text).unwrap()
}

/// Two kinds, each with a rule of its own.
static READ: SourceKind =
    SourceKind { name: "redis", senders: Senders::Writers, built_in: false, reports: true };
static CALLED: SourceKind =
    SourceKind { name: "embedded", senders: Senders::Callers, built_in: true, reports: false };

/// An intake with signatures of this mode on Redis, and the keys `good` (of `risk`), `any`, and
/// `old`, which ended an hour ago.
fn intake(redis: Signatures, rules: Events) -> Intake {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys");
    let key =
        |id: &str, more: &str| format!("[[keys]]\nid = \"{id}\"\nsecret = \"{SECRET}\"\n{more}\n");
    let content = key("good", "publishers = [\"risk\"]")
        + &key("any", "")
        + &key("old", "not_after = \"2026-11-22T11:00:00Z\"");
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let intake = Intake::new(Events {
        signatures: vec![(&READ, redis), (&CALLED, Signatures::Off)],
        ..rules
    });
    intake.set_keys(load_keys(&path, &mut Stamps::new()).unwrap());
    intake
}

fn event() -> Value {
    json!({
        "event_id": "e1", "event_type": "t", "schema_version": "1.0",
        "occurred_at": "2026-11-22T11:59:00Z", "key": { "user_id": "alice" },
        "payload": { "action": "block", "reason": "fraud" }, "publisher": "risk",
    })
}

fn signed(event: &Value, key: &str) -> Value {
    let document = Document::read(event.to_string().as_bytes()).unwrap();
    let secret = Secret::new(SECRET.into()).unwrap();
    let mac = mac(&secret, &canonical(&document).unwrap()).unwrap();
    with(event, "sig", json!({ "algo": "hmac-sha256", "kid": key, "ts": 1, "mac": mac }))
}

fn with(event: &Value, member: &str, value: Value) -> Value {
    let mut event = event.clone();
    event.as_object_mut().unwrap().insert(member.to_owned(), value);
    event
}

fn now() -> Clock {
    Clock::own(time(NOW))
}

fn from(path: Path) -> Origin {
    Origin::new(&READ, path)
}

fn kind(intake: &Intake, path: Path, event: &Value) -> Result<Option<Outcome>, Kind> {
    let checked = intake.check(from(path), Stored::default(), event.to_string().as_bytes(), now());
    checked.map(|checked| checked.signature).map_err(|rejected| rejected.error.kind)
}

#[test]
fn a_required_signature_has_to_be_there_and_right() {
    let intake = intake(Signatures::Required, Events::default());
    let check = |event: &Value| kind(&intake, Path::Live, event);
    let good = signed(&event(), "good");
    assert_eq!(check(&good), Ok(Some(Outcome::Verified)));
    assert_eq!(check(&event()), Err(Kind::SignatureMissing));
    assert_eq!(check(&with(&good, "event_type", "u".into())), Err(Kind::BadSignature));
    assert_eq!(check(&with(&good, "added", 1.into())), Err(Kind::BadSignature));
    assert_eq!(check(&signed(&event(), "nobody")), Err(Kind::UnknownKey));
    assert_eq!(check(&signed(&event(), "old")), Err(Kind::ExpiredKey));
    let other = with(&event(), "publisher", "other".into());
    assert_eq!(check(&signed(&other, "good")), Err(Kind::PublisherNotAllowed));
    assert_eq!(check(&signed(&other, "any")), Ok(Some(Outcome::Verified)));
    let huge = with(&event(), "sequence", u64::MAX.into());
    let huge = with(&huge, "sig", good["sig"].clone());
    assert_eq!(check(&huge), Err(Kind::Invalid));
}

#[test]
fn an_optional_signature_may_be_absent_but_not_wrong() {
    let intake = intake(Signatures::Optional, Events::default());
    let check = |event: &Value| kind(&intake, Path::Live, event);
    assert_eq!(check(&event()), Ok(Some(Outcome::Missing)));
    let good = signed(&event(), "good");
    assert_eq!(check(&good), Ok(Some(Outcome::Verified)));
    assert_eq!(check(&with(&good, "event_type", "u".into())), Err(Kind::BadSignature));
}

#[test]
fn without_signatures_one_is_not_looked_at_and_each_source_has_its_mode() {
    let wrong = with(&signed(&event(), "good"), "event_type", "u".into());
    let off = intake(Signatures::Off, Events::default());
    assert_eq!(kind(&off, Path::Live, &wrong), Ok(None));
    let required = intake(Signatures::Required, Events::default());
    let bytes = event().to_string();
    let checked =
        required.check(Origin::live(&CALLED), Stored::default(), bytes.as_bytes(), now()).unwrap();
    assert_eq!((checked.signature, checked.json), (None, bytes.into_bytes()));
}

#[test]
fn a_key_that_has_expired_since_is_no_obstacle_to_what_was_written_before() {
    let intake = intake(Signatures::Required, Events::default());
    let before = time("2026-11-22T10:59:59Z");
    let event = with(&event(), "occurred_at", "2026-11-22T10:00:00Z".into());
    let event = signed(&event, "old");
    let written = Path::Written(before);
    assert_eq!(kind(&intake, written, &event), Ok(Some(Outcome::Verified)));
    let forged = with(&event, "event_type", "u".into());
    assert_eq!(kind(&intake, written, &forged), Err(Kind::BadSignature));
    assert_eq!(kind(&intake, Path::Live, &event), Err(Kind::ExpiredKey));
    let after = Path::Written(time("2026-11-22T11:00:01Z"));
    assert_eq!(kind(&intake, after, &event), Err(Kind::ExpiredKey));
}

#[test]
fn what_is_kept_already_stays_in_force_whatever_has_become_of_its_key() {
    let intake = intake(Signatures::Required, Events::default());
    let event = signed(&event(), "nobody");
    assert_eq!(kind(&intake, Path::Live, &event), Err(Kind::UnknownKey));
    assert_eq!(kind(&intake, Path::Kept(time(NOW)), &event), Ok(None));
}

#[test]
fn age_counts_from_when_an_event_was_first_heard() {
    let rules = Events { max_age: Duration::from_secs(3600), ..Events::default() };
    let intake = intake(Signatures::Off, rules);
    let old = with(&event(), "occurred_at", "2026-11-22T10:00:00Z".into());
    assert_eq!(kind(&intake, Path::Live, &old), Err(Kind::TooOld));
    assert_eq!(kind(&intake, Path::Written(time("2026-11-22T11:00:00Z")), &old), Ok(None));
    let late = time("2026-11-22T11:00:01Z");
    assert_eq!(kind(&intake, Path::Written(late), &old), Err(Kind::TooOld));
    assert_eq!(kind(&intake, Path::Kept(late), &old), Ok(None));
    assert_eq!(kind(&intake, Path::Replayed, &old), Ok(None));
}

#[test]
fn required_and_blocked_fields_are_named_but_not_their_values() {
    let raw = "keys_file = \"/k\"\nrequired_fields = [\"payload.reason\", \"publisher\"]\n\
               blocked_fields = [\"email\", \"payload.details.name\"]";
    let rules = parse_toml::<crate::config::RawEvents>(raw, "events").unwrap().check().unwrap();
    let intake = intake(Signatures::Off, rules);
    let check = |event: &Value, path| {
        let checked =
            intake.check(from(path), Stored::default(), event.to_string().as_bytes(), now());
        checked.map(|_| ()).map_err(|rejected| (rejected.error.kind, rejected.error.to_string()))
    };
    assert_eq!(check(&event(), Path::Live), Ok(()));
    let null = with(&event(), "publisher", Value::Null);
    let error = check(&null, Path::Live).unwrap_err().1;
    assert_eq!(error, "publisher: is required by events.required_fields");
    let blocked = |member: &str, value: Value| check(&with(&event(), member, value), Path::Live);
    let rule = "must not be in an event (events.blocked_fields)";
    for (member, value) in [
        ("Email", json!("a@b.example")),
        ("more", json!([[{ "x": { "email": "a@b.example" } }]])),
        ("key", json!({ "user_id": "u", "email": null })),
    ] {
        let error = (Kind::BlockedField, format!("email: {rule}"));
        assert_eq!(blocked(member, value), Err(error), "{member}");
    }
    assert_eq!(blocked("details", json!({ "name": "x" })), Ok(()));
    let payload = json!({ "action": "block", "reason": "r", "details": [{ "Name": "x" }] });
    let error = (Kind::BlockedField, format!("payload.details.name: {rule}"));
    assert_eq!(blocked("payload", payload.clone()), Err(error));
    // What is in force already is not dropped because the rules have changed since.
    let kept = with(&event(), "payload", payload);
    assert_eq!(check(&kept, Path::Kept(time(NOW))), Ok(()));
}

#[test]
fn protobuf_is_the_same_event_with_the_same_signature() {
    let intake = intake(Signatures::Required, Events::default());
    let json = signed(&event(), "good");
    let document = Document::read(json.to_string().as_bytes()).unwrap();
    let bytes = protobuf::write(&document).unwrap();
    let checked = intake.check(from(Path::Live), Stored::default(), &bytes, now()).unwrap();
    assert_eq!(checked.signature, Some(Outcome::Verified));
    let again = intake.check(from(Path::Live), Stored::default(), &checked.json, now()).unwrap();
    assert_eq!(again.event, checked.event);
}

#[test]
fn what_is_refused_has_its_id_if_that_can_be_read() {
    let intake = intake(Signatures::Required, Events::default());
    let id = |bytes: &[u8]| {
        let rejected = intake.check(from(Path::Live), Stored::default(), bytes, now()).unwrap_err();
        rejected.event_id.map(|id| id.to_string())
    };
    assert_eq!(id(event().to_string().as_bytes()).as_deref(), Some("e1"));
    assert_eq!(id(b"{\"event_id\": \"e2\"}").as_deref(), Some("e2"));
    assert_eq!(id(b"{\"event_id\": \"e 2\"}"), None);
    assert_eq!(id(b"{"), None);
}
