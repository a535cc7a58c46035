//! Random requests, signed by a second and simpler reading of RFC 9421.

use proptest::prelude::*;

use super::*;

/// A request, and which of its components are signed, in which order.
#[derive(Clone, Debug)]
struct Random {
    method: String,
    scheme: String,
    authority: String,
    path: String,
    query: Option<String>,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
    covered: Vec<usize>,
}

impl Random {
    /// Every component that the request has, with its value, as section 2 of the RFC describes them.
    fn components(&self) -> Vec<(String, String)> {
        let default_port = if self.scheme == "https" { ":443" } else { ":80" };
        let authority = self.authority.to_lowercase();
        let authority = authority.strip_suffix(default_port).unwrap_or(&authority);
        let query = self.query.as_ref().map_or_else(String::new, |query| format!("?{query}"));
        let target = format!("{}{query}", self.path);
        let derived = [
            ("@method", self.method.clone()),
            ("@target-uri", format!("{}://{}{target}", self.scheme, self.authority)),
            ("@authority", authority.to_owned()),
            ("@scheme", self.scheme.clone()),
            ("@request-target", target),
            ("@path", self.path.clone()),
            ("@query", if query.is_empty() { "?".to_owned() } else { query }),
            ("content-digest", digest(&self.body)),
        ];
        let derived = derived.into_iter().map(|(name, value)| (name.to_owned(), value));
        let fields = self.fields.iter();
        derived.chain(fields.map(|(name, value)| (name.clone(), value.trim().to_owned()))).collect()
    }

    fn sent(&self) -> Sent {
        let path = self.query.as_ref().map_or_else(String::new, |query| format!("?{query}"));
        let path = format!("{}{path}", self.path);
        let digest = digest(&self.body);
        let pseudo = [
            (":method", &*self.method),
            (":scheme", &self.scheme),
            (":authority", &self.authority),
            (":path", &path),
            ("content-digest", &digest),
        ];
        self.fields.iter().fold(Sent::new(&pseudo), |sent, (name, value)| sent.with(name, value))
    }

    /// Whether these names are enough, in words of the documentation.
    fn is_enough(&self, names: &[&str]) -> bool {
        let any = |wanted: &[&str]| wanted.iter().any(|name| names.contains(name));
        any(&["@method"])
            && any(&["@authority", "@target-uri"])
            && any(&["@path", "@target-uri", "@request-target"])
            && (self.query.is_none() || any(&["@query", "@target-uri", "@request-target"]))
            && (self.body.is_empty() || any(&["content-digest"]))
    }
}

fn random() -> impl Strategy<Value = Random> {
    let names = proptest::sample::subsequence(vec!["date", "x-a", "content-type"], 0..=3);
    let value = "[ -~]{0,12}";
    let fields = names.prop_flat_map(move |names| {
        let values = proptest::collection::vec(value, names.len());
        (Just(names), values).prop_map(|(names, values)| {
            names.into_iter().map(str::to_owned).zip(values).collect::<Vec<_>>()
        })
    });
    (
        "(GET|POST|PUT|purge)",
        "(http|https)",
        "[A-Za-z]{1,6}(\\.[a-z]{2,3})?(:(80|443|8080))?",
        "/[!-\"$->@-~]{0,10}",
        proptest::option::of("[!-\"$-~]{1,10}"),
        fields,
        proptest::collection::vec(any::<u8>(), 0..20),
        Just((0..11_usize).collect::<Vec<_>>()).prop_shuffle(),
        1..12_usize,
    )
        .prop_map(|(method, scheme, authority, path, query, fields, body, order, count)| {
            let covered = order.into_iter().take(count).collect();
            Random { method, scheme, authority, path, query, fields, body, covered }
        })
}

#[test]
fn what_another_reading_of_the_rfc_signs_is_accepted_if_it_covers_enough() {
    proptest!(ProptestConfig::with_cases(2_000), |(request in random(), nonce in "[a-z]{0,3}")| {
        let components = request.components();
        let covered: Vec<_> = request.covered.iter().filter_map(|at| components.get(*at)).collect();
        let lines: Vec<_> =
            covered.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        prop_assume!(!lines.is_empty());
        let nonce = if nonce.is_empty() { nonce } else { format!(";nonce=\"{nonce}\"") };
        let parameters = format!("{}{nonce}", by("k1"));
        let sent = request.sent().signed("sig", &key("k1"), &lines, &parameters);
        let found = sent.check(MessageRules::default(), &request.body);
        let names: Vec<_> = lines.iter().map(|(name, _)| *name).collect();
        prop_assert_eq!(found.is_ok(), request.is_enough(&names), "{:?}", found);
        if found.is_ok() {
            let mut other = request.body.clone();
            other.push(0);
            prop_assert!(sent.check(MessageRules::default(), &other).is_err());
            let forged = request.sent().signed("sig", &key("k2"), &lines, &parameters);
            let found = forged.check(MessageRules::default(), &request.body);
            prop_assert_eq!(found, Err(Failure::Mismatch));
        }
    });
}
