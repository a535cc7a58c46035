//! Where the poll endpoint listens, as it is written.

use model::violation::Violation;

use super::Listen;

/// Longest path of a Unix socket, in bytes (`sun_path` less its terminator).
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Parses where the poll endpoint listens; `mode` is the permission bits of a Unix socket.
pub(super) fn parse(text: &str, mode: Option<&str>) -> Result<Listen, Violation> {
    let Some(path) = text.strip_prefix("unix:") else {
        if mode.is_some() {
            return Err(Violation::new("poll.socket_mode", "belongs to a unix: address only"));
        }
        let rule = "must be \"unix:/absolute/path\" or an address such as \"127.0.0.1:7701\"";
        return text.parse().map(Listen::Tcp).map_err(|_| Violation::new("poll.listen", rule));
    };
    if !path.starts_with('/') || path.len() > SOCKET_PATH_BYTES_MAX {
        let rule = format!("must name an absolute path of at most {SOCKET_PATH_BYTES_MAX} bytes");
        return Err(Violation::new("poll.listen", rule));
    }
    let mode = octal(mode.unwrap_or("0600")).ok_or_else(|| {
        let rule = "must be an octal string from \"0600\" to \"0777\" that lets the owner in";
        Violation::new("poll.socket_mode", rule)
    })?;
    Ok(Listen::Unix { path: path.into(), mode })
}

fn octal(text: &str) -> Option<u32> {
    let mode = u32::from_str_radix(text, 8).ok()?;
    (mode <= 0o777 && mode & 0o600 == 0o600).then_some(mode)
}
