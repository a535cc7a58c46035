//! `portcullis token`: makes tokens. What the daemon is to know of one is printed as lines of its
//! configuration; the token itself is shown once, or written to a file, and kept nowhere.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use access::{Role, Token};
use clap::{Args, Subcommand};
use model::name::Name;
use model::time::UnixMicros;

use super::Failure;

#[derive(Args, Debug)]
pub(super) struct Tokens {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Make a token: prints it once, and the lines for the daemon's configuration
    New(New),
}

#[derive(Args, Debug)]
struct New {
    /// Who is to use it, as the audit log will say; the same as before to replace a token
    #[arg(long, value_parser = name)]
    name: String,
    /// publisher, operator or auditor
    #[arg(long, value_parser = role)]
    role: Role,
    /// When it ends (RFC 3339), such as 2027-11-22T00:00:00Z [default: never]
    #[arg(long, value_name = "TIME", value_parser = time)]
    not_after: Option<String>,
    /// Write the token to a new file that only you can read, instead of printing it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

fn name(text: &str) -> Result<String, &'static str> {
    Name::parse(text).map(|_| text.to_owned()).ok_or(Name::RULE)
}

fn role(text: &str) -> Result<Role, String> {
    let names = || Role::ALL.map(Role::as_str).join(", ");
    Role::parse(text).ok_or_else(|| format!("must be one of {}", names()))
}

fn time(text: &str) -> Result<String, &'static str> {
    let rule = "must be an RFC 3339 time such as 2027-11-22T00:00:00Z";
    UnixMicros::parse_rfc3339(text).map(|_| text.to_owned()).ok_or(rule)
}

pub(super) fn run(tokens: &Tokens) -> Result<bool, Failure> {
    let TokenCommand::New(new) = &tokens.command;
    let token = Token::generate().map_err(io::Error::from)?;
    let mut out = io::stdout();
    match &new.out {
        Some(path) => {
            let cannot =
                |cause| Failure::Usage(format!("cannot write {}: {cause}", path.display()));
            let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            writeln!(opened.map_err(cannot)?, "{}", token.expose()).map_err(cannot)?;
        }
        None => {
            writeln!(out, "{}\n", token.expose())?;
            writeln!(
                out,
                "# Above: the token, which is shown only now. Below: for portcullis.toml."
            )?;
        }
    }
    writeln!(out, "[[api.tokens]]\nname = \"{}\"\nrole = \"{}\"", new.name, new.role)?;
    writeln!(out, "hash = \"{}\"", token.digest())?;
    if let Some(time) = &new.not_after {
        writeln!(out, "not_after = \"{time}\"")?;
    }
    Ok(true)
}
