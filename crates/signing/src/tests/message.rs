//! Signatures of RFC 9421: what is accepted, and which of several counts.

mod oracle;
mod spelling;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::*;
use crate::components::MessageRules;

/// A request that its signer describes freely: each line of the base by itself, and the parameters as they stand.
struct Sent {
    headers: Vec<(String, String)>,
    labels: Vec<(String, String, String)>,
}

impl Sent {
    fn new(lines: &[(&str, &str)]) -> Self {
        let headers = lines.iter().map(|(name, value)| (String::from(*name), String::from(*value)));
        Self { headers: headers.collect(), labels: Vec::new() }
    }

    /// `POST /pay?id=1` with [`BODY`] and its digest.
    fn usual() -> Self {
        let digest = digest(BODY);
        Self::new(&[
            (":method", METHOD),
            (":authority", AUTHORITY),
            (":path", PATH),
            ("content-digest", &digest),
        ])
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a signature by this key of these lines, which are not compared with the headers.
    fn signed(mut self, label: &str, key: &Key, lines: &[(&str, &str)], parameters: &str) -> Self {
        let names: Vec<_> = lines.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        let input = format!("({}){parameters}", names.join(" "));
        let base: String =
            lines.iter().map(|(name, value)| format!("\"{name}\": {value}\n")).collect();
        let base = format!("{base}\"@signature-params\": {input}");
        let mac = mac(&key.secret.bytes_for(Profile::Rfc9421).unwrap(), base.as_bytes());
        self.labels.push((label.to_owned(), input, format!(":{}:", STANDARD.encode(mac))));
        self
    }

    fn headers(&self) -> Headers {
        let all = |of: fn(&(String, String, String)) -> &String| {
            let members = self.labels.iter().map(|label| format!("{}={}", label.0, of(label)));
            members.collect::<Vec<_>>().join(", ")
        };
        let signature = [
            ("signature-input".to_owned(), all(|label| &label.1)),
            ("signature".to_owned(), all(|label| &label.2)),
        ];
        self.headers.iter().cloned().chain(signature).collect()
    }

    fn check(&self, rules: MessageRules, body: &[u8]) -> Result<String, Failure> {
        let keys = set([key("k1"), key("k2"), Key { not_after: Some(at(-1)), ..key("old") }]);
        let message = Arc::new(rules);
        let signature = SignatureRules { message, ..SignatureRules::of(Profile::Rfc9421) };
        verify(&signature, &self.headers(), body, &keys, at(0))
            .map(|found| found.key_id.to_string())
    }

    fn comes_out(&self) -> Result<String, Failure> {
        self.check(MessageRules::default(), BODY)
    }
}

fn mac(secret: &[u8], message: &[u8]) -> [u8; 32] {
    use hmac::{Hmac, KeyInit, Mac};
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
    mac.update(message);
    mac.finalize().into_bytes().into()
}

fn digest(body: &[u8]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(body)))
}

const COVERED: [(&str, &str); 4] =
    [("@method", METHOD), ("@authority", AUTHORITY), ("@path", "/pay"), ("@query", "?id=1")];

fn covered(digest: &str) -> Vec<(&str, &str)> {
    COVERED.into_iter().chain([("content-digest", digest)]).collect()
}

fn by(key: &str) -> String {
    format!(";created={EPOCH_S};keyid=\"{key}\"")
}

fn rule(found: Result<String, Failure>) -> (&'static str, &'static str) {
    match found {
        Err(Failure::Malformed { header, rule }) => (header, rule),
        other => panic!("{other:?}"),
    }
}

