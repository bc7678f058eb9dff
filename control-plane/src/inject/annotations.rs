//! The `hotcert.dev/` label and annotations of a pod, and the reader that collects every mistake in them.

use std::fmt::Display;

use serde_json::Value;

use super::nearest::nearest;
use super::problem::Problems;

pub const PREFIX: &str = "hotcert.dev/";
/// On a pod (or pod template) or a namespace: `enabled` or `disabled`, which wins.
pub const INJECT_LABEL: &str = "hotcert.dev/inject";
/// Set by the injection: which kind of sidecar the agent is.
pub const INJECTED: &str = "hotcert.dev/injected";

/// An annotation of a pod, as the reference documents it.
pub struct Annotation {
    /// After `hotcert.dev/`.
    pub name: &'static str,
    /// The shape of its value.
    pub value: &'static str,
    pub meaning: &'static str,
}

/// Every annotation that a pod may have; another one is rejected.
pub const ANNOTATIONS: [Annotation; 17] = [
    Annotation {
        name: "secret",
        value: "NAME",
        meaning: "Required. The Secret with the identity, in the pod's namespace.",
    },
    Annotation {
        name: "inbound",
        value: "[http:|h2c:|alpn=NAME[+NAME…]:]PORT=APPPORT[#proxy-v2], …",
        meaning: "Ports on which the agent terminates TLS, and the loopback port of the app behind each. Without a prefix \
                  bytes are forwarded (TCP); `alpn=` names the ALPN protocols that such a route negotiates, in the \
                  server's order. `http:` and `h2c:` take HTTP/1.1 and HTTP/2 and speak HTTP/1.1 (`http:`) or HTTP/2 \
                  without TLS (`h2c:`, for gRPC) to the app, which receives the peer's identity in \
                  `X-Forwarded-Client-Cert`. With `#proxy-v2` bytes to the app begin with a header of PROXY protocol, \
                  version 2, that says who the client is.",
    },
    Annotation {
        name: "outbound",
        value: "[http:|alpn=NAME[+NAME…]:]PORT=HOST:PORT[#[sni:NAME+]SAN[+SAN…]], …",
        meaning: "Loopback ports on which the app reaches HOST over mTLS. The server must show one of the SANs: \
                  `dns:NAME`, `ip:ADDRESS` or `spiffe://DOMAIN/PATH`; default: HOST. SNI is HOST, or the name after `sni:`. Without a prefix bytes are forwarded (TCP); `alpn=` names the ALPN protocols that are \
                  offered to the server. `http:` takes HTTP/1.1 and HTTP/2 without TLS (gRPC) from the app.",
    },
    Annotation {
        name: "http-proxy",
        value: "PORT",
        meaning: "Loopback port of an HTTP forward proxy that turns `http://HOST:PORT/…` into mTLS.",
    },
    Annotation {
        name: "allow",
        value: "[PORT=]NAME[+NAME…], …",
        meaning: "Clients whose certificate has one of these names are admitted: `spiffe://DOMAIN/PATH` or `dns:NAME`. With \
                  PORT of an inbound route the names are for that route alone; without it, for every route that has no \
                  list of its own. Default: every client that the trust bundle verifies.",
    },
    Annotation {
        name: "trust-forwarded",
        value: "spiffe://DOMAIN/PATH or dns:NAME, …",
        meaning: "Clients whose word on where a request comes from (`X-Forwarded-For` and the like) is passed on to the \
                  app and added to, such as an ingress. Default: none; what a client says is replaced.",
    },
    Annotation {
        name: "expect-name",
        value: "spiffe://DOMAIN/PATH or dns:NAME, …",
        meaning: "Names that the pod's own leaf must have; a leaf without one is rejected.",
    },
    Annotation {
        name: "client-auth",
        value: "require or none",
        meaning: "`none` serves plain HTTPS with a public certificate. Default: `require`.",
    },
    Annotation {
        name: "api",
        value: "enabled or disabled",
        meaning: "Whether the Secret is followed through the Kubernetes API beside its volume. Default: `enabled`.",
    },
    Annotation {
        name: "sidecar",
        value: "native or container",
        meaning: "How the agent is added. Default: `native` where the API server and every node run Kubernetes 1.29 or \
                  later, else `container`.",
    },
    Annotation { name: "cpu-request", value: "quantity", meaning: "CPU request of the agent's container." },
    Annotation {
        name: "memory-request",
        value: "quantity",
        meaning: "Memory request of the agent's container.",
    },
    Annotation { name: "cpu-limit", value: "quantity", meaning: "CPU limit of the agent's container." },
    Annotation { name: "memory-limit", value: "quantity", meaning: "Memory limit of the agent's container." },
    Annotation {
        name: "log",
        value: "error, warn, info or debug",
        meaning: "Log level of the agent. Default: `info`.",
    },
    Annotation {
        name: "access-log",
        value: "off or stdout",
        meaning: "Whether the agent writes a line for each request and connection to its standard output. Default: \
                  `off`.",
    },
    Annotation {
        name: "injected",
        value: "native or container",
        meaning: "Set by the injection; how the agent was added.",
    },
];
/// Bytes of an annotation's value. The API server checks sizes only when the pod is complete.
const MAX_BYTES: usize = 4 << 10;
const MAX_ITEMS: usize = 64;
/// Characters of an annotation's name after its prefix, as in Kubernetes.
const MAX_NAME: usize = 63;

