//! Where the daemon is, and who asks: the arguments of every command that calls its API.

use std::path::PathBuf;

use clap::Args;

#[derive(Args, Debug)]
pub(super) struct Client {
    /// Where the daemon's API listens
    #[arg(
        long,
        value_name = "URL",
        env = "PORTCULLIS_API",
        default_value = "http://127.0.0.1:7700"
    )]
    pub(super) api: String,
    /// A file with the token to show [default: the token in PORTCULLIS_TOKEN]
    #[arg(long, value_name = "FILE", env = "PORTCULLIS_TOKEN_FILE")]
    pub(super) token_file: Option<PathBuf>,
    /// PEM certificates to trust an https:// daemon by [default: the system's]
    #[arg(long, value_name = "FILE", env = "PORTCULLIS_CA_FILE")]
    pub(super) ca_file: Option<PathBuf>,
    /// Your certificate (PEM), if the daemon asks for one
    #[arg(long, value_name = "FILE", env = "PORTCULLIS_CERT_FILE", requires = "key_file")]
    pub(super) cert_file: Option<PathBuf>,
    /// The private key of your certificate (PEM)
    #[arg(long, value_name = "FILE", env = "PORTCULLIS_KEY_FILE", requires = "cert_file")]
    pub(super) key_file: Option<PathBuf>,
    /// Print the daemon's answer as JSON
    #[arg(long)]
    pub(super) json: bool,
}
