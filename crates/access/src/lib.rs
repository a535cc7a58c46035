//! Who may use the API, and for what: roles, tokens, client certificates, and how fast each caller
//! may ask.
//!
//! Everything but [`tls`] is plain, synchronous code: it is given headers, names and the time, and
//! says yes or no. No error, log line or `Debug` of this module shows a token.
//!
//! Sockets and HTTP are the server's, which asks here before it does anything. Begin with [`Access`], which tells a caller
//! from a stranger, and [`Permission`], the table of what each role may do.

mod authority;
mod caller;
mod door;
mod inbox;
mod pace;
mod role;
mod subject_pace;
#[cfg(test)]
mod tests;
pub mod tls;
mod token;

pub use authority::{Authority, RawAuthority};
pub use caller::{Access, CALLERS_MAX, Caller, Denied, Grant, Known, Peer};
pub use door::Door;
pub use inbox::Inbox;
pub use pace::{Lane, Pace, RATE_DEFAULT};
pub use role::{Needs, Permission, Role};
pub use subject_pace::SubjectPace;
pub use token::{Digest, Token};
