//! Where events come from, besides the API: each source hears events and hands them over.

pub mod redis;
pub mod waiting;
