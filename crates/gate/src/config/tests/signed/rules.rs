//! How requests must be signed: what is marked, remembered and covered.

use super::*;

#[test]
fn requests_are_marked_in_named_route_groups_only() {
    let with_skew = |signature: Value| {
        let mut config = with("/integrations/1/signature", Some(signature));
        let profile = config["integrations"][1]["signature"]["profile"].clone();
        config["keys"][1]["profile"] = profile;
        parse(&config)
    };
    let hooks = |on_clock_skew: Value| {
        with_skew(json!({"profile": "standard-webhooks", "on_clock_skew": on_clock_skew}))
    };
    let mark = |names: &[&str], up_to: &str| json!({"mark": names, "up_to": up_to});
    let config = hooks(mark(&["bet"], "15m")).unwrap();
    let integration = &config.integrations[1];
    let up_to = |path: &[u8]| {
        let rules = integration.signature_in(config.groups(b"POST", path)).unwrap();
        rules.mark_up_to.map(|up_to| up_to.as_secs())
    };
    assert_eq!((up_to(b"/bet/1"), up_to(b"/other")), (Some(900), None));
    // Used requests are remembered as long as they could be sent again.
    assert_eq!(config.replay.unwrap().tolerance, Duration::from_secs(900));
    let remembered = config
        .integrations
        .iter()
        .map(|one| one.signature.as_ref().unwrap().remember_for.as_secs());
    assert_eq!(remembered.collect::<Vec<_>>(), [1_800, 1_800]);
    for unmarked in [json!("reject"), Value::Null] {
        let config = hooks(unmarked).unwrap();
        assert_eq!(config.integrations[1].signature.as_ref().unwrap().mark_up_to, None);
        assert_eq!(config.replay.unwrap().tolerance, Duration::from_secs(300));
    }
    let body = json!({"profile": "body", "on_clock_skew": mark(&["bet"], "15m")});
    for (config, field, rule) in [
        (hooks(json!("mark")), "", "must be \"reject\", or {"),
        (hooks(json!({"mark": ["bet"]})), ".up_to", "is required"),
        (hooks(json!({"up_to": "15m"})), ".mark", "is required"),
        (hooks(mark(&[], "15m")), ".mark", "must name at least one route group"),
        (hooks(mark(&["bet", "bets"], "15m")), ".mark[1]", "must be the name of a route group"),
        (hooks(mark(&["bet"], "300s")), ".up_to", "must be more than tolerance"),
        (hooks(mark(&["bet"], "25h")), ".up_to", "must be more than tolerance, and at most 24h"),
        (with_skew(body), "", "must be left out: the profile does not sign its time"),
    ] {
        let error = config.unwrap_err();
        assert_eq!(error.field, format!("integrations[1].signature.on_clock_skew{field}"));
        assert!(error.rule.starts_with(rule), "{error}");
    }
}

#[test]
fn what_counts_as_used_can_be_told() {
    let with = |signature: Value| with("/integrations/1/signature", Some(signature));
    let rules = |signature: Value| {
        let mut config = with(signature);
        config["keys"][1]["profile"] = config["integrations"][1]["signature"]["profile"].clone();
        let config = parse(&config)?;
        let rules = config.integrations[1].signature.clone().unwrap();
        Ok::<_, Violation>((rules.retries_pass, rules.remember_for.as_secs(), rules.replay_status))
    };
    let hooks = "standard-webhooks";
    assert_eq!(rules(json!({"profile": hooks})), Ok((true, 600, 409)));
    let strict = json!({"profile": hooks, "retries": "refuse", "replay_status": 200});
    assert_eq!(rules(strict), Ok((false, 600, 200)));
    assert_eq!(rules(json!({"profile": "github"})), Ok((false, 86_400, 409)));
    let short = json!({"profile": "github", "remember": "90s"});
    assert_eq!(rules(short), Ok((false, 90, 409)));
    for wrong in ["999ms", "24h1s", "1 day"] {
        let error = rules(json!({"profile": "github", "remember": wrong})).unwrap_err();
        assert_eq!(error.field, "integrations[1].signature.remember");
    }
}

#[test]
fn what_a_message_signature_covers_has_rules() {
    let message = |more: Value| {
        let mut signature = json!({"profile": "rfc9421"});
        signature.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut config = with("/integrations/1/signature", Some(signature));
        config["keys"][1]["profile"] = json!("rfc9421");
        parse(&config)
    };
    let accepted = |more: Value| {
        let config = message(more).unwrap();
        let signature = config.integrations[1].signature.as_ref().unwrap();
        signature.message.accept_signature().to_string()
    };
    let default = r#"("@method" "@authority" "@path" "@query" "content-digest");created"#;
    assert_eq!(accepted(json!({})), format!("sig1={default};alg=\"hmac-sha256\""));
    let given = json!({"components": ["@target-uri", "x-a"], "tag": "us", "nonce": "required"});
    let asked = r#"sig1=("@target-uri" "x-a");created;alg="hmac-sha256";tag="us""#;
    assert_eq!(accepted(given), asked);
    for (more, field, rule) in [
        (json!({"components": []}), "components", "must have 1 to 16 entries"),
        (json!({"components": vec!["@path"; 17]}), "components", "must have 1 to 16 entries"),
        (json!({"components": ["@path", "@status"]}), "components[1]", "must be @method"),
        (json!({"components": ["Date"]}), "components[0]", "must be @method"),
        (json!({"tag": ""}), "tag", "must be 1 to 128 visible"),
        (json!({"tag": "a\"b"}), "tag", "must be 1 to 128 visible"),
        (json!({"keys_max": 3}), "keys_max", "must be left out"),
    ] {
        let error = message(more).unwrap_err();
        assert_eq!(error.field, format!("integrations[1].signature.{field}"));
        assert!(error.rule.starts_with(rule), "{error}");
    }
}
