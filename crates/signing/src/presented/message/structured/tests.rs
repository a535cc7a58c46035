use proptest::prelude::*;

use super::*;

/// What each member is, in words.
fn shown(text: &str) -> Option<Vec<String>> {
    let members = dictionary(text)?;
    Some(members.iter().map(|member| format!("{}={}", member.key, member.text)).collect())
}

#[test]
fn dictionaries_are_read() {
    for (text, members) in [
        ("a=1", &["a=1"][..]),
        ("a", &["a="]),
        ("a;x;y=2, b=?0", &["a=", "b=?0"]),
        ("a=1,b=2 ,\t c=3", &["a=1", "b=2", "c=3"]),
        ("*a-_.*=tok/en:*", &["*a-_.*=tok/en:*"]),
        ("a=(\"x\" y;z  3);w=:AA==:", &["a=(\"x\" y;z  3);w=:AA==:"]),
        ("a=(  ), b=()", &["a=(  )", "b=()"]),
        ("a=-999999999999999, b=999999999999.999", &["a=-999999999999999", "b=999999999999.999"]),
        ("a=@-1, b=%\"f%c3%bc\", c=\"\\\"\\\\\"", &["a=@-1", "b=%\"f%c3%bc\"", "c=\"\\\"\\\\\""]),
        ("a=::, b=*", &["a=::", "b=*"]),
        ("a; b=1;c", &["a="]),
    ] {
        assert_eq!(shown(text).as_deref(), Some(&members.map_to_owned()[..]), "{text}");
    }
}

trait ToOwnedAll {
    fn map_to_owned(&self) -> Vec<String>;
}

impl ToOwnedAll for &[&str] {
    fn map_to_owned(&self) -> Vec<String> {
        self.iter().map(|text| (*text).to_owned()).collect()
    }
}

#[test]
fn what_is_no_dictionary_is_refused() {
    for text in [
        "",
        " ",
        "a=1 ",
        " a=1",
        "a=1,",
        "a=1,,b",
        ",a",
        "A=1",
        "1=1",
        "a=",
        "a =1",
        "a= 1",
        "a=1 b=2",
        "a=1;",
        "a=1; ;b",
        "a=1 ;b",
        "a;B",
        "a=(",
        "a=(1",
        "a=(1,2)",
        "a=(1\t2)",
        "a=(\"x\"\"y\")",
        "a=((1))",
        "a=\"",
        "a=\"\\n\"",
        "a=\"\u{7f}\"",
        "a=\"ü\"",
        "a='x'",
        "a=:A",
        "a=:A_:",
        "a=?2",
        "a=?",
        "a=-",
        "a=--1",
        "a=+1",
        "a=1.",
        "a=.1",
        "a=1.0000",
        "a=1234567890123456",
        "a=1234567890123.1",
        "a=@",
        "a=@1.0",
        "a=%x",
        "a=%\"%C3%BC\"",
        "a=%\"%c3\"",
        "a=%\"%c\"",
        "a=%\"x",
        "a=(1)x",
        "a=1, a=2",
        "a;x=1;x=2",
        "ü=1",
    ] {
        assert_eq!(dictionary(text), None, "{text}");
    }
    let many: Vec<_> = (0..65).map(|at| format!("a{at}")).collect();
    assert!(dictionary(&many.join(",")).is_none());
    assert!(dictionary(&many[..64].join(",")).is_some());
}

fn bare() -> impl Strategy<Value = String> {
    prop_oneof![
        "-?[1-9][0-9]{0,14}",
        "-?(0|[1-9][0-9]{0,11})\\.[0-9]{0,2}[1-9]",
        "\"([ !#-\\[\\]-~]|\\\\[\"\\\\]){0,8}\"",
        "[A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]{0,8}",
        ":([A-Za-z0-9+/]{4}){0,3}:",
        "@[1-9][0-9]{0,9}",
        Just("?0".to_owned()),
    ]
}

fn parameters() -> impl Strategy<Value = String> {
    let one = ("[a-z*][a-z0-9_.*-]{0,4}", proptest::option::of(bare()));
    proptest::collection::btree_map(one.0, one.1, 0..4).prop_map(|all| {
        let one = |(key, value): (String, Option<String>)| match value {
            Some(value) => format!(";{key}={value}"),
            None => format!(";{key}"),
        };
        all.into_iter().map(one).collect()
    })
}

fn inner() -> impl Strategy<Value = String> {
    let item = (bare(), parameters()).prop_map(|(item, parameters)| format!("{item}{parameters}"));
    (proptest::collection::vec(item, 0..4), parameters())
        .prop_map(|(items, parameters)| format!("({}){parameters}", items.join(" ")))
}

#[test]
fn what_is_serialized_as_the_rfc_does_is_read_and_serialized_the_same() {
    let keys = proptest::collection::btree_map("[a-z*][a-z0-9_.*-]{0,4}", inner(), 1..4);
    proptest!(ProptestConfig::with_cases(1_000), |(lists in keys)| {
        let text: Vec<_> = lists.iter().map(|(key, list)| format!("{key}={list}")).collect();
        let text = text.join(", ");
        let members = dictionary(&text);
        prop_assert!(members.is_some(), "{}", text);
        for (member, (key, list)) in members.unwrap_or_default().iter().zip(&lists) {
            prop_assert_eq!((member.key, member.text), (key.as_str(), list.as_str()));
            let Value::Inner(inner) = &member.value else { panic!("{list}") };
            prop_assert_eq!(&inner.canonical(), list);
        }
    });
}

#[test]
fn no_text_makes_the_reader_panic() {
    proptest!(|(text in "[ -~\\tü]{0,40}")| {
        let members = dictionary(&text);
        for member in members.iter().flatten() {
            prop_assert!(text.contains(member.text));
        }
    });
}
