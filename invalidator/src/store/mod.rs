//! What the daemon knows, on disk.

mod error;
pub mod file;
mod lock;

pub use error::StoreError;
