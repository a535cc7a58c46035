//! What a keys file may say, what a rotation makes of it, and that nothing else changes.

use std::collections::BTreeSet;
use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::time::Duration;

use model::name::Name;
use model::time::UnixMicros;
use signing::Profile;
use system::{Reading, is_outdated};
use tempfile::TempDir;

use super::*;

const SECRET: &str = "0123456789abcdef0123";

fn now() -> UnixMicros {
    UnixMicros::parse_rfc3339("2026-11-22T12:00:00Z").unwrap()
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn key(id: &str, more: &str) -> String {
    format!("[[keys]]\nid = \"{id}\"\npartner = \"acme\"\nsecret = \"{SECRET}\"\n{more}\n")
}

fn file(text: &str) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.toml");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    (directory, path)
}

fn rotation(partner: &Name, scope: Scope) -> Rotation<'_> {
    Rotation { partner, scope, grace: Duration::from_secs(3_600), first: false, profile: None }
}

fn apply(text: &str, scope: Scope) -> Result<Rotated, Violation> {
    let acme = name("acme");
    let fresh = Fresh { id: "new".into(), secret: "whsec_new-new-new-new".into() };
    rotation(&acme, scope).apply(text, &fresh, now())
}

fn error(text: &str) -> String {
    let (_directory, path) = file(text);
    Reading::of(&path, load).keys.unwrap_err().to_string()
}

#[test]
fn a_file_is_read_with_everything_it_can_say() {
    let (directory, path) = file("");
    let secret = directory.path().join("secret");
    std::fs::write(&secret, "from-a-file-0123456789\n").unwrap();
    std::fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
    let text = format!(
        "{}{}[[keys]]\nid = \"k3\"\npartner = \"beta\"\nsecret = {{ file = {secret:?} }}\n",
        key("k1", "not_before = \"2026-01-01T00:00:00Z\"\nnot_after = 2026-12-01T00:00:00Z"),
        key("k2", "integrations = [\"payments\"]\nalgorithms = [\"hmac-sha256\"]"),
    );
    std::fs::write(&path, text).unwrap();
    let Reading { stamps, keys } = Reading::of(&path, load);
    let keys = keys.unwrap();
    assert_eq!(keys.len(), 3);
    let secrets: Vec<_> = keys.iter().map(|key| key.secret.expose()).collect();
    assert_eq!(secrets, [SECRET.as_bytes(), SECRET.as_bytes(), b"from-a-file-0123456789"]);
    assert!(!format!("{keys:?}").contains("0123"), "{keys:?}");
    assert!(!is_outdated(&stamps));
    std::fs::write(&secret, "another-secret-0123456789\n").unwrap();
    assert!(is_outdated(&stamps), "the secret's file is watched too");
}

#[test]
fn every_broken_rule_is_named_with_its_entry_and_field() {
    let one = |more: &str| key("k1", more);
    let (twice, id) = (one("") + &one(""), one("").replace("k1", "k 1"));
    let (secret, partner) = (one("").replace(SECRET, "short"), one("").replace("acme", "Acme"));
    let cases = [
        (String::new(), "keys.file: "),
        (format!("keys = \"{SECRET}\""), "keys: invalid type: string, expected a sequence"),
        ("[[key]]".to_owned(), "key: unknown field `key`"),
        ("keys = 3".to_owned(), "keys: invalid type"),
        ("[[keys]]\nid = \"k1\"\nsecret =".to_owned(), "keys file line 3: "),
        ("[[keys]]\nid = \"k1\"\npartner = \"a\"".to_owned(), "keys[0]: missing field `secret`"),
        (one("notafter = 1"), "keys[0].notafter: unknown field"),
        (one("not_after = \"tomorrow\""), "keys[0].not_after: must be an RFC 3339 time"),
        (one("not_after = 2026-12-01"), "keys[0].not_after: must be an RFC 3339 time"),
        (one("not_before = 7"), "keys[0].not_before: must be an RFC 3339 time"),
        (
            one("not_before = 2026-12-01T00:00:00Z\nnot_after = 2026-11-01T00:00:00Z"),
            "keys[0].not_after: must not be before not_before",
        ),
        (one("integrations = []"), "keys[0].integrations: must be names"),
        (one("integrations = [\"A B\"]"), "keys[0].integrations: must be names"),
        (one("profile = \"aws\""), "keys[0].profile: must be one of portcullis, body, standard-"),
        (one("secret_encoding = \"hex\""), "keys[0].secret_encoding: unknown variant `hex`"),
        (one("secret_encoding = \"base64\""), "keys[0].secret_encoding: must be \"base64\" only"),
        (
            one("secret_encoding = \"base64\"\nprofile = \"standard-webhooks\""),
            "keys[0].secret: must be Base64 of at least 16 bytes",
        ),
        (one("algorithms = [\"md5\"]"), "keys[0].algorithms: must be [\"hmac-sha256\"]"),
        (twice, "keys[1].id: k1 is the id of another key"),
        (id, "keys[0].id: must be 1 to 64"),
        (secret, "keys[0].secret: must be 16 to 1024 bytes"),
        (partner, "keys[0].partner: must be 1 to 64"),
        (
            key("k1", "profile = \"github\"") + &key("k2", "profile = \"body\""),
            "keys: k1 and k2 have one secret, and another partner or profile each",
        ),
        (
            key("k1", "") + &key("k2", "").replace("acme", "beta"),
            "keys: k1 and k2 have one secret, and another partner or profile each",
        ),
        ((0..257).map(|n| key(&format!("k{n}"), "")).collect(), "keys: must be at most 256"),
        (
            (0..70).map(|n| key(&format!("k{n}"), "").replace(SECRET, &"x".repeat(1000))).collect(),
            "keys: must come to at most 65536 bytes",
        ),
    ];
    for (text, message) in cases {
        let error = error(&text);
        assert!(error.starts_with(message), "{message}: {error}");
        assert!(!error.contains(SECRET), "{error}");
    }
}

