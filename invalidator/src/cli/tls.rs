//! How commands reach a daemon whose API has TLS: whom they trust, and who they are.

use std::path::Path;
use std::sync::Arc;

use model::violation::Violation;
use rustls::crypto::ring;
use system::read_bounded;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

use super::client::Client;

/// Largest file of certificates or of a key, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// What to secure the connection with.
pub(super) fn config(client: &Client) -> Result<TlsConfig, Violation> {
    let roots = match &client.ca_file {
        Some(path) => certificates(path, "--ca-file")?,
        None => {
            let native = rustls_native_certs::load_native_certs().certs;
            native.iter().map(|root| Certificate::from_der(root).to_owned()).collect()
        }
    };
    let own = match (&client.cert_file, &client.key_file) {
        (Some(cert), Some(key)) => {
            let bytes = read(key, "--key-file")?;
            let rule = "must hold a private key in PEM, not encrypted";
            let key = PrivateKey::from_pem(&bytes).map_err(|_| refuse("--key-file", rule))?;
            Some(ClientCert::new_with_certs(&certificates(cert, "--cert-file")?, key))
        }
        _ => None,
    };
    Ok(TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()))
        .root_certs(RootCerts::new_with_certs(&roots))
        .client_cert(own)
        .build())
}

fn certificates(path: &Path, place: &str) -> Result<Vec<Certificate<'static>>, Violation> {
    let bytes = read(path, place)?;
    let items: Result<Vec<_>, _> = parse_pem(&bytes).collect();
    let certificates: Vec<_> = items
        .unwrap_or_default()
        .into_iter()
        .filter_map(|item| match item {
            PemItem::Certificate(certificate) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(refuse(place, "must hold at least one certificate in PEM"));
    }
    Ok(certificates)
}

fn read(path: &Path, place: &str) -> Result<Vec<u8>, Violation> {
    read_bounded(path, FILE_BYTES_MAX).map_err(|rule| refuse(place, &rule))
}

fn refuse(place: &str, rule: &str) -> Violation {
    Violation::new(place, rule)
}
