use super::testing::Plain;
use super::*;
use crate::config::Answer;

const RULES: Identity = Identity {
    client_ip: Networks { ipv4_prefix: 32, ipv6_prefix: 64 },
    user: Vec::new(),
    session: Vec::new(),
    partner: Vec::new(),
    missing_user: Answer::Allow,
    keeps_commas: false,
    ignores_unusable_claims: false,
    shadow: false,
};

fn found(identified: Identified) -> Vec<(Kind, String)> {
    let text = |found: Found| (found.kind, String::from_utf8(found.id).unwrap());
    identified.found.into_iter().map(text).collect()
}

fn users(request: &Plain, sources: &[IdSource]) -> Vec<(Kind, String)> {
    let identified = identify(request, &Kind::User, sources, &RULES);
    assert_eq!(identified.fault, None);
    found(identified)
}

/// The ids, and what is wrong.
fn faulty(request: &Plain, sources: &[IdSource], rules: &Identity) -> (Vec<String>, Option<Fault>) {
    let identified = identify(request, &Kind::User, sources, rules);
    let fault = identified.fault;
    (found(identified).into_iter().map(|(_, id)| id).collect(), fault)
}

fn user(id: &str) -> (Kind, String) {
    (Kind::User, id.to_owned())
}

fn sources() -> [IdSource; 4] {
    let [claim, header, cookie] = [by_claim(), by_header(), by_cookie()];
    [claim, header, cookie, IdSource::ClientIp]
}

fn by_claim() -> IdSource {
    IdSource::JwtClaim { payload: "p".into(), claim: "sub".into() }
}

fn by_header() -> IdSource {
    IdSource::Header("x-user-id".into())
}

fn by_cookie() -> IdSource {
    IdSource::Cookie("uid".into())
}

#[test]
fn the_first_source_that_names_somebody_wins() {
    let mut request = Plain::get("/").from("192.0.2.1:4711");
    assert_eq!(users(&request, &sources()), [(Kind::ClientIp, "192.0.2.1".into())]);
    request = request.with("cookie", "a=1; uid=\"carol\"");
    assert_eq!(users(&request, &sources()), [user("carol")]);
    request = request.with("x-user-id", "bob");
    assert_eq!(users(&request, &sources()), [user("bob")]);
    request = request.claiming("sub", "alice");
    assert_eq!(users(&request, &sources()), [user("alice")]);
}

#[test]
fn everybody_whom_a_source_names_counts() {
    let request = Plain::get("/")
        .and("x-user-id", "")
        .and("x-user-id", "alice")
        .and("x-user-id", "bob")
        .and("x-user-id", "alice ");
    let both = [user("alice"), user("bob")];
    assert_eq!(users(&request, &sources()), both);
    let request = Plain::get("/").and("cookie", "a=1").and("cookie", "uid=alice; uid = bob");
    assert_eq!(users(&request, &sources()), both);
    let request = Plain::get("/").with("cookie", "uid=al%69ce");
    assert_eq!(users(&request, &sources()), [user("al%69ce"), user("alice")]);
}

#[test]
fn a_crowd_is_seen_up_to_a_bound_and_never_believed() {
    let crowd = |n| (0..n).fold(Plain::get("/"), |r, i| r.and("x-user-id", &format!("u{i}")));
    let seen = |n| {
        let (ids, fault) = faulty(&crowd(n), &sources(), &RULES);
        (ids.len(), fault)
    };
    assert_eq!(seen(4), (4, None));
    assert_eq!(seen(5), (5, Some(Fault::TooMany)));
    assert_eq!(seen(16), (16, Some(Fault::TooMany)));
    assert_eq!(seen(17), (16, Some(Fault::Crowd)));
    // Another reading of the same cookie makes no crowd.
    let cookies = "uid=%41; uid=%42; uid=%43; uid=%44";
    let request = Plain::get("/").with("cookie", cookies);
    assert_eq!(users(&request, &sources()).len(), 8);
    let five = Plain::get("/").with("cookie", &format!("{cookies}; uid=e"));
    assert_eq!(faulty(&five, &sources(), &RULES).1, Some(Fault::TooMany));
}

