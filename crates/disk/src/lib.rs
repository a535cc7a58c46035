//! Database files that one process at a time writes, and that are never taken for what they are not: checked as
//! a whole when they are opened, looked at while they are open, and written anew if they lose their name.
//!
//! What is in them is their users' affair: the store, the dead letters, the audit log's pseudonyms. Begin with
//! [`file::open`], or [`Held`] for a file that is opened when it is needed.

mod anchor;
pub mod directory;
mod error;
pub mod file;
mod held;
mod holder;
mod lock;

pub use anchor::{Anchor, Look, Standing, give_name};
pub use error::StoreError;
pub use held::Held;
pub use holder::holder_of;
pub use lock::{DirectoryLock, is_locked};
