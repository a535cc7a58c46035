//! Signing as RFC 9421 has it: with the components that are demanded by default.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::{SignError, Unsigned};
use crate::Profile;
use crate::components::{COMPONENTS_DEFAULT, Component};
use crate::headers::Headers;
use crate::key::{ALGORITHM, KeyId, Secret};
use crate::mac::Running;
use crate::presented::{
    self, CONTENT_DIGEST, INPUT, MESSAGE_SIGNATURE, Target, digest_value, line, parameters_line,
};

/// What a signature is called in its headers.
const LABEL: &str = "sig1";

pub(super) fn sign(
    key_id: &KeyId,
    secret: &Secret,
    request: &Unsigned<'_>,
) -> Result<Vec<(&'static str, String)>, SignError> {
    let Unsigned { method, authority, path, body, timestamp, nonce } = *request;
    if !nonce.is_none_or(presented::is_message_nonce) {
        return Err(SignError::Nonce);
    }
    let digest = (!body.is_empty()).then(|| digest_value(&Sha256::digest(body)));
    let pseudo = [(":method", method), (":authority", authority), (":path", path)];
    let fields = digest.iter().map(|value| (CONTENT_DIGEST, value.as_str()));
    let headers: Headers = pseudo.into_iter().chain(fields).collect();
    let names = COMPONENTS_DEFAULT.into_iter();
    let names: Vec<_> = names.filter(|name| digest.is_some() || *name != CONTENT_DIGEST).collect();
    let mut base = Vec::new();
    let target = Target::of(&headers).map_err(|_| SignError::Target)?;
    for component in names.iter().filter_map(|name| Component::parse(name)) {
        line(component, &headers, &target, &mut base).map_err(|_| SignError::Target)?;
    }
    let quoted: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
    let nonce = nonce.map_or_else(String::new, |nonce| format!(";nonce=\"{nonce}\""));
    let parameters = format!(
        "({});created={timestamp};keyid=\"{key_id}\"{nonce};alg=\"{ALGORITHM}\"",
        quoted.join(" ")
    );
    parameters_line(&parameters, &mut base);
    let secret = secret.bytes_for(Profile::Rfc9421).ok_or(SignError::Secret)?;
    let mut mac = Running::new(&secret).ok_or(SignError::Secret)?;
    mac.update(&base);
    let mac = STANDARD.encode(mac.finish());
    let fields = digest.map(|value| (CONTENT_DIGEST, value));
    let signature =
        [(INPUT, format!("{LABEL}={parameters}")), (MESSAGE_SIGNATURE, format!("{LABEL}=:{mac}:"))];
    Ok(fields.into_iter().chain(signature).collect())
}
