//! `portcullis verify`: why a captured request is accepted or not, step by step.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use keys::{self};
use model::name::Name;
use model::time::{UnixMicros, parse_duration};
use signing::components::COMPONENTS_DEFAULT;
use signing::explain::{Endpoint, explain};
use signing::{MessageRules, Profile, SignatureRules};
use system::Reading;
use system::wall_clock;

use super::Failure;
use super::captured::Captured;
use super::input::{self, profile};

/// Largest captured request, in bytes: the largest body, and room for its headers.
const REQUEST_BYTES_MAX: u64 = 17 * 1024 * 1024;
/// The tolerances that an integration can have.
const TOLERANCE: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(3_600);

#[derive(Args, Debug)]
pub(super) struct Verify {
    /// portcullis, body, standard-webhooks, stripe, github or rfc9421
    #[arg(long, value_parser = profile)]
    profile: Profile,
    /// The request as it arrived, HTTP/1.1 with all headers; - for standard input
    #[arg(long, value_name = "FILE|-")]
    request_file: String,
    /// The keys file
    #[arg(long, value_name = "FILE")]
    keys_file: PathBuf,
    /// When it arrived: RFC 3339, or seconds since the Unix epoch [default: now]
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<UnixMicros>,
    /// How far the signer's clock may be off, 1s to 1h
    #[arg(long, value_name = "DURATION", value_parser = tolerance, default_value = "300s")]
    tolerance: Duration,
    /// Only keys of this partner, as `signature.partner` has it
    #[arg(long, value_parser = name)]
    partner: Option<Name>,
    /// The integration that the keys have to be for [default: any]
    #[arg(long, value_parser = name)]
    integration: Option<Name>,
    /// Require a nonce, as `signature.nonce` can (portcullis and rfc9421)
    #[arg(long)]
    nonce_required: bool,
    /// What a signature must cover, as `signature.components` has it, with commas between (rfc9421)
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_values_t = COMPONENTS_DEFAULT.map(String::from))]
    components: Vec<String>,
    /// The tag that a signature must have, as `signature.tag` has it (rfc9421) [default: any]
    #[arg(long)]
    tag: Option<String>,
    /// The scheme of the URL that the request was sent to, as Envoy sees it (rfc9421)
    #[arg(long, default_value = "https")]
    scheme: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn name(text: &str) -> Result<Name, &'static str> {
    Name::parse(text).ok_or(Name::RULE)
}

fn time(text: &str) -> Result<UnixMicros, &'static str> {
    let seconds = text.parse().ok().map(Duration::from_secs);
    let at = seconds.map(|since_epoch| UnixMicros(0).saturating_add(since_epoch));
    at.or_else(|| UnixMicros::parse_rfc3339(text))
        .ok_or("must be an RFC 3339 time such as 2026-11-22T12:00:00Z, or seconds since 1970")
}

fn tolerance(text: &str) -> Result<Duration, &'static str> {
    parse_duration(text)
        .filter(|span| TOLERANCE.contains(span))
        .ok_or("must be a duration between 1s and 1h, such as 300s")
}

fn message(components: &[String], tag: Option<&str>) -> Result<MessageRules, Failure> {
    let components: Vec<_> = components.iter().map(String::as_str).collect();
    MessageRules::new(&components, tag).map_err(|broken| {
        Failure::Usage(match broken {
            Some(_) => format!("--components: {}", MessageRules::COMPONENT_RULE),
            None => format!("--tag: {}", MessageRules::TAG_RULE),
        })
    })
}

pub(super) fn run(arguments: Verify) -> Result<bool, Failure> {
    let request = input::read(&arguments.request_file, REQUEST_BYTES_MAX)?;
    let captured = Captured::parse(&request, &arguments.scheme)?;
    let keys = Reading::of(&arguments.keys_file, keys::load).keys?;
    // What a key is for that does not say, only the plugin configuration says.
    let keys = keys.bound(|_| Some(arguments.profile));
    let signature = SignatureRules {
        partner: arguments.partner,
        tolerance: arguments.tolerance,
        is_nonce_required: arguments.nonce_required,
        message: Arc::new(message(&arguments.components, arguments.tag.as_deref())?),
        ..SignatureRules::of(arguments.profile)
    };
    let now = arguments.at.unwrap_or_else(wall_clock);
    let integration = arguments.integration.as_ref();
    let endpoint = Endpoint { signature: &signature, integration, keys: &keys, now };
    let steps = explain(endpoint, &captured.headers, &captured.body);
    let accepted = steps.iter().all(|step| step.ok);
    let mut out = io::stdout().lock();
    if arguments.json {
        let steps = steps.iter().map(
            |step| serde_json::json!({ "name": step.name, "ok": step.ok, "detail": step.detail }),
        );
        let steps: Vec<_> = steps.collect();
        writeln!(out, "{}", serde_json::json!({ "accepted": accepted, "steps": steps }))?;
        return Ok(accepted);
    }
    let width = steps.iter().map(|step| step.name.len()).max().unwrap_or_default();
    for step in &steps {
        let mark = if step.ok { "ok  " } else { "FAIL" };
        writeln!(out, "{mark}  {:width$}  {}", step.name, step.detail)?;
    }
    match steps.iter().find(|step| !step.ok) {
        None => writeln!(out, "accepted, unless it was used before: only Envoy knows that")?,
        Some(step) => writeln!(out, "refused: {}", step.name)?,
    }
    Ok(accepted)
}
