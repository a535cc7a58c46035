//! Without TLS the API is for this host alone: a web page must not reach it through a name of its
//! own that leads to loopback (DNS rebinding).
//!
//! Such a page has no token, since browsers keep none for the API, but could read what is public.
//! With TLS its name does not fit the certificate, and this is not needed: the API may then have
//! any name. Neither does a client certificate in a browser help a page of another origin: it
//! cannot read answers, and cannot send JSON, for which the browser would ask the API first.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;

/// Answers only requests that are addressed to loopback, or to nobody.
pub(super) async fn loopback_only(request: Request, next: Next) -> Response {
    if is_loopback(request.headers()) {
        return next.run(request).await;
    }
    Problem::new(StatusCode::MISDIRECTED_REQUEST, "misdirected", "The API answers to loopback only")
        .broken("host", "must be localhost or a loopback address")
        .into_response()
}

fn is_loopback(headers: &HeaderMap) -> bool {
    headers.get_all(header::HOST).iter().all(|host| {
        let host = Authority::try_from(host.as_bytes());
        host.is_ok_and(|host| is_loopback_name(host.host()))
    })
}

/// Whether a host is this one by name or address.
pub(crate) fn is_loopback_name(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let address = address.parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(host: &str) -> bool {
        is_loopback(&HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]))
    }

    #[test]
    fn loopback_in_any_form_is_answered() {
        for host in ["localhost", "LocalHost:7700", "127.0.0.1", "127.1.2.3:80", "[::1]", "[::1]:1"]
        {
            assert!(answers(host), "{host}");
        }
        assert!(is_loopback(&HeaderMap::new()), "nobody in particular");
    }

    #[test]
    fn other_names_are_not() {
        let others = [
            "",
            "evil.example",
            "evil.example:7700",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1:7700",
            "[::2]",
            "a b",
            "localhost@evil.example",
        ];
        for host in others {
            assert!(!answers(host), "{host}");
        }
        let mut two = HeaderMap::new();
        two.append(header::HOST, "localhost".parse().unwrap());
        two.append(header::HOST, "evil.example".parse().unwrap());
        assert!(!is_loopback(&two));
    }
}