/// Where a problem with this annotation is reported.
pub fn location(name: &str) -> String {
    format!("annotation {PREFIX}{name}")
}

/// Reports values that are too large to be meant, before they are parsed.
pub fn check_sizes(pod: &Value, problems: &mut Problems) {
    for (key, value) in pod["metadata"]["annotations"].as_object().into_iter().flatten() {
        let bytes = value.as_str().map_or(0, str::len);
        if key.starts_with(PREFIX) && bytes > MAX_BYTES {
            problems.add(
                format!("annotation {key}"),
                format!("{bytes} bytes are more than {MAX_BYTES}: shorten it"),
            );
        }
    }
}

/// The `hotcert.dev/` annotations of one pod, by their names without the prefix.
pub struct Annotations<'a> {
    values: &'a Value,
    problems: &'a mut Problems,
}

impl<'a> Annotations<'a> {
    pub fn of(pod: &'a Value, problems: &'a mut Problems) -> Self {
        Self { values: &pod["metadata"]["annotations"], problems }
    }

    pub fn contains(&self, name: &str) -> bool {
        self.values.get(format!("{PREFIX}{name}")).is_some()
    }

    pub fn reject(&mut self, name: &str, message: impl AsRef<str>) {
        self.problems.add(location(name), message);
    }

    /// `None` if it is missing or invalid, which is reported.
    pub fn parse<T, E: Display>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, E>) -> Option<T> {
        let text = self.text(name)?;
        parse(&text).map_err(|error| self.reject(name, error.to_string())).ok()
    }

    /// The valid items of a comma-separated list; the others are reported.
    pub fn parse_list<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let Some(text) = self.text(name) else {
            return Vec::new();
        };
        let count = text.split(',').count();
        if count > MAX_ITEMS {
            self.reject(name, format!("{count} items are more than {MAX_ITEMS}: use fewer"));
            return Vec::new();
        }
        let mut values = Vec::new();
        for item in text.split(',').map(str::trim) {
            match parse(item) {
                _ if item.is_empty() => {
                    self.reject(name, "an item is empty: remove the comma before or after it")
                }
                Ok(value) => values.push(value),
                Err(error) => self.reject(name, error),
            }
        }
        values
    }

    pub fn reject_unknown(&mut self) {
        let known = ANNOTATIONS.map(|annotation| annotation.name);
        let unknown =
            self.values.as_object().into_iter().flatten().filter_map(|(key, _)| key.strip_prefix(PREFIX));
        for name in unknown.filter(|name| !known.contains(name)) {
            let hint = if format!("{PREFIX}{name}") == INJECT_LABEL {
                "it is a label: move it to the labels".to_owned()
            } else if name.len() <= MAX_NAME
                && let Some(meant) = nearest(name, &known)
            {
                format!("unknown annotation: did you mean {PREFIX}{meant}?")
            } else {
                "unknown annotation: remove it".to_owned()
            };
            self.problems.add(location(name), hint);
        }
    }

    fn text(&mut self, name: &str) -> Option<String> {
        let value = self.values.get(format!("{PREFIX}{name}"))?;
        match value.as_str().map(str::trim) {
            None => self.reject(name, format!("{value} is not a string: put it in quotes")),
            Some("") => self.reject(name, "it is empty: give a value or remove it"),
            Some(text) => return Some(text.to_owned()),
        }
        None
    }
}
