//! What keeps a valid configuration from running here: `run --check` looks at everything that can be
//! looked at without changing anything, and says all that is wrong.
//!
//! Nothing is made, opened for writing, or listened on, and Redis is not spoken to. Whether what the
//! store holds is whole is only known when it is opened.

use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::{fs, io};

use audit::{self, OpenError};
use deadletter;
use keys::{self};
use model::violation::Violation;
use rustix::fs::{Access as Rights, AtFlags, CWD, accessat};
use socket2::{Domain, Socket, Type};
use store;
use system::Reading;

use super::prepare::witness_of;
use crate::config::{Config, Listen};
use crate::intake::load_keys;
use crate::metrics::Metrics;
use crate::relay;

/// What is in `store.directory`, besides the audit log.
const FILES: [&str; 4] =
    [store::FILE_NAME, store::MARK_NAME, deadletter::FILE_NAME, audit::PSEUDONYMS_FILE];

/// What is in the way of a start, in the order in which the daemon would find it. With
/// `while_running`, what a daemon has that is running does not count: its addresses and its locks.
#[must_use]
pub fn check(config: Config, while_running: bool) -> Vec<Violation> {
    let mut errors = Vec::new();
    let witness = witness_of(&config.store, &config.audit.directory);
    let mut note = |checked: Result<(), Violation>| errors.extend(checked.err());
    note(config.sources.build(&mut Metrics::new().meters()).map(drop));
    if let Some(file) = &config.keys_file {
        note(Reading::of(file, keys::load).keys.map(drop));
    }
    if let Some(file) = &config.events.keys_file {
        note(Reading::of(file, load_keys).keys.map(drop));
    }
    if let Some(file) = &config.fleet_key_file {
        note(Reading::of(file, relay::load).keys.map(drop));
    }
    if let Some(files) = &config.api.tls {
        note(files.load().map(drop));
    }
    let store = &config.store.directory;
    match directory("store.directory", store) {
        Ok(()) => {
            for name in FILES {
                note(file("store.directory", &store.join(name)));
            }
            let looked = store::look(store, &witness, while_running);
            note(looked.map_err(|error| Violation::new("store.directory", error.to_string())));
        }
        Err(error) => note(Err(error)),
    }
    let audit = &config.audit.directory;
    match directory("audit.directory", audit) {
        Ok(()) => {
            let last = audit::list(audit).ok().and_then(|mut files| files.pop());
            let names = last.map(|file| file.name).into_iter();
            for name in names.chain(audit::BESIDE.map(str::to_owned)) {
                note(file("audit.directory", &audit.join(name)));
            }
            note(match audit::look(&config.audit) {
                Err(OpenError::InUse(_)) if while_running => Ok(()),
                Err(error) => Err(of_audit(&error)),
                Ok(()) => Ok(()),
            });
        }
        Err(error) => note(Err(error)),
    }
    let made = [store.as_path(), audit.as_path()];
    match &config.poll.listen {
        Listen::Unix { path, .. } => note(socket(path, &made, while_running)),
        Listen::Tcp(address) => {
            note(address_of("poll.listen", *address, while_running));
            note(apart(*address, config.api.listen));
        }
    }
    note(address_of("api.listen", config.api.listen, while_running));
    errors
}

fn of_audit(error: &OpenError) -> Violation {
    // It begins with the field.
    let text = error.to_string();
    let (field, rule) = text.split_once(": ").unwrap_or(("audit.directory", &text));
    Violation::new(field, rule)
}

fn may(path: &Path, rights: Rights) -> io::Result<()> {
    // As who the daemon is, and not who has started it.
    Ok(accessat(CWD, path, rights, AtFlags::EACCESS)?)
}