#[test]
fn a_file_that_others_can_read_is_refused() {
    let (_directory, path) = file(&key("k1", ""));
    for (mode, is_private) in [(0o600, true), (0o400, true), (0o640, true), (0o440, true)]
        .into_iter()
        .chain([(0o644, false), (0o604, false), (0o660, false), (0o602, false), (0o777, false)])
    {
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let keys = Reading::of(&path, load).keys;
        assert_eq!(keys.is_ok(), is_private, "{mode:o}");
        if let Err(error) = keys {
            let error = error.to_string();
            assert!(error.contains(&format!("has mode {mode:04o}: others must not")), "{error}");
            assert!(error.contains("chmod 0600"), "{error}");
        }
    }
}

#[test]
fn a_rotation_adds_a_key_and_ends_those_before_it_and_touches_nothing_else() {
    let text = format!(
        "# Keys of our partners.\n\n# The old one.\n{}not_after = \"2027-01-01T00:00:00Z\" # mail\n\
         \n{}{}\n{}\n{}# The end.\n",
        key("old", "").trim_end().to_owned() + "\n",
        key("older", "not_after = 2026-11-22T12:30:00Z"),
        key("expired", "not_after = 2026-11-01T00:00:00Z"),
        key("pending", "not_before = 2027-01-01T00:00:00Z"),
        key("other", "").replace("acme", "beta"),
    );
    let rotated = apply(&text, Scope::AsBefore).unwrap();
    let ended: Vec<_> = rotated.ended.iter().map(|e| (e.id.as_str(), e.not_after)).collect();
    let at = |text| UnixMicros::parse_rfc3339(text).unwrap();
    assert_eq!(
        ended,
        [("old", at("2026-11-22T13:00:00Z")), ("older", at("2026-11-22T12:30:00Z"))],
        "nothing ends later than it would have"
    );
    assert_eq!(rotated.pending, ["pending"]);
    let fresh =
        "\n[[keys]]\nid = \"new\"\npartner = \"acme\"\nsecret = \"whsec_new-new-new-new\"\n";
    let expected = text
        .replace("\"2027-01-01T00:00:00Z\" # mail", "\"2026-11-22T13:00:00Z\" # mail")
        .replace("\n# The end.\n", &format!("{fresh}\n# The end.\n"));
    assert_eq!(rotated.text, expected);
}

