//! `portcullis sign`: the headers that a partner would send, and a curl line that sends them.

use std::io::{self, Write};
use std::path::PathBuf;

use axum::http::Uri;
use clap::{Args, ValueEnum};
use serde_json::json;
use signing::Profile;
use signing::key::{KeyId, Secret};
use signing::signer::{Unsigned, sign};
use system::wall_clock;
use uuid::Uuid;

use super::Failure;
use super::input::{self, profile};

/// Largest body that is signed, in bytes: the largest that an integration can allow.
const BODY_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Largest file of a secret, in bytes: the longest secret, and a newline.
const SECRET_FILE_BYTES_MAX: u64 = 1026;

#[derive(Args, Debug)]
pub(super) struct Sign {
    /// portcullis, body, standard-webhooks, stripe, github or rfc9421
    #[arg(long, value_parser = profile)]
    profile: Profile,
    /// The key's id; required for the profiles that send it: portcullis, body and rfc9421
    #[arg(long, value_name = "ID", value_parser = key_id)]
    key_id: Option<KeyId>,
    #[command(flatten)]
    secret: SecretPlace,
    /// How the secret is written
    #[arg(long, value_enum, default_value = "text")]
    secret_encoding: SecretEncoding,
    /// The method
    #[arg(long, default_value = "POST")]
    method: String,
    /// The whole URL: its path and query are signed as they stand, and its host where the profile signs it
    #[arg(long)]
    url: Uri,
    /// The body, or - for standard input [default: no body]
    #[arg(long, value_name = "FILE|-")]
    body_file: Option<String>,
    /// Content-Type in the curl line
    #[arg(long, value_name = "TYPE", default_value = "application/json")]
    content_type: String,
    /// When it is signed, in seconds since the Unix epoch [default: now]
    #[arg(long, value_name = "SECONDS")]
    timestamp: Option<u64>,
    /// X-Request-Id, webhook-id, X-GitHub-Delivery or the parameter nonce [default: a new one]
    #[arg(long, value_name = "TEXT")]
    nonce: Option<String>,
    /// Send no nonce; the profiles portcullis and rfc9421 can do without
    #[arg(long, conflicts_with = "nonce")]
    no_nonce: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Where the secret is: never on the command line, which everybody on the host can see.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct SecretPlace {
    /// A file that holds the secret; a newline at its end does not count
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// An environment variable that holds the secret
    #[arg(long, value_name = "NAME")]
    secret_env: Option<String>,
}

/// How the secret is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SecretEncoding {
    /// As the profile has it: text, and for standard-webhooks and rfc9421 Base64 after `whsec_`
    Text,
    /// Base64 also without `whsec_`; only for standard-webhooks and rfc9421
    Base64,
}

fn key_id(text: &str) -> Result<KeyId, &'static str> {
    KeyId::parse(text).ok_or(KeyId::RULE)
}

impl SecretPlace {
    fn secret(&self) -> Result<Secret, Failure> {
        let text = match (&self.secret_file, &self.secret_env) {
            (Some(file), _) => {
                let name = file.display().to_string();
                let bytes = input::read(&name, SECRET_FILE_BYTES_MAX)?;
                let text = String::from_utf8(bytes);
                text.map_err(|_| Failure::Usage(format!("{name}: must be UTF-8 text")))?
            }
            (None, Some(name)) => std::env::var(name).map_err(|_| {
                Failure::Usage(format!("--secret-env: environment variable {name} is not set"))
            })?,
            (None, None) => return Err(Failure::Usage("the secret is required".into())),
        };
        let text = text.trim_end_matches(['\r', '\n']);
        Secret::new(text.as_bytes().to_vec())
            .ok_or_else(|| Failure::Usage(format!("secret: {}", Secret::RULE)))
    }
}