/// RFC 9421, appendix B.2.5.
#[test]
fn the_vector_of_the_rfc_is_verified() {
    const SHARED: &str =
        "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==";
    const CREATED: u64 = 1_618_884_473;
    let secret = Secret::from_base64(SHARED.as_bytes()).unwrap();
    let keys = set([Key { secret, ..key("test-shared-secret") }]);
    let lines = [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "example.com"),
        (":path", "/foo?param=Value&Pet=dog"),
        ("date", "Tue, 20 Apr 2021 02:07:55 GMT"),
        ("content-type", "application/json"),
        (
            "signature-input",
            "sig-b25=(\"date\" \"@authority\" \"content-type\");created=1618884473\
             ;keyid=\"test-shared-secret\"",
        ),
        ("signature", "sig-b25=:pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=:"),
    ];
    let headers: Headers = lines.into_iter().collect();
    let rules = |components: &[&str]| SignatureRules {
        message: Arc::new(MessageRules::new(components, None).unwrap()),
        ..SignatureRules::of(Profile::Rfc9421)
    };
    let now = UnixMicros(CREATED * 1_000_000);
    let vectors = rules(&["date", "@authority", "content-type"]);
    let found = verify(&vectors, &headers, b"", &keys, now).unwrap();
    assert_eq!(found.key_id.as_str(), "test-shared-secret");
    // Its body is not covered, and neither is its path: nobody has to believe them.
    let found = |rules: &SignatureRules, body: &[u8]| verify(rules, &headers, body, &keys, now);
    let (header, not_covered) =
        ("signature-input", "must cover content-digest, since there is a body");
    let refused = Err(Failure::Malformed { header, rule: not_covered });
    assert_eq!(found(&vectors, b"{\"hello\": \"world\"}"), refused);
    assert!(found(&SignatureRules::of(Profile::Rfc9421), b"").is_err());
    let changed = headers.changed("date", |_| b"Tue, 20 Apr 2021 02:07:56 GMT".to_vec());
    assert_eq!(verify(&vectors, &changed, b"", &keys, now), Err(Failure::Mismatch));
}

#[test]
fn of_several_signatures_that_of_a_usable_key_with_the_wanted_tag_counts() {
    let digest = digest(BODY);
    let lines = covered(&digest);
    let two = |first: &str, second: &str| {
        let sent = Sent::usual().signed("a", &key("k1"), &lines, first);
        sent.signed("b", &key("k2"), &lines, second)
    };
    let is = |sent: &Sent, id: &str| assert_eq!(sent.comes_out().as_deref(), Ok(id));
    is(&two(&by("k1"), &by("k2")), "k1");
    is(&two(&by("nobody"), &by("k2")), "k2");
    is(&two(&by("old"), &by("k2")), "k2");
    is(&two(&format!("{};alg=\"ed25519\"", by("k1")), &by("k2")), "k2");
    is(&two(";created=1", &by("k2")), "k2");
    // Nothing is tried after the one that counts.
    let forged = Sent::usual().signed("a", &key("k2"), &lines, &by("k1"));
    let forged = forged.signed("b", &key("k2"), &lines, &by("k2"));
    assert_eq!(forged.comes_out(), Err(Failure::Mismatch));

    let tagged = |tag| MessageRules::new(&["@method"], Some(tag)).unwrap();
    let sent = two(&format!("{};tag=\"x\"", by("k1")), &format!("{};tag=\"us\"", by("k2")));
    assert_eq!(sent.check(tagged("us"), BODY).as_deref(), Ok("k2"));
    assert_eq!(sent.check(tagged("x"), BODY).as_deref(), Ok("k1"));
    let missing = Err(Failure::Missing { header: "signature-input" });
    assert_eq!(sent.check(tagged("others"), BODY), missing);
    assert_eq!(two(&by("k1"), &by("k2")).check(tagged("us"), BODY), missing, "without a tag");
    // What is for others may be as they like it.
    let odd = ";created=1.5;x=?0;y=@1;z=%\"%c3%bc\";keyid=k";
    let sent = Sent::usual().signed("a", &key("k1"), &[("date\";sf;x=\"", "x")], odd);
    is(&sent.signed("b", &key("k2"), &lines, &by("k2")), "k2");
}

