//! HMAC-SHA256, and the one place where MACs are compared.
