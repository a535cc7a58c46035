//! The two text formats of `/metrics`: OpenMetrics, and the older one of Prometheus.
//!
//! They differ in how a counter's family is named: `portcullis_events` in OpenMetrics, and as its
//! samples are, `portcullis_events_total`, in the older one. A parser of one does not understand
//! the other's counters, so whoever asks says which it reads.

/// Content type of OpenMetrics.
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Content type of the older format.
pub const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whether an `Accept` header asks for OpenMetrics, as Prometheus's does. Whoever does not name it
/// may not know it.
#[must_use]
pub fn wants_openmetrics(accept: &str) -> bool {
    accept.split(',').any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_it = parts
            .next()
            .is_some_and(|name| name.eq_ignore_ascii_case("application/openmetrics-text"));
        // A quality of nothing is a refusal.
        is_it && !parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}

/// OpenMetrics as the older format.
#[must_use]
pub fn classic(openmetrics: &str) -> String {
    let mut out = String::with_capacity(openmetrics.len());
    // `# HELP` comes before `# TYPE`, which says whether it is a counter's.
    let mut help: Option<(&str, &str)> = None;
    for line in openmetrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, "untyped"));
            let suffix = if kind == "counter" { "_total" } else { "" };
            if let Some((_, help)) = help.take().filter(|(of, _)| *of == name) {
                out.push_str(&format!("# HELP {name}{suffix} {help}\n"));
            }
            out.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
        } else if !line.starts_with('#') {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_for_who_names_it() {
        for accept in [
            "application/openmetrics-text",
            "Application/OpenMetrics-Text; version=1.0.0",
            "text/plain;q=0.5,application/openmetrics-text;version=1.0.0;q=0.75,*/*;q=0.1",
        ] {
            assert!(wants_openmetrics(accept), "{accept}");
        }
        for accept in ["", "*/*", "text/plain", "application/openmetrics-text;q=0", "x"] {
            assert!(!wants_openmetrics(accept), "{accept}");
        }
    }

    #[test]
    fn counters_are_named_as_their_samples_in_the_older_format() {
        let text = "# HELP a_b Some help.\n# TYPE a_b counter\na_b_total{x=\"# y\"} 1\n\
                    # HELP g Other.\n# TYPE g gauge\n# UNIT g seconds\ng 2\n# EOF\n";
        let expected = "# HELP a_b_total Some help.\n# TYPE a_b_total counter\n\
                        a_b_total{x=\"# y\"} 1\n# HELP g Other.\n# TYPE g gauge\ng 2\n";
        assert_eq!(classic(text), expected);
    }
}
