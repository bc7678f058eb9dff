//! Whether what was seen with agents is what was seen without. Where it is not, nginx is the judge: what nginx does as
//! well is the way of proxies. nginx does not carry trailers nor interim answers, so that it is not asked about them.

use std::fmt;

use super::exchange::{Exchange, Field, Framing, Request};
use super::view::{Refused, View};

/// What was seen of one exchange.
pub struct Views {
    pub direct: View,
    pub agent: View,
    pub two_agents: View,
    pub nginx: View,
}

/// A difference that is none of a proxy's.
#[derive(Debug)]
pub struct Difference {
    pub with: &'static str,
    pub what: String,
    /// Without an agent, with one or two, and with nginx.
    pub seen: [Option<String>; 3],
}

/// A difference that is wanted.
pub struct Wanted {
    /// What the fact's name begins with, without the number of the request.
    fact: &'static str,
    /// Whether it is wanted of this request.
    of: fn(&Request) -> bool,
    pub why: &'static str,
}

pub const WANTED: &[Wanted] = &[
    Wanted {
        fact: "app trailer",
        of: |request| !is_announced(&request.fields),
        why: "trailers that were not announced may be dropped (RFC 9110, 6.5.1)",
    },
    Wanted {
        fact: "client trailer",
        of: |request| !is_announced(&request.response.fields) || !takes_trailers(request),
        why: "so may those that the client has not said to take (RFC 9110, 10.1.4)",
    },
    Wanted {
        fact: "client length",
        of: |request| matches!(request.response.framing, Framing::ChunkedAndLength),
        why: "a length beside a transfer coding says nothing and is removed (RFC 9112, 6.3)",
    },
    Wanted {
        fact: "client asked to go on",
        of: |request| request.expects,
        why: "two agents speak HTTP/2 to each other, over which a body does not wait for a 100",
    },
];

/// Whether a request may be refused though nginx takes it: a `:path` is of RFC 3986 (RFC 9113, 8.3.1), and the library that
/// reads HTTP/2 takes little else. In HTTP/1, where clients do send it, it is taken.
///
/// So may one whose response breaks off, where two agents speak HTTP/2 to each other: a reset overtakes a head that waits to
/// be sent.
fn may_be_refused(exchange: &Exchange, request: &Request, with: &str) -> bool {
    exchange.http2 && !is_of_uri(&request.target) || request.response.broken && with == "two agents"
}

/// Bytes that are those of a path and a query (RFC 3986, 3.3 and 3.4).
fn is_of_uri(target: &[u8]) -> bool {
    target.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:@/?".contains(byte))
}

fn is_announced(fields: &[Field]) -> bool {
    fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("trailer"))
}

fn takes_trailers(request: &Request) -> bool {
    let takes = |value: &[u8]| value.ends_with(b"trailers");
    request.fields.iter().any(|(name, value)| name.eq_ignore_ascii_case("te") && takes(value))
}

impl Views {
    pub fn differences(&self, exchange: &Exchange) -> Vec<Difference> {
        let mut differences = self.of("one agent", &self.agent, exchange);
        differences.extend(self.of("two agents", &self.two_agents, exchange));
        differences
    }

    fn of(&self, with: &'static str, agent: &View, exchange: &Exchange) -> Vec<Difference> {
        let (direct, nginx) = (&self.direct, &self.nginx);
        let mut differences = Vec::new();
        let refused = agent.refused.iter().find(|(at, _)| !direct.refused.contains_key(at));
        let count = refused.map_or(usize::MAX, |(at, _)| *at);
        if let Some((at, Refused { status, fault })) = refused {
            let malformed = direct.facts.contains_key(&format!("client {} fault", at + 1))
                || direct.facts.contains_key(&format!("app {} fault", at + 1));
            let judge = nginx.refused.get(at);
            // A reset is the way in which HTTP/2 refuses what is malformed.
            let is_answer = *status >= 400 || malformed || judge.is_some_and(|judge| judge.status == 0);
            let request = exchange.requests.get(*at);
            let may_be = request.is_some_and(|request| may_be_refused(exchange, request, with));
            if !may_be && (!is_answer || !malformed && judge.is_none()) {
                differences.push(Difference {
                    with,
                    what: format!("request {} refused with {status}", at + 1),
                    seen: [
                        Some("answered".into()),
                        Some(format!("{status}: {fault} {}", agent.reason(*at))),
                        Some(
                            judge.map_or("answered".into(), |judge| {
                                format!("{}: {}", judge.status, judge.fault)
                            }),
                        ),
                    ],
                });
            }
        }
        let names = direct.facts.keys().chain(agent.facts.keys());
        let mut names: Vec<_> = names.filter(|name| number(name) < count).collect();
        names.sort();
        names.dedup();
        for name in names {
            let [left, right, judge] = [direct, agent, nginx].map(|view| view.facts.get(name));
            let is_host_of_route = with == "two agents" && name.ends_with(" host");
            let is_judge =
                !name.contains("trailer") && !name.contains("interim") && !name.contains("another hop");
            let fact = without_number(name);
            let request = exchange.requests.get(number(name));
            let is_wanted = |wanted: &Wanted| fact.starts_with(wanted.fact) && request.is_some_and(wanted.of);
            let wanted = WANTED.iter().any(is_wanted);
            let of_proxy = with == "two agents" && name.contains(" field proxy-auth");
            if left == right || is_host_of_route || wanted || of_proxy || is_judge && right == judge {
                continue;
            }
            let seen = [left, right, judge].map(|seen| seen.cloned());
            differences.push(Difference { with, what: name.clone(), seen });
        }
        let is_left_open = nginx.kept && nginx.refused.is_empty();
        if refused.is_none() && !agent.kept && is_left_open && exchange.may_go_on() {
            let seen = [direct.kept, agent.kept, nginx.kept].map(|kept| Some(kept.to_string()));
            differences.push(Difference { with, what: "the client's connection is kept".into(), seen });
        }
        differences
    }
}

impl View {
    /// What whoever refused this request said of it.
    fn reason(&self, at: usize) -> &str {
        self.facts.get(&format!("client {} field x-hotcert-error", at + 1)).map_or("", String::as_str)
    }
}

pub fn without_number(fact: &str) -> String {
    let words: Vec<_> =
        fact.split(' ').enumerate().filter(|(at, _)| *at != 1).map(|(_, word)| word).collect();
    words.join(" ")
}

/// Of the request, from 0, that a fact is about.
fn number(name: &str) -> usize {
    let number = name.split(' ').nth(1).and_then(|number| number.parse().ok());
    number.map_or(0, |number: usize| number - 1)
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [direct, agent, nginx] = self.seen.each_ref().map(|seen| seen.as_deref().unwrap_or("(none)"));
        writeln!(f, "  {}", self.what)?;
        writeln!(f, "    without agents  {direct}")?;
        writeln!(f, "    with {:<11}{agent}", self.with)?;
        writeln!(f, "    with nginx      {nginx}")
    }
}
