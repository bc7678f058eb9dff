//! How long requests take: a histogram for each route and protocol, from the complete head of a request to the end of
//! its response. It is counted where traffic flows, so it is a few atomic numbers and no lock.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::connection::tracker::Side;
use crate::proxy::http::Dialect;

/// Upper bounds of the buckets in microseconds: half a millisecond is what a call between two pods takes, and who waits
/// for more than ten seconds has given up. Each factor of two to two and a half has one, as in other proxies.
const BOUNDS: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000,
];
const PROTOCOLS: [Dialect; 3] = [Dialect::Http1, Dialect::Http2, Dialect::Grpc];

/// The histograms of all routes.
#[derive(Clone, Default)]
pub struct RequestLatencies(Arc<Mutex<Vec<Arc<RouteLatency>>>>);

impl RequestLatencies {
    /// Those of a new route. `route`: what it is known by.
    pub fn route(&self, side: Side, route: &str) -> Arc<RouteLatency> {
        let latency = Arc::new(RouteLatency { side, route: route.into(), histograms: Default::default() });
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&latency));
        latency
    }
}

/// The histograms of one route.
pub struct RouteLatency {
    side: Side,
    route: String,
    /// One for each of [`PROTOCOLS`].
    histograms: [Histogram; PROTOCOLS.len()],
}

#[derive(Default)]
struct Histogram {
    /// The last is for what is beyond all bounds.
    counts: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

impl RouteLatency {
    pub fn observe(&self, protocol: Dialect, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.iter().position(|bound| micros <= *bound).unwrap_or(BOUNDS.len());
        let histogram = &self.histograms[protocol as usize];
        histogram.counts[bucket].fetch_add(1, Relaxed);
        histogram.micros.fetch_add(micros, Relaxed);
    }
}

/// As a metric that is read when it is asked for.
struct LatencyCollector {
    name: &'static str,
    help: &'static str,
    latencies: RequestLatencies,
}

impl RequestLatencies {
    pub fn collector(&self, name: &'static str, help: &'static str) -> Box<dyn Collector> {
        Box::new(LatencyCollector { name, help, latencies: self.clone() })
    }
}

impl Collector for LatencyCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut family = encoder.encode_descriptor(self.name, self.help, None, MetricType::Histogram)?;
        for route in self.latencies.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            for (protocol, histogram) in PROTOCOLS.iter().zip(&route.histograms) {
                let mut bounds = BOUNDS.iter().map(|micros| *micros as f64 / 1e6).chain([f64::INFINITY]);
                let buckets = histogram.counts.each_ref().map(|count| {
                    let bound = bounds.next().unwrap_or(f64::INFINITY);
                    (bound, count.load(Relaxed))
                });
                let count = buckets.iter().map(|(_, count)| count).sum();
                if count == 0 {
                    // A route of HTTP/1.1 alone has no series of the others.
                    continue;
                }
                let labels = [
                    ("side", route.side.as_str()),
                    ("route", route.route.as_str()),
                    ("protocol", protocol.as_str()),
                ];
                let seconds = histogram.micros.load(Relaxed) as f64 / 1e6;
                let mut encoder = family.encode_family(&labels)?;
                encoder.encode_histogram::<NoLabelSet>(seconds, count, &buckets, None)?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for LatencyCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LatencyCollector").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;

    const NAME: &str = "request_duration_seconds";

    #[test]
    fn requests_are_counted_by_route_and_protocol_in_the_bucket_of_their_time() {
        let latencies = RequestLatencies::default();
        let route = latencies.route(Side::Inbound, "0.0.0.0:8443");
        latencies.route(Side::Outbound, "127.0.0.1:9001");
        for micros in [0, 500, 501, 9_999_999, 10_000_001, u64::MAX / 2] {
            route.observe(Dialect::Http1, Duration::from_micros(micros));
        }
        route.observe(Dialect::Grpc, Duration::from_millis(2));
        let mut registry = Registry::with_prefix("hotcert");
        registry.register_collector(latencies.collector(NAME, "Time"));
        let (_, text) = hotcert_log::exposition::render(&registry, None);
        let labels =
            |protocol: &str| format!("side=\"inbound\",route=\"0.0.0.0:8443\",protocol=\"{protocol}\"}}");
        for (protocol, before, value) in [
            ("http1", "bucket{le=\"0.0005\",", 2.0),
            ("http1", "bucket{le=\"0.001\",", 3.0),
            ("http1", "bucket{le=\"5.0\",", 3.0),
            ("http1", "bucket{le=\"10.0\",", 4.0),
            ("http1", "bucket{le=\"+Inf\",", 6.0),
            ("http1", "count{", 6.0),
            ("grpc", "bucket{le=\"0.0025\",", 1.0),
            ("grpc", "sum{", 0.002),
        ] {
            let sample = format!("hotcert_request_duration_seconds_{before}{} {value}\n", labels(protocol));
            assert!(text.contains(&sample), "{sample} in {text}");
        }
        assert!(!text.contains("http2") && !text.contains("outbound"), "{text}");
    }
}
