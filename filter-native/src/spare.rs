//! Memory that each thread keeps for its next request, so that one that is let through asks for none here.

use std::cell::RefCell;

/// As many as one callback has at the same time, and some more.
const VECTORS_MAX: usize = 4;

/// A vector that has grown beyond this is not kept.
const VECTOR_BYTES_MAX: usize = 64 * 1024;

thread_local! {
    static VECTORS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// An empty vector.
pub(crate) fn vector() -> Vec<u8> {
    let mut vector = VECTORS.with_borrow_mut(Vec::pop).unwrap_or_default();
    vector.clear();
    vector
}

/// Keeps a vector for later.
pub(crate) fn keep_vector(vector: Vec<u8>) {
    VECTORS.with_borrow_mut(|kept| {
        if kept.len() < VECTORS_MAX && vector.capacity() <= VECTOR_BYTES_MAX {
            kept.push(vector);
        }
    });
}
