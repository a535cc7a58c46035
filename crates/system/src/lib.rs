//! What the daemon and the command line ask of the operating system: the time of day, files that hold secrets,
//! files that change, and TOML files with their errors.
//!
//! Databases are `disk`'s; sockets are their users'. Begin with [`parse_toml`] and [`Secret`]: what is
//! read here says which field breaks which rule, and never shows a secret.

mod clock;
mod private;
mod value;
mod watch;

pub use clock::wall_clock;
pub use private::{Draft, FILE_BYTES_MAX, Stamp, read_private};
pub use value::{Place, Secret, Span, TIME_RULE, Time, parse_toml, read, read_bounded};
pub use watch::{Load, Reading, Stamps, follow, is_outdated, watch};
