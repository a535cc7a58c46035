//! Who is let in, and what for.

use std::time::Duration;

use model::bucket::Rate;
use model::time::UnixMicros;
use proptest::prelude::*;

use super::*;

const NOW: UnixMicros = UnixMicros(1_000_000);

fn grant(name: &str, role: Role) -> Grant {
    let (max, per_second) = RATE_DEFAULT;
    let rate = Rate::new(max, per_second, Duration::from_secs(1)).unwrap();
    Grant { name: name.to_owned(), role, rate, authority: Authority::default() }
}

fn denied(access: &Access, authorizations: &[&str], peer: Option<&Peer>) -> Denied {
    let headers = authorizations.iter().map(|text| text.as_bytes());
    access.identify(headers, peer, NOW).unwrap_err()
}

fn caller(access: &Access, authorizations: &[&str], peer: Option<&Peer>) -> Caller {
    let headers = authorizations.iter().map(|text| text.as_bytes());
    access.identify(headers, peer, NOW).unwrap().caller.clone()
}

#[test]
fn the_table_is_what_the_roles_are_for() {
    use Permission::*;
    for permission in Permission::ALL {
        assert!(Role::Operator.may(permission), "an operator may do everything");
        assert!(!(Role::Auditor.may(permission) && permission.writes()), "{permission:?}");
    }
    let publishers: Vec<_> =
        Permission::ALL.into_iter().filter(|it| Role::Publisher.may(*it)).collect();
    assert_eq!(publishers, [Publish, ReadStatus]);
    let reads = [ReadStatus, ReadMetrics, ReadSubjects, ReadDeadLetters, ReadAudit];
    assert!(reads.into_iter().all(|permission| Role::Auditor.may(permission)));
    assert_eq!(Publish.roles_in_words(), "publisher or operator");
    assert_eq!(EraseSubjects.roles_in_words(), "operator");
    assert_eq!(ReadStatus.roles_in_words(), "publisher, operator or auditor");
}

#[test]
fn roles_are_spelled_as_the_configuration_spells_them() {
    for role in Role::ALL {
        assert_eq!(Role::parse(role.as_str()), Some(role));
        let json = format!("\"{role}\"");
        assert_eq!(serde_json::from_str::<Role>(&json).unwrap(), role);
    }
    assert_eq!(Role::parse("Operator"), None);
}

#[test]
fn a_token_is_let_in_by_its_hash_and_nothing_else_is() {
    let tokens: Vec<_> = (0..20).map(|_| Token::generate().unwrap()).collect();
    let mut access = Access::default();
    for (index, token) in tokens.iter().enumerate() {
        let name = format!("caller-{index}");
        access.add_token(grant(&name, Role::Publisher), token.digest(), None).unwrap();
    }
    for (index, token) in tokens.iter().enumerate() {
        for scheme in ["Bearer", "bearer", "BEARER"] {
            let found = caller(&access, &[&format!("{scheme} {}", token.expose())], None);
            assert_eq!(*found.name, format!("caller-{index}"));
        }
    }
    let token = tokens.first().unwrap().expose();
    let bearer = format!("Bearer {token}");
    let unknown = format!("Bearer {}", Token::generate().unwrap().expose());
    let digest = format!("Bearer {}", tokens.first().unwrap().digest());
    let cases = [
        (vec![], Denied::Missing),
        (vec![""], Denied::Malformed),
        (vec![token], Denied::Malformed),
        (vec!["Basic b3A6cHc="], Denied::Malformed),
        (vec!["Bearer"], Denied::Malformed),
        (vec![bearer.as_str(), bearer.as_str()], Denied::Malformed),
        (vec!["Bearer "], Denied::Unknown),
        (vec!["Bearer x"], Denied::Unknown),
        (vec![unknown.as_str()], Denied::Unknown),
        (vec![digest.as_str()], Denied::Unknown),
    ];
    for (headers, cause) in cases {
        assert_eq!(denied(&access, &headers, None), cause, "{headers:?}");
    }
    let shown = format!("{access:?} {:?} {:?}", tokens.first(), tokens.first().unwrap().digest());
    assert!(!shown.contains(token) && !shown.contains("sha256:"), "{shown}");
}

#[test]
fn a_token_is_valid_up_to_its_end() {
    let mut access = Access::default();
    let ends = [(NOW, None), (UnixMicros(NOW.0 - 1), Some(Denied::Expired))];
    for (index, (until, cause)) in ends.into_iter().enumerate() {
        let token = Token::generate().unwrap();
        let grant = grant(&format!("caller-{index}"), Role::Auditor);
        access.add_token(grant, token.digest(), Some(until)).unwrap();
        let header = format!("Bearer {}", token.expose());
        let headers = || std::iter::once(header.as_bytes());
        assert_eq!(access.identify(headers(), None, NOW).err(), cause);
    }
}