impl Sign {
    fn secret(&self) -> Result<Secret, Failure> {
        let secret = self.secret.secret()?;
        if self.secret_encoding == SecretEncoding::Text {
            return Ok(secret);
        }
        if !matches!(self.profile, Profile::StandardWebhooks | Profile::Rfc9421) {
            let rule = "base64 is for the profiles standard-webhooks and rfc9421";
            return Err(Failure::Usage(format!("--secret-encoding: {rule}")));
        }
        let rule = "secret: must be Base64 of at least 16 bytes";
        Secret::from_base64(secret.expose()).ok_or_else(|| Failure::Usage(rule.into()))
    }

    /// What makes a request one of its kind, where the profile has such a thing.
    fn nonce(&self) -> Result<Option<String>, Failure> {
        let has_nonce = !matches!(self.profile, Profile::Body | Profile::Stripe);
        match &self.nonce {
            Some(_) if !has_nonce => {
                Err(Failure::Usage(format!("--nonce: profile {} has none", self.profile)))
            }
            Some(nonce) => Ok(Some(nonce.clone())),
            None if self.no_nonce || !has_nonce => Ok(None),
            None => Ok(Some(Uuid::now_v7().to_string())),
        }
    }

    fn curl(&self, headers: &[(&'static str, String)]) -> String {
        let mut words = vec!["curl".to_owned(), "-sS".into(), "-i".into()];
        match self.method.as_str() {
            "HEAD" => words.push("-I".into()),
            method => words.extend(["-X".into(), quoted(method)]),
        }
        // Otherwise curl removes /../ and the signature would be for another path.
        words.extend(["--path-as-is".into(), quoted(&self.url.to_string())]);
        for (name, value) in headers {
            words.extend(["-H".into(), quoted(&format!("{name}: {value}"))]);
        }
        if let Some(file) = &self.body_file {
            let content_type = format!("content-type: {}", self.content_type);
            words.extend(["-H".into(), quoted(&content_type)]);
            words.extend(["--data-binary".into(), quoted(&format!("@{file}"))]);
        }
        words.join(" ")
    }
}

/// A URL's host and port, as clients send them.
fn host<'a>(url: &Uri, authority: &'a str) -> &'a str {
    let default_port = match url.scheme_str() {
        Some("http") => ":80",
        _ => ":443",
    };
    authority.strip_suffix(default_port).unwrap_or(authority)
}

/// A word for a POSIX shell.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=@,+%".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

pub(super) fn run(arguments: &Sign) -> Result<bool, Failure> {
    let profile = arguments.profile;
    // The profiles that do not send it do not look at it.
    let any = || KeyId::parse("any").filter(|_| !profile.names_key());
    let required = || Failure::Usage(format!("--key-id is required: profile {profile} sends it"));
    let key_id = arguments.key_id.clone().or_else(any).ok_or_else(required)?;
    let url = &arguments.url;
    let path = url.path_and_query().filter(|_| url.scheme().is_some());
    let (path, authority) = path.zip(url.authority()).ok_or_else(|| {
        Failure::Usage("--url: must be whole, such as https://api.example/orders?id=7".into())
    })?;
    let body = match &arguments.body_file {
        Some(file) => input::read(file, BODY_BYTES_MAX)?,
        None => Vec::new(),
    };
    let nonce = arguments.nonce()?;
    let unsigned = Unsigned {
        method: &arguments.method,
        authority: host(url, authority.as_str()),
        path: path.as_str(),
        body: &body,
        timestamp: arguments.timestamp.unwrap_or_else(|| wall_clock().0 / 1_000_000),
        nonce: nonce.as_deref(),
    };
    let headers = sign(profile, &key_id, &arguments.secret()?, &unsigned)?;
    let curl = arguments.curl(&headers);
    let mut out = io::stdout().lock();
    if arguments.json {
        let headers: serde_json::Map<_, _> =
            headers.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        writeln!(out, "{}", json!({ "headers": headers, "curl": curl }))?;
    } else {
        for (name, value) in headers {
            writeln!(out, "{name}: {value}")?;
        }
        writeln!(out, "\n{curl}")?;
    }
    Ok(true)
}
