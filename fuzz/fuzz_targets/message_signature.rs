//! Signatures of RFC 9421 over arbitrary requests: the MAC is right for what they list, and yet nothing passes that does
//! not cover what the request has.
#![no_main]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use model::name::Name;
use sha2::{Digest, Sha256};
use signing::headers::Headers;
use signing::key::{Key, KeyId, KeySet, Secret};
use signing::mac::Running;
use signing::verify::Verifier;
use signing::{Profile, SignatureRules};

const SECRET: &[u8] = b"nobody guesses this";

fn keys() -> Option<KeySet> {
    let mut keys = KeySet::default();
    let key = Key {
        id: KeyId::parse("k1")?,
        partner: Name::parse("acme")?,
        secret: Secret::new(SECRET.to_vec())?,
        not_before: None,
        not_after: None,
        integrations: Vec::new(),
        profile: Some(Profile::Rfc9421),
    };
    keys.add(key).ok()?;
    Some(keys)
}

/// The components that a signer could mean, each with the value that it would sign.
fn components(path: &str, header: &str, digest: &str) -> [(&'static str, String); 9] {
    let (only_path, query) = path.split_once('?').unwrap_or((path, ""));
    [
        ("@method", "POST".to_owned()),
        ("@authority", "api.example".to_owned()),
        ("@path", only_path.to_owned()),
        ("@query", format!("?{query}")),
        ("@request-target", path.to_owned()),
        ("@target-uri", format!("https://api.example{path}")),
        ("@scheme", "https".to_owned()),
        ("content-digest", digest.to_owned()),
        ("x-a", header.trim().to_owned()),
    ]
}

// Lines: the components (a letter each), further parameters, the path, a header; and then the body.
fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(5, |byte| *byte == b'\n');
    let mut text = || std::str::from_utf8(parts.next().unwrap_or_default()).ok();
    let (Some(list), Some(more), Some(path), Some(header)) = (text(), text(), text(), text())
    else {
        return;
    };
    let body = parts.next().unwrap_or_default();
    let Some(keys) = keys() else { return };
    let digest = format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(body)));
    let all = components(path, header, &digest);
    let index = |byte: u8| usize::from(byte.wrapping_sub(b'a'));
    let covered: Vec<_> = list.bytes().filter_map(|byte| all.get(index(byte))).collect();
    let names: Vec<_> = covered.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let input = format!("({});created={};keyid=\"k1\"{more}", names.join(" "), fuzz::NOW_S);
    let lines: String =
        covered.iter().map(|(name, value)| format!("\"{name}\": {value}\n")).collect();
    let Some(mut mac) = Running::new(SECRET) else { return };
    mac.update(format!("{lines}\"@signature-params\": {input}").as_bytes());
    let mac = STANDARD.encode(mac.finish());
    let headers: Headers = [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "api.example"),
        (":path", path),
        ("x-a", header),
        ("content-digest", &digest),
        ("signature-input", &format!("sig1={input}")),
        ("signature", &format!("sig1=:{mac}:")),
    ]
    .into_iter()
    .collect();
    let rules = SignatureRules::of(Profile::Rfc9421);
    let verify =
        |body: &[u8]| Verifier::begin(&rules, None, &headers, &keys, fuzz::NOW)?.verify(body);
    if verify(body).is_ok() {
        let any = |wanted: &[&str]| covered.iter().any(|(name, _)| wanted.contains(name));
        assert!(any(&["@method"]) && any(&["@authority", "@target-uri"]));
        assert!(any(&["@path", "@target-uri", "@request-target"]));
        assert!(!path.contains('?') || any(&["@query", "@target-uri", "@request-target"]));
        assert!(body.is_empty() || any(&["content-digest"]));
        assert!(verify(&[body, b"x"].concat()).is_err());
        assert!(
            !path.contains('#') && path.split_once('?').is_none_or(|(_, query)| !query.is_empty())
        );
    }
});
