//! TLS of the API: its certificate, whom it asks for one, and the names in a client's.
//!
//! The files are watched: what is changed is used for the next connection, without a restart. Files
//! that cannot be used change nothing but the metrics and the log.

mod metrics;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::time::UnixMicros;
use model::violation::Violation;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use system::{Stamp, Stamps, follow, read, read_private};
use tracing::{error, info};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::Peer;

pub use metrics::TlsMetrics;

/// Where the certificates are. Nothing is read before [`Files::load`].
#[derive(Clone, Debug)]
pub struct Files {
    /// PEM: the certificate, then those between it and the root.
    pub cert: PathBuf,
    /// PEM: its private key.
    pub key: PathBuf,
    /// PEM: who may issue client certificates; absent: none is asked for.
    pub client_ca: Option<PathBuf>,
    /// Whether a client without a certificate is turned away.
    pub required: bool,
}

/// What the files held.
#[derive(Debug)]
pub struct Loaded {
    config: Arc<ServerConfig>,
    not_after: UnixMicros,
}

impl Files {
    /// Reads and checks the files.
    ///
    /// # Errors
    /// The first file that cannot be used, and why.
    pub fn load(&self) -> Result<Loaded, Violation> {
        let chain = certificates(&self.cert, "api.tls.cert_file")?;
        let not_after = chain.first().and_then(|leaf| peer(leaf)).map(|leaf| leaf.not_after);
        let not_after = not_after.ok_or_else(|| {
            Violation::new("api.tls.cert_file", "the first certificate must be X.509")
        })?;
        let key = read_private(&self.key, "api.tls.key_file")?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| {
            Violation::new("api.tls.key_file", "must hold a private key in PEM, not encrypted")
        })?;
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder
            .with_safe_default_protocol_versions()
            .map_err(|error| Violation::new("api.tls", format!("cannot be set up: {error}")))?;
        let builder = match &self.client_ca {
            Some(path) => builder.with_client_cert_verifier(self.verifier(path)?),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| {
            Violation::new("api.tls.key_file", format!("does not fit cert_file: {error}"))
        })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // A session that is resumed would bring a certificate that nobody verifies again.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Loaded { config: Arc::new(config), not_after })
    }

    fn verifier(
        &self,
        path: &Path,
    ) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, Violation> {
        const FIELD: &str = "api.tls.client_ca_file";
        let mut roots = RootCertStore::empty();
        for certificate in certificates(path, FIELD)? {
            let broken = |error| Violation::new(FIELD, format!("cannot be used: {error}"));
            roots.add(certificate).map_err(broken)?;
        }
        let provider = Arc::new(ring::default_provider());
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let builder = if self.required { builder } else { builder.allow_unauthenticated() };
        builder.build().map_err(|error| Violation::new(FIELD, format!("cannot be used: {error}")))
    }

    fn stamps(&self) -> Stamps {
        let paths = [&self.cert, &self.key].into_iter().chain(&self.client_ca);
        paths.map(|path| (path.clone(), Stamp::of(path))).collect()
    }
}

fn certificates(path: &Path, field: &str) -> Result<Vec<CertificateDer<'static>>, Violation> {
    let bytes = read(path, field)?;
    let broken = |_| Violation::new(field, "must hold certificates in PEM");
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(&bytes).collect::<Result<_, _>>().map_err(broken)?;
    if chain.is_empty() {
        return Err(Violation::new(field, "must hold at least one certificate in PEM"));
    }
    Ok(chain)
}

/// The names in a certificate that TLS has verified, and its end.
fn peer(certificate: &CertificateDer<'_>) -> Option<Peer> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let common = certificate.subject().iter_common_name();
    let mut names: Vec<_> =
        common.filter_map(|name| name.as_str().ok()).map(str::to_owned).collect();
    let alternatives = certificate.subject_alternative_name().ok().flatten();
    for name in alternatives.iter().flat_map(|names| &names.value.general_names) {
        if let GeneralName::DNSName(name) | GeneralName::URI(name) = name {
            names.push((*name).to_owned());
        }
    }
    let end_s = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or_default();
    Some(Peer::new(names, UnixMicros(end_s.saturating_mul(1_000_000))))
}

/// What connections are made with now.
#[derive(Debug)]
pub struct Tls {
    metrics: TlsMetrics,
    current: Mutex<Current>,
}

#[derive(Clone, Debug)]
struct Current {
    config: Arc<ServerConfig>,
    generation: u64,
}

/// What is known of one connection.
#[derive(Clone, Debug)]
pub struct Secured {
    /// The client's certificate, if it has one.
    pub peer: Option<Arc<Peer>>,
    generation: u64,
}

impl Tls {
    /// Reads the files, and goes on to watch them until the runtime ends.
    ///
    /// # Errors
    /// If they cannot be used.
    pub fn start(files: Files, metrics: TlsMetrics) -> Result<Arc<Self>, Violation> {
        let stamps = files.stamps();
        let loaded = files.load()?;
        metrics.started(loaded.not_after);
        let current = Mutex::new(Current { config: loaded.config, generation: 0 });
        let tls = Arc::new(Self { metrics, current });
        let to = Arc::clone(&tls);
        let read = move || (files.stamps(), files.load());
        tokio::spawn(follow(stamps, read, move |loaded| to.replace(loaded)));
        Ok(tls)
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a connection secure, as the files are now.
    ///
    /// # Errors
    /// What TLS has against the client, or the client against us.
    pub async fn accept<Io>(
        &self,
        io: Io,
    ) -> std::io::Result<(tokio_rustls::server::TlsStream<Io>, Secured)>
    where
        Io: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        let Current { config, generation } = self.current().clone();
        let accepted = tokio_rustls::TlsAcceptor::from(config).accept(io).await;
        let stream = accepted.inspect_err(|_| self.metrics.handshake_failed())?;
        let certificates = stream.get_ref().1.peer_certificates();
        let leaf = certificates.and_then(<[_]>::first).and_then(|leaf| peer(leaf));
        Ok((stream, Secured { peer: leaf.map(Arc::new), generation }))
    }

    /// Counts a client that did not finish its handshake in time.
    pub fn timed_out(&self) {
        self.metrics.handshake_failed();
    }

    /// Whether a connection was made with files that have been replaced since.
    #[must_use]
    pub fn is_outdated(&self, secured: &Secured) -> bool {
        self.current().generation != secured.generation
    }

    fn replace(&self, loaded: Result<Loaded, Violation>) {
        match loaded {
            Ok(Loaded { config, not_after }) => {
                let mut current = self.current();
                let generation = current.generation.wrapping_add(1);
                *current = Current { config, generation };
                drop(current);
                self.metrics.reloaded(not_after);
                info!(%not_after, "the API's certificates were read again");
            }
            Err(cause) => {
                self.metrics.reload_failed();
                error!(%cause, "the API's certificates cannot be used: those before stay in use");
            }
        }
    }
}