#[test]
fn a_certificate_counts_by_any_of_its_names_unless_a_token_is_shown() {
    let mut access = Access::default();
    access.add_client(grant("spiffe://example/risk", Role::Publisher)).unwrap();
    access.add_client(grant("ops.example", Role::Operator)).unwrap();
    let token = Token::generate().unwrap();
    access.add_token(grant("scraper", Role::Auditor), token.digest(), None).unwrap();
    let peer = |names: &[&str], until| {
        Peer::new(names.iter().map(|name| (*name).to_owned()).collect(), until)
    };
    let risk = peer(&["x", "spiffe://example/risk"], NOW);
    assert_eq!(caller(&access, &[], Some(&risk)).role, Role::Publisher);
    let both = peer(&["ops.example", "spiffe://example/risk"], NOW);
    assert_eq!(caller(&access, &[], Some(&both)).role, Role::Publisher, "the first configured");
    let bearer = format!("Bearer {}", token.expose());
    assert_eq!(caller(&access, &[&bearer], Some(&risk)).role, Role::Auditor);
    assert_eq!(denied(&access, &["Bearer x"], Some(&risk)), Denied::Unknown);
    for names in [&[][..], &["OPS.example"], &["ops.example.evil"], &["scraper"]] {
        let cause = denied(&access, &[], Some(&peer(names, NOW)));
        assert_eq!(cause, Denied::UnknownCertificate, "{names:?}");
    }
    let late = peer(&["ops.example"], UnixMicros(NOW.0 - 1));
    assert_eq!(denied(&access, &[], Some(&late)), Denied::ExpiredCertificate);
}

#[test]
fn a_name_stands_for_one_role_and_one_rate() {
    let mut access = Access::default();
    let digest = || Token::generate().unwrap().digest();
    let first = digest();
    access.add_token(grant("risk", Role::Publisher), first, None).unwrap();
    access.add_token(grant("risk", Role::Publisher), digest(), None).unwrap();
    access.add_client(grant("risk", Role::Publisher)).unwrap();
    let (field, _) = access.add_token(grant("risk", Role::Operator), digest(), None).unwrap_err();
    assert_eq!(field, "role");
    let rate = Rate::new(1, 1, Duration::from_secs(1)).unwrap();
    let slow = Grant { rate, ..grant("risk", Role::Publisher) };
    assert_eq!(access.add_token(slow, digest(), None).unwrap_err().0, "rate");
    assert_eq!(access.add_token(grant("other", Role::Auditor), first, None).unwrap_err().0, "hash");
    assert_eq!(access.add_client(grant("risk", Role::Publisher)).unwrap_err().0, "name");
    for index in 2..CALLERS_MAX {
        let name = format!("caller-{index}");
        access.add_token(grant(&name, Role::Auditor), digest(), None).unwrap();
    }
    let (field, rule) = access.add_token(grant("more", Role::Auditor), digest(), None).unwrap_err();
    assert_eq!((field, rule.as_str()), ("hash", "there may be at most 1024 tokens"));
}

#[test]
fn publishing_and_reading_do_not_use_up_each_others_rate() {
    let rate = Rate::new(2, 1, Duration::from_secs(1)).unwrap();
    let pace = Pace::new(rate);
    let take = |lane, ms| pace.take(lane, Duration::from_millis(ms));
    let publishing = Lane::of(Needs::Permission(Permission::Publish));
    let reading = Lane::of(Needs::Permission(Permission::ReadStatus));
    assert_eq!((publishing, reading), (Lane::Publishing, Lane::Other));
    assert!((0..2).all(|_| take(reading, 0).is_ok()));
    assert_eq!(take(reading, 0), Err(Duration::from_secs(1)));
    assert!((0..2).all(|_| take(publishing, 0).is_ok()), "reads took nothing of it");
    assert_eq!(take(publishing, 500), Err(Duration::from_millis(500)));
    assert!(take(publishing, 1_000).is_ok() && take(reading, 1_000).is_ok());
}

proptest! {
    #[test]
    fn a_digest_is_found_where_it_stands(count in 0_usize..40, at in 0_usize..40) {
        let digest = |number: usize| Digest::parse(&format!("sha256:{number:064x}")).unwrap();
        let all: Vec<_> = (0..count).map(digest).collect();
        let found = digest(at).position(all.iter());
        prop_assert_eq!(found, (at < count).then_some(at));
    }

    #[test]
    fn digests_are_read_as_they_are_written(text in "(sha256:)?[0-9a-fA-F+]{62,66}") {
        match Digest::parse(&text) {
            Some(digest) => prop_assert_eq!(digest.to_string(), text.to_ascii_lowercase()
                .replace("SHA256", "sha256")),
            None => prop_assert!(text.len() != 71 || text.contains('+')),
        }
    }

    #[test]
    fn no_header_is_a_token_by_chance(text in "\\PC{0,60}") {
        let mut access = Access::default();
        let token = Token::generate().unwrap();
        access.add_token(grant("one", Role::Operator), token.digest(), None).unwrap();
        prop_assert!(access.identify(std::iter::once(text.as_bytes()), None, NOW).is_err());
        let text = format!("Bearer pct_{text}");
        prop_assert!(access.identify(std::iter::once(text.as_bytes()), None, NOW).is_err());
    }
}