#[test]
fn two_signatures_of_one_request_are_one_request() {
    let digest = digest(BODY);
    let lines = covered(&digest);
    let nonce = |key_id: &str, more: &str| {
        let parameters = format!("{}{more}", by(key_id));
        let sent = Sent::usual().signed("a", &key(key_id), &lines, &parameters);
        let signature = SignatureRules::of(Profile::Rfc9421);
        let keys = set([key("k1"), key("k2")]);
        verify(&signature, &sent.headers(), BODY, &keys, at(0)).unwrap().nonce
    };
    assert_eq!(nonce("k1", ""), nonce("k2", ""));
    assert_eq!(nonce("k1", ";nonce=\"n\""), nonce("k2", ";nonce=\"n\""));
    assert_ne!(nonce("k1", ";nonce=\"n\""), nonce("k1", ";nonce=\"m\""));
    assert_ne!(nonce("k1", ";nonce=\"n\""), nonce("k1", ""));
}

#[test]
fn what_is_there_has_to_be_covered() {
    let digest = digest(BODY);
    let all = covered(&digest);
    let without = |name: &str| -> Vec<_> {
        all.iter().copied().filter(|(known, _)| *known != name).collect()
    };
    let found = |sent: Sent, lines: &[(&str, &str)], body: &[u8]| {
        sent.signed("a", &key("k1"), lines, &by("k1")).check(MessageRules::default(), body)
    };
    for (name, wanted) in [
        ("@method", "must cover @method"),
        ("@authority", "must cover @authority or @target-uri"),
        ("@path", "must cover @path, @request-target or @target-uri"),
        ("@query", "must cover @query, @request-target or @target-uri, since there is a query"),
        ("content-digest", "must cover content-digest, since there is a body"),
    ] {
        let refused = rule(found(Sent::usual(), &without(name), BODY));
        assert_eq!(refused, ("signature-input", wanted));
    }
    // Announced is enough, and an empty body needs no digest.
    let announced = Sent::usual().with("content-length", "14");
    let refused = rule(found(announced, &without("content-digest"), b""));
    assert_eq!(refused.1, "must cover content-digest, since there is a body");
    let empty = Sent::usual().with("content-length", "0");
    assert!(found(empty, &without("content-digest"), b"").is_ok());
    // No query, none to cover; and nobody can add one.
    let at_path =
        |path| Sent::new(&[(":method", METHOD), (":authority", AUTHORITY), (":path", path)]);
    let no_query = [("@method", METHOD), ("@authority", AUTHORITY), ("@path", "/pay")];
    assert!(found(at_path("/pay"), &no_query, b"").is_ok());
    assert!(found(at_path("/pay?x=1"), &no_query, b"").is_err());
    let refused = rule(found(at_path("/pay?"), &[no_query, no_query].concat()[..3], b""));
    assert_eq!(refused.0, ":path", "an empty query would sign as none");
    // What includes others.
    let uri = format!("https://{AUTHORITY}{PATH}");
    let target = [("@method", METHOD), ("@target-uri", &*uri), ("content-digest", &digest)];
    assert!(found(Sent::usual().with(":scheme", "https"), &target, BODY).is_ok());
    let host = [("@method", METHOD), ("host", AUTHORITY), ("@request-target", PATH)];
    let host: Vec<_> = host.into_iter().chain([("content-digest", &*digest)]).collect();
    assert!(found(Sent::usual(), &host, BODY).is_ok());
}

#[test]
fn more_can_be_demanded_and_less() {
    let digest = digest(BODY);
    let sent = |lines: &[(&str, &str)]| {
        Sent::usual().with("x-a", "1").signed("a", &key("k1"), lines, &by("k1"))
    };
    let more = MessageRules::new(&["x-a", "@scheme"], None).unwrap();
    let rule_of_more = "must cover all that the integration demands in components";
    assert_eq!(rule(sent(&covered(&digest)).check(more.clone(), BODY)).1, rule_of_more);
    let less = MessageRules::new(&["x-a"], None).unwrap();
    let lines = [("x-a", "1"), ("content-digest", &*digest)];
    assert!(sent(&lines).check(less.clone(), BODY).is_ok());
    assert_eq!(sent(&[("x-a", "2"), lines[1]]).check(less, BODY), Err(Failure::Mismatch));
    assert_eq!(
        &**MessageRules::new(&["@method", "x-a"], Some("us")).unwrap().accept_signature(),
        "sig1=(\"@method\" \"x-a\");created;alg=\"hmac-sha256\";tag=\"us\""
    );
    assert_eq!(MessageRules::new(&["@method", "@status"], None), Err(Some(1)));
    assert_eq!(MessageRules::new(&["Date"], None), Err(Some(0)));
    assert_eq!(MessageRules::new(&["date"], Some("a\"b")), Err(None));
}