#[test]
fn an_empty_id_names_nobody_and_a_long_one_somebody() {
    let sources = [by_header()];
    assert_eq!(users(&Plain::get("/"), &sources), []);
    for nobody in ["", " ", "\t"] {
        assert_eq!(users(&Plain::get("/").with("x-user-id", nobody), &sources), []);
    }
    let long = "x".repeat(10_000);
    let request = Plain::get("/").with("x-user-id", &long);
    assert_eq!(users(&request, &sources), [user(&long)]);
}

#[test]
fn blanks_around_an_id_are_no_part_of_it() {
    for (header, value) in
        [("x-user-id", "alice \t"), ("x-user-id", " alice"), ("cookie", "uid=alice ;")]
    {
        assert_eq!(users(&Plain::get("/").with(header, value), &sources()), [user("alice")]);
    }
}

#[test]
fn a_header_that_can_be_read_in_two_ways_is_ambiguous() {
    let ambiguous = |value: &str, seen: &[&str]| {
        let request = Plain::get("/").with("x-user-id", value);
        let (ids, fault) = faulty(&request, &[by_header()], &RULES);
        assert_eq!(
            (ids.iter().map(String::as_str).collect::<Vec<_>>(), fault),
            (seen.to_vec(), Some(Fault::Ambiguous)),
            "{value:?}"
        );
    };
    ambiguous("alice, bob", &["alice, bob", "alice", "bob"]);
    ambiguous("alice,", &["alice,", "alice"]);
    ambiguous(",", &[","]);
    ambiguous("al\tice", &[]);
    ambiguous("alice\0", &[]);
    ambiguous("alice\u{a0}", &[]);
    for alias in ["x_user_id", "x-user_id"] {
        let request = Plain::get("/").with(alias, "alice");
        let (ids, fault) = faulty(&request, &[by_header()], &RULES);
        assert_eq!((ids, fault), (vec!["alice".to_owned()], Some(Fault::Ambiguous)));
    }
}

#[test]
fn commas_can_be_kept() {
    let rules = Identity { keeps_commas: true, ..RULES };
    let request = Plain::get("/").with("x-user-id", "cn=alice, dc=example");
    let whole = vec!["cn=alice, dc=example".to_owned()];
    assert_eq!(faulty(&request, &[by_header()], &rules), (whole.clone(), None));
    // Two lines may be joined to what is another id then.
    let request = Plain::get("/").and("x-user-id", "cn=alice").and("x-user-id", "dc=example");
    assert_eq!(faulty(&request, &[by_header()], &rules).1, Some(Fault::Ambiguous));
}

#[test]
fn an_unusable_claim_is_no_absence() {
    let request = Plain::get("/").with("x-user-id", "bob").with_claim("sub", Claim::Unusable);
    let (ids, fault) = faulty(&request, &sources(), &RULES);
    assert_eq!((ids, fault), (vec!["bob".to_owned()], Some(Fault::UnusableClaim)));
    let ignoring = Identity { ignores_unusable_claims: true, ..RULES };
    assert_eq!(faulty(&request, &sources(), &ignoring), (vec!["bob".to_owned()], None));
}

#[test]
fn a_limit_counts_every_value_of_its_header() {
    let kind = Kind::Header("x-api-key".into());
    let request =
        Plain::get("/").and("x-api-key", " k1 ").and("x-api-key", "k1").and("x_api_key", "k2, k3");
    let identified = in_limit_header(&request, &kind, "x-api-key");
    assert_eq!(identified.fault, None);
    assert_eq!(found(identified), [(kind.clone(), "k1".into()), (kind, "k2, k3".into())]);
}
