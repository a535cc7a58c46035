//! What the two headers of a signature have to look like.

use super::*;

#[test]
fn what_a_signature_says_of_itself_has_rules() {
    let digest = digest(BODY);
    let lines = covered(&digest);
    let of =
        |parameters: &str| Sent::usual().signed("a", &key("k1"), &lines, parameters).comes_out();
    let good = by("k1");
    let more = |more: &str| of(&format!("{good}{more}"));
    assert!(more(";alg=\"hmac-sha256\";nonce=\"n\";tag=\"anything\"").is_ok());
    assert!(more(&format!(";expires={EPOCH_S}")).is_ok());
    let before = EPOCH_S - 1;
    assert_eq!(rule(more(&format!(";expires={before}"))).1, "must not expire before it is created");
    let expired = format!(";created={};keyid=\"k1\";expires={before}", EPOCH_S - 10);
    assert_eq!(of(&expired), Err(Failure::Stale));
    assert_eq!(of(&format!(";created={};keyid=\"k1\"", EPOCH_S - 301)), Err(Failure::Stale));
    assert_eq!(of(&format!(";created={};keyid=\"k1\"", EPOCH_S + 301)), Err(Failure::Future));
    assert_eq!(of(&by("nobody")), Err(Failure::UnknownKey));
    assert_eq!(of(&by("old")), Err(Failure::ExpiredKey));
    let missing = Err(Failure::Missing { header: "signature-input" });
    assert_eq!(more(";alg=\"hmac-sha512\""), missing, "for somebody else");
    for wrong in [
        String::new(),
        ";keyid=\"k1\"".to_owned(),
        format!(";created={EPOCH_S}"),
        format!(";created=\"{EPOCH_S}\";keyid=\"k1\""),
        format!(";created=0{EPOCH_S};keyid=\"k1\""),
        format!(";created=-{EPOCH_S};keyid=\"k1\""),
        format!(";created={EPOCH_S}.0;keyid=\"k1\""),
        format!(";created={EPOCH_S};keyid=k1"),
        format!("{good};expires=soon"),
        format!("{good};expires=01"),
        format!("{good};nonce=n"),
        format!("{good};nonce=\"a b\""),
        format!("{good};nonce=\"a\\\"b\""),
        format!("{good};nonce"),
        format!("{good};other=1"),
        format!("{good};alg=hmac"),
        // As other readers would understand it, and yet in another spelling.
        good.replacen(';', "; ", 1),
        good.replacen('(', "( ", 1) + ";nonce=?1",
        format!("{good};created={EPOCH_S}"),
    ] {
        assert_eq!(rule(of(&wrong)).0, "signature-input", "{wrong}");
    }
    for list in [
        "()",
        "(\"@method\" \"@method\")",
        "(\"@query-param\";name=\"id\")",
        "(\"@status\")",
        "(\"date\";sf)",
        "(date)",
        "(\"Date\")",
        "(\"@signature-params\")",
        "\"@method\"",
        "(\"@method\"  \"@path\")",
        "( \"@method\")",
    ] {
        let mut sent = Sent::usual().signed("a", &key("k1"), &lines, &good);
        sent.labels[0].1 = format!("{list}{good}");
        assert_eq!(rule(sent.comes_out()).0, "signature-input", "{list}");
    }
}

#[test]
fn labels_have_one_signature_each() {
    let digest = digest(BODY);
    let lines = covered(&digest);
    let good = Sent::usual().signed("a", &key("k1"), &lines, &by("k1"));
    let mut other = Sent::usual().signed("a", &key("k1"), &lines, &by("k1"));
    let input = format!("a={}", other.labels[0].1);
    let mac = other.labels[0].2.clone();
    let of = |input: &str, mac: &str| {
        let headers = good.headers().changed("signature-input", |_| input.into());
        let headers = headers.changed("signature", |_| mac.into());
        check(Profile::Rfc9421, &headers, BODY, &set([key("k1")])).map(|_| String::new())
    };
    assert!(of(&input, &format!("a={mac}")).is_ok());
    for (input, mac) in [
        (&*input, format!("b={mac}")),
        (&input, format!("a={mac}, b={mac}")),
        (&input, format!("a={mac}, a={mac}")),
        (&format!("{input}, {input}"), format!("a={mac}")),
        (&format!("{input},"), format!("a={mac}")),
        (&input, format!("a={mac};x=1")),
        (&input, format!("a=\"{mac}\"")),
        (&input, format!("a={}", mac.replace('=', ""))),
        (&input, "a".to_owned()),
        (&input.replacen('=', "", 1), format!("a={mac}")),
    ] {
        rule(of(input, &mac));
    }
    // Two lines are one list; a name that some servers take for this one is not believed.
    other.labels.clear();
    let lines = [("signature-input", &*input), ("signature", &*format!("a={mac}"))];
    let twice = lines.iter().fold(Sent::usual(), |sent, (name, value)| sent.with(name, value));
    let twice: Headers = twice
        .headers
        .iter()
        .cloned()
        .chain([
            ("signature-input".to_owned(), "b=(\"x\")".to_owned()),
            ("signature".to_owned(), "b=:AA==:".to_owned()),
        ])
        .collect();
    let keys = set([key("k1")]);
    assert!(check(Profile::Rfc9421, &twice, BODY, &keys).is_ok());
    let alias: Headers = twice.lines().chain([(&b"signature_input"[..], &b"c=()"[..])]).collect();
    assert!(check(Profile::Rfc9421, &alias, BODY, &keys).is_err());
    let many = (0..9).map(|at| format!("l{at}=(\"x\")")).collect::<Vec<_>>().join(", ");
    let macs = (0..9).map(|at| format!("l{at}=:AA==:")).collect::<Vec<_>>().join(", ");
    assert_eq!(rule(of(&many, &macs)).0, "signature-input");
    assert_eq!(rule(of(&format!("a={}", "x".repeat(5_000)), "a=:AA==:")).0, "signature-input");
}