/// A directory of the daemon's own: there, or one that can be made.
fn directory(field: &str, path: &Path) -> Result<(), Violation> {
    let broken = |rule: String| Violation::new(field, rule);
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_dir() => {
            Err(broken(format!("{} is not a directory", path.display())))
        }
        Ok(_) => may(path, Rights::READ_OK | Rights::WRITE_OK | Rights::EXEC_OK)
            .map_err(|cause| broken(format!("{} cannot be used: {cause}", path.display()))),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
            if fs::symlink_metadata(path).is_ok() {
                let rule = format!("{} is a link that leads to nothing", path.display());
                return Err(broken(rule));
            }
            let there = path.ancestors().skip(1).find(|ancestor| ancestor.exists());
            let there = there.unwrap_or(Path::new("/"));
            let can = may(there, Rights::WRITE_OK | Rights::EXEC_OK);
            let can = can.and_then(|()| match there.is_dir() {
                true => Ok(()),
                false => Err(io::ErrorKind::NotADirectory.into()),
            });
            can.map_err(|cause| {
                let (path, there) = (path.display(), there.display());
                broken(format!("{path} is not there and cannot be made in {there}: {cause}"))
            })
        }
        Err(cause) => Err(broken(format!("{} cannot be used: {cause}", path.display()))),
    }
}

/// A file of the daemon's own, if it is there.
fn file(field: &str, path: &Path) -> Result<(), Violation> {
    let broken = |rule: String| Violation::new(field, format!("{} {rule}", path.display()));
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => Err(broken("is not a file".to_owned())),
        Ok(_) => may(path, Rights::READ_OK | Rights::WRITE_OK)
            .map_err(|cause| broken(format!("cannot be read and written: {cause}"))),
        // Whatever keeps it from being seen keeps the directory from being used.
        Err(_) => Ok(()),
    }
}

/// The socket's path; `made` are directories that the daemon makes before.
fn socket(path: &Path, made: &[&Path], while_running: bool) -> Result<(), Violation> {
    let broken = |rule: String| Violation::new("poll.listen", rule);
    let shown = path.display();
    let parent = path.parent().unwrap_or(Path::new("/"));
    let is_made = made.iter().any(|directory| directory.starts_with(parent));
    match fs::metadata(parent) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound && is_made => return Ok(()),
        Err(cause) => {
            return Err(broken(format!("the directory of {shown} cannot be used: {cause}")));
        }
        Ok(metadata) if !metadata.is_dir() => {
            return Err(broken(format!("{} is not a directory", parent.display())));
        }
        Ok(_) => may(parent, Rights::WRITE_OK | Rights::EXEC_OK).map_err(|cause| {
            broken(format!("no socket can be made in {}: {cause}", parent.display()))
        })?,
    }
    let metadata = match fs::symlink_metadata(path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(cause) => return Err(broken(format!("{shown} cannot be used: {cause}"))),
        Ok(metadata) => metadata,
    };
    if !metadata.file_type().is_socket() {
        return Err(broken(format!("{shown} is there, and is not a socket")));
    }
    match UnixStream::connect(path) {
        // Left behind by a daemon that was killed: it is replaced.
        Err(cause) if cause.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(cause) => Err(broken(format!("{shown} is in use: {cause}"))),
        Ok(_) if while_running => Ok(()),
        Ok(_) => Err(broken(format!("{shown} is in use: another process listens on it"))),
    }
}

/// An address that can be listened on. It is bound for a moment, and not listened on.
fn address_of(field: &str, address: SocketAddr, while_running: bool) -> Result<(), Violation> {
    let bind = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        // As the daemon does it: connections of the one before are no obstacle.
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())
    };
    match bind() {
        Err(cause) if while_running && cause.kind() == io::ErrorKind::AddrInUse => Ok(()),
        Err(cause) => Err(Violation::new(field, format!("cannot listen on {address}: {cause}"))),
        Ok(()) => Ok(()),
    }
}

/// The two listeners must not want the same address.
fn apart(poll: SocketAddr, api: SocketAddr) -> Result<(), Violation> {
    let (one, other) = (poll.ip(), api.ip());
    let meet = one == other || one.is_unspecified() || other.is_unspecified();
    if poll.port() == api.port() && poll.port() != 0 && meet {
        let rule = format!("must be another address than api.listen, which is {api}");
        return Err(Violation::new("poll.listen", rule));
    }
    Ok(())
}