#[test]
fn the_new_key_is_for_what_the_ones_before_were_for() {
    let payments = key("a", "integrations = [\"payments\", \"refunds\"]");
    let rotated = apply(&payments, Scope::AsBefore).unwrap();
    let entries = parse(&rotated.text).unwrap();
    let names = BTreeSet::from(["payments", "refunds"].map(name));
    assert_eq!(entries[1].integrations, names);
    let mixed = payments + &key("b", "") + &key("c", "integrations = [\"reports\"]");
    let error = apply(&mixed, Scope::AsBefore).unwrap_err().to_string();
    assert!(error.starts_with("partner: acme's keys are for different integrations"), "{error}");
    for (scope, id) in [
        (Scope::Only(names), "a"),
        (Scope::All, "b"),
        (Scope::Only(BTreeSet::from([name("reports")])), "c"),
    ] {
        let rotated = apply(&mixed, scope).unwrap();
        assert_eq!(rotated.ended.len(), 1);
        assert_eq!(rotated.ended[0].id, id);
    }
}

#[test]
fn a_rotation_that_does_not_fit_the_file_is_refused() {
    let expired = key("a", "not_after = 2026-11-01T00:00:00Z");
    let cases = [
        (String::new(), "partner: no key of acme in the file; --first makes its first one"),
        (expired, "partner: acme has no valid key to follow: say which with --integrations"),
        (key("new", ""), "id: a key with the new id exists"),
        (
            format!("keys = [{{ id = \"a\", partner = \"acme\", secret = \"{SECRET}\" }}]"),
            "keys: must be written as [[keys]] tables to be edited",
        ),
        ((0..256).map(|n| key(&format!("k{n}"), "")).collect(), "keys: must be at most 256"),
    ];
    for (text, message) in cases {
        let error = apply(&text, Scope::AsBefore).unwrap_err().to_string();
        assert!(error.starts_with(message), "{message}: {error}");
    }
    let acme = name("acme");
    let first = Rotation { first: true, ..rotation(&acme, Scope::AsBefore) };
    let fresh = Fresh::generate(&acme, now()).unwrap();
    let error = first.apply(&key("a", ""), &fresh, now()).unwrap_err().to_string();
    assert_eq!(error, "partner: acme has keys already: leave out --first");
}

#[test]
fn new_keys_are_random_and_fit_every_profile() {
    let long = name(&"a".repeat(64));
    let (one, two) = (Fresh::generate(&long, now()).unwrap(), Fresh::generate(&long, now()));
    let two = two.unwrap();
    assert!(one.id.contains("-20261122-") && one.id.len() <= 64, "{}", one.id);
    assert_ne!(one.id, two.id);
    assert_ne!(one.secret.expose_secret(), two.secret.expose_secret());
    let secret = KeySecret::new(one.secret.expose_secret().as_bytes().to_vec()).unwrap();
    assert!(Profile::ALL.iter().all(|profile| secret.bytes_for(*profile).is_some()));
    assert_eq!(secret.bytes_for(Profile::StandardWebhooks).unwrap().len(), 32);
    assert!(!format!("{one:?}").contains(one.secret.expose_secret()));
}

#[test]
fn the_file_is_replaced_as_a_whole_and_keeps_its_owner_and_its_link() {
    let (directory, path) = file(&key("a", ""));
    std::fs::set_permissions(&path, Permissions::from_mode(0o440)).unwrap();
    let link = directory.path().join("link.toml");
    symlink(&path, &link).unwrap();
    let before = std::fs::metadata(&path).unwrap();
    let acme = name("acme");
    let fresh = Fresh::generate(&acme, now()).unwrap();
    rotate(&link, &rotation(&acme, Scope::AsBefore), &fresh, now()).unwrap();
    let after = std::fs::metadata(&path).unwrap();
    assert_ne!(before.ino(), after.ino());
    assert_eq!((before.uid(), before.gid()), (after.uid(), after.gid()));
    assert_eq!(after.mode() & 0o777, 0o640);
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(list(&path).unwrap().len(), 2);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2, "no draft is left");
}

#[test]
fn two_rotations_do_not_overwrite_each_other() {
    let (directory, path) = file(&key("a", ""));
    let acme = name("acme");
    let fresh = Fresh::generate(&acme, now()).unwrap();
    let draft = Draft::begin(&path).unwrap();
    let error = rotate(&path, &rotation(&acme, Scope::AsBefore), &fresh, now()).unwrap_err();
    assert!(error.to_string().contains("keys.toml.new exists: another rotation"), "{error}");
    drop(draft);
    let broken = rotate(&path, &rotation(&name("beta"), Scope::AsBefore), &fresh, now());
    assert!(broken.is_err());
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "no draft is left");
    assert!(rotate(&path, &rotation(&acme, Scope::AsBefore), &fresh, now()).is_ok());
}

