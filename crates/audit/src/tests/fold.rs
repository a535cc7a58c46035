//! Floods of events that change nothing: some lines, and lines with the number of the rest.

use super::*;
use crate::entry::EventFact;
use crate::{Audit, AuditMetrics};

fn fact(cause: &'static str) -> EventFact {
    EventFact { source: "redis", result: "refused", cause: Some(cause), ..EventFact::default() }
}

#[test]
fn a_flood_is_some_lines_and_the_exact_number_of_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let config = Settings {
        rotate_bytes: 1_000_000,
        pace: throttle::Pace { burst: 5, per_minute: 1 },
        ..config(&directory)
    };
    let (audit, writer) = Audit::start(&config, directory.path(), AuditMetrics::default()).unwrap();
    for _ in 0..100_000 {
        audit.note_idle(None, fact("malformed"));
    }
    audit.note_idle(None, fact("unknown_key"));
    writer.finish();
    let report = check(&config.directory, &keyed());
    assert_eq!(report.finding, None);
    let lines: Vec<serde_json::Value> = lines(&config.directory)
        .into_iter()
        .map(|(_, _, line)| serde_json::from_str(&line).unwrap())
        .collect();
    let of = |kind: &str, cause: &str| {
        let (kind, cause) = (kind.to_owned(), cause.to_owned());
        lines.iter().filter(move |line| line["kind"] == *kind && line["cause"] == *cause)
    };
    assert_eq!((of("event", "malformed").count(), of("event", "unknown_key").count()), (5, 1));
    let counted: u64 = of("repeats", "malformed").map(|line| line["count"].as_u64().unwrap()).sum();
    assert_eq!(counted, 99_995);
    assert!(lines.len() < 30, "{} lines", lines.len());
    let first = of("repeats", "malformed").next().unwrap();
    assert!(first["first"].as_str() <= first["last"].as_str());
    assert_eq!((&first["source"], &first["result"]), (&"redis".into(), &"refused".into()));
}
