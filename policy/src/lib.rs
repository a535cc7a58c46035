//! Portcullis policy (skeleton).