#[test]
fn the_first_key_makes_the_file_with_private_permissions() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.toml");
    let acme = name("acme");
    let fresh = Fresh::generate(&acme, now()).unwrap();
    let first = Rotation { first: true, ..rotation(&acme, Scope::AsBefore) };
    rotate(&path, &first, &fresh, now()).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert_eq!(Reading::of(&path, load).keys.unwrap().len(), 1);
}

#[test]
fn a_key_says_its_profile_and_a_secret_may_be_base64() {
    let base64 = "MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1u";
    let hooks = "secret_encoding = \"base64\"\nprofile = \"standard-webhooks\"";
    let text = key("k1", "profile = \"github\"") + &key("k2", hooks).replace(SECRET, base64);
    let other = key("k3", "").replace(SECRET, "another-0123456789");
    let (_directory, path) = file(&(text + &other));
    let keys = Reading::of(&path, load).keys.unwrap();
    let profiles: Vec<_> = keys.iter().map(|key| key.profile).collect();
    assert_eq!(profiles, [Some(Profile::Github), Some(Profile::StandardWebhooks), None]);
    let secret = &keys.iter().nth(1).unwrap().secret;
    let bytes = secret.bytes_for(Profile::StandardWebhooks).unwrap();
    assert_eq!(&*bytes, b"0123456789abcdefghijklmn");
    let wire = keys.to_wire(1);
    let said: Vec<_> = wire.keys.iter().map(|key| key.profile.as_str()).collect();
    assert_eq!(said, ["github", "standard-webhooks", ""]);
}

#[test]
fn a_rotation_keeps_to_one_profile() {
    let github = key("a", "profile = \"github\"");
    let rotated = apply(&github, Scope::AsBefore).unwrap();
    assert_eq!(parse(&rotated.text).unwrap()[1].profile, Some(Profile::Github));
    let mixed = github + &key("b", "profile = \"stripe\"") + &key("c", "");
    let error = apply(&mixed, Scope::AsBefore).unwrap_err().to_string();
    let message = "partner: acme's keys are for different profiles: say which with --profile";
    assert_eq!(error, message);
    let acme = name("acme");
    let fresh = Fresh::generate(&acme, now()).unwrap();
    let profile = Some(Profile::Stripe);
    let stripe = Rotation { profile, ..rotation(&acme, Scope::AsBefore) };
    let rotated = stripe.apply(&mixed, &fresh, now()).unwrap();
    let ended: Vec<_> = rotated.ended.iter().map(|ended| ended.id.as_str()).collect();
    assert_eq!(ended, ["b"]);
    assert_eq!(parse(&rotated.text).unwrap()[3].profile, profile);
}

#[test]
fn keys_that_compete_with_too_many_are_named() {
    let crowded = |text: String| {
        let (_directory, path) = file(&text);
        let keys = Reading::of(&path, load).keys.unwrap();
        crowded(&keys, now()).into_iter().collect::<Vec<_>>().join(" ")
    };
    let github = |id: &str, more: &str| key(id, &format!("profile = \"github\"\n{more}"));
    let two = github("a", "") + &github("b", "");
    assert_eq!(crowded(two.clone()), "");
    assert_eq!(crowded(two.clone() + &github("c", "")), "a b c");
    let stripe = key("c", "profile = \"stripe\"").replace(SECRET, "another-0123456789");
    assert_eq!(crowded(two.clone() + &stripe), "", "another profile");
    assert_eq!(
        crowded(
            two.clone()
                + &github("c", "").replace("acme", "beta").replace(SECRET, "another-0123456789")
        ),
        "",
        "another partner"
    );
    assert_eq!(
        crowded(two.clone() + &github("c", "not_after = 2026-01-01T00:00:00Z")),
        "",
        "ended"
    );
    let later = github("c", "not_before = 2027-01-01T00:00:00Z");
    assert_eq!(crowded(two.clone() + &later), "a b c", "once it begins");
    let scoped =
        |id: &str, integration: &str| github(id, &format!("integrations = [\"{integration}\"]"));
    assert_eq!(crowded(scoped("a", "x") + &scoped("b", "x") + &scoped("c", "y")), "");
    assert_eq!(crowded(scoped("a", "x") + &scoped("b", "x") + &scoped("c", "x")), "a b c");
    let named = |id: &str| key(id, "profile = \"portcullis\"");
    assert_eq!(crowded(named("a") + &named("b") + &named("c")), "", "requests name their key");
}