#[test]
fn a_host_is_compared_as_the_rfc_normalizes_it() {
    let of = |authority: &str, scheme: &str, signed: &str| {
        let lines = [("@method", "GET"), ("@authority", signed), ("@path", "/")];
        let pseudo = [(":method", "GET"), (":authority", authority), (":path", "/")];
        let sent = Sent::new(&pseudo).with(":scheme", scheme);
        sent.signed("a", &key("k1"), &lines, &by("k1")).check(MessageRules::default(), b"").is_ok()
    };
    assert!(of("API.example", "https", "api.example"));
    assert!(of("api.example:443", "https", "api.example"));
    assert!(of("api.example:80", "http", "api.example"));
    assert!(of("api.example:8443", "https", "api.example:8443"));
    assert!(!of("api.example:443", "http", "api.example"));
    assert!(!of("API.example", "https", "API.example"));
    assert!(!of("other@api.example", "https", "other@api.example"));
}

#[test]
fn the_body_must_have_the_digest_that_is_signed() {
    let found = |value: &str, body: &[u8]| {
        let lines = covered(value);
        let pseudo = [(":method", METHOD), (":authority", AUTHORITY), (":path", PATH)];
        let sent = Sent::new(&pseudo).with("content-digest", value);
        sent.signed("a", &key("k1"), &lines, &by("k1")).check(MessageRules::default(), body)
    };
    let good = digest(BODY);
    let base64 = good.strip_prefix("sha-256=").unwrap();
    assert!(found(&good, BODY).is_ok());
    assert!(found(&format!("md5=:AAAA:, {good};x=1, unixsum=:AA==:"), BODY).is_ok());
    assert!(found(&digest(b""), b"").is_ok());
    // Of the RFC: the digest of `{"hello": "world"}`.
    let long = "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:";
    assert!(found(long, b"{\"hello\": \"world\"}").is_ok());
    assert_eq!(found(long, BODY), Err(Failure::Mismatch));
    assert!(found(&format!("{long}, {good}"), BODY).is_ok(), "the SHA-256 counts");
    assert_eq!(found(&good, b"{\"amount\":101}"), Err(Failure::Mismatch));
    assert_eq!(found(&good, b""), Err(Failure::Mismatch));
    for wrong in [
        format!("sha-512={base64}"),
        format!("SHA-256={base64}"),
        format!("{good}, {good}"),
        good.replace('=', ""),
        good.trim_end_matches(':').to_owned(),
        "sha-256=:AAAA:".to_owned(),
        "sha-256=\"AAAA\"".to_owned(),
        "sha-256".to_owned(),
        String::new(),
    ] {
        assert_eq!(rule(found(&wrong, BODY)).0, "content-digest", "{wrong}");
    }
}

#[test]
fn what_is_signed_stands_once_and_in_plain_text() {
    let digest = digest(BODY);
    let with = |more: &[(&str, &str)], value: &str| {
        let sent = more.iter().fold(Sent::usual(), |sent, (name, value)| sent.with(name, value));
        let lines: Vec<_> = covered(&digest).into_iter().chain([("x-a", value)]).collect();
        sent.signed("a", &key("k1"), &lines, &by("k1")).comes_out()
    };
    assert!(with(&[("x-a", "1")], "1").is_ok());
    assert!(with(&[("x-a", " 1 ")], "1").is_ok(), "as the RFC strips it");
    for (lines, value) in [
        (&[][..], ""),
        (&[("x-a", "1"), ("x-a", "2")], "1, 2"),
        (&[("x-a", "1"), ("x_a", "2")], "1"),
        (&[("x-a", "ü")], "ü"),
        (&[("x-a", "1\n\"x-b\": 2")], "1\n\"x-b\": 2"),
    ] {
        assert_eq!(rule(with(lines, value)).0, "signature-input", "{lines:?}");
    }
}
