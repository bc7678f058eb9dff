//! `Proxy-Status` (RFC 9209): why the agent answered a request itself, in words that other proxies and their logs share.

use std::fmt::Write as _;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use super::ascii;

pub const NAME: HeaderName = HeaderName::from_static("proxy-status");

const AGENT: &str = "hotcert-agent";
/// In bytes, before quotes are escaped.
const MAX_DETAILS: usize = 512;
const MAX_NEXT_HOP: usize = 256;

/// Of the registered types (RFC 9209, 2.3) those that the agent has a use for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorType {
    DnsError,
    DestinationUnavailable,
    DestinationIpProhibited,
    DestinationIpUnroutable,
    ConnectionRefused,
    ConnectionTerminated,
    ConnectionTimeout,
    HttpResponseTimeout,
    ConnectionLimitReached,
    TlsProtocolError,
    TlsCertificateError,
    TlsAlertReceived,
    HttpRequestError,
    HttpRequestDenied,
    HttpUpgradeFailed,
    HttpProtocolError,
    ProxyInternalError,
    ProxyConfigurationError,
    ProxyLoopDetected,
}

impl ErrorType {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DnsError => "dns_error",
            Self::DestinationUnavailable => "destination_unavailable",
            Self::DestinationIpProhibited => "destination_ip_prohibited",
            Self::DestinationIpUnroutable => "destination_ip_unroutable",
            Self::ConnectionRefused => "connection_refused",
            Self::ConnectionTerminated => "connection_terminated",
            Self::ConnectionTimeout => "connection_timeout",
            Self::HttpResponseTimeout => "http_response_timeout",
            Self::ConnectionLimitReached => "connection_limit_reached",
            Self::TlsProtocolError => "tls_protocol_error",
            Self::TlsCertificateError => "tls_certificate_error",
            Self::TlsAlertReceived => "tls_alert_received",
            Self::HttpRequestError => "http_request_error",
            Self::HttpRequestDenied => "http_request_denied",
            Self::HttpUpgradeFailed => "http_upgrade_failed",
            Self::HttpProtocolError => "http_protocol_error",
            Self::ProxyInternalError => "proxy_internal_error",
            Self::ProxyConfigurationError => "proxy_configuration_error",
            Self::ProxyLoopDetected => "proxy_loop_detected",
        }
    }

    /// Why there is no connection.
    pub fn of_connecting(error: &std::io::Error) -> Self {
        use std::io::ErrorKind as Kind;
        match error.kind() {
            Kind::ConnectionRefused => Self::ConnectionRefused,
            Kind::TimedOut => Self::ConnectionTimeout,
            Kind::HostUnreachable | Kind::NetworkUnreachable => Self::DestinationIpUnroutable,
            Kind::ConnectionReset | Kind::ConnectionAborted => Self::ConnectionTerminated,
            // The resolver has codes of its own, and not those of the system.
            _ if error.raw_os_error().is_none() => Self::DnsError,
            _ => Self::DestinationUnavailable,
        }
    }
}

/// Adds what the agent has to say after what proxies before it said.
pub fn append(headers: &mut HeaderMap, error: ErrorType, next_hop: Option<&str>, details: &str) {
    let mut value = format!("{AGENT}; error={}", error.as_str());
    if let Some(next_hop) = next_hop {
        push_string(&mut value, "next-hop", &ascii::line(next_hop, MAX_NEXT_HOP));
    }
    push_string(&mut value, "details", &ascii::line(details, MAX_DETAILS));
    if let Ok(value) = HeaderValue::from_str(&value) {
        headers.append(NAME, value);
    }
}

/// A parameter that is a string (RFC 9651, 4.1.6).
fn push_string(out: &mut String, key: &str, text: &str) {
    let _ = write!(out, "; {key}=\"");
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            out.push('\\');
        }
        out.push(character);
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_what_others_said_and_escapes_what_would_end_it() {
        let mut headers = HeaderMap::new();
        headers.insert(NAME, HeaderValue::from_static("other; error=dns_error"));
        append(&mut headers, ErrorType::ConnectionRefused, Some("a:1"), "it says \"no\\n\" …\n");
        append(&mut headers, ErrorType::HttpRequestError, None, "");
        let values: Vec<_> = headers.get_all(NAME).iter().collect();
        assert_eq!(
            values,
            [
                "other; error=dns_error",
                r#"hotcert-agent; error=connection_refused; next-hop="a:1"; details="it says \"no\\n\" ... ""#,
                r#"hotcert-agent; error=http_request_error; details="""#,
            ]
        );
    }

    #[test]
    fn long_details_are_cut() {
        let mut headers = HeaderMap::new();
        append(&mut headers, ErrorType::DnsError, Some(&"h".repeat(10_000)), &"\"".repeat(10_000));
        let length = headers[NAME].len();
        assert!(length < 2 * MAX_DETAILS + MAX_NEXT_HOP + 100, "{length}");
    }
}
