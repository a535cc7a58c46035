//! What a request's headers claim about its signature, by profile. Strict: what is ambiguous is
//! refused.
