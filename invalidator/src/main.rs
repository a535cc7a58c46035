//! Portcullis command line (skeleton).
fn main() {}
