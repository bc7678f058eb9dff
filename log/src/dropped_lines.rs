//! Lines that did not reach standard error or standard output, as a Prometheus counter that is read when asked for.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

use crate::LOG;
use crate::output::OUTPUT;
use crate::queue::{Dropped, Queue};

#[derive(Debug)]
pub struct DroppedLines {
    name: &'static str,
    help: &'static str,
    queue: fn() -> Option<&'static Queue>,
}

impl DroppedLines {
    /// By the label `reason`: `queue_full` or `write_failed`.
    pub fn collector(name: &'static str, help: &'static str) -> Box<dyn Collector> {
        Box::new(Self { name, help, queue: || LOG.get().map(|log| &log.queue) })
    }

    /// The same, of [`LineOutput`](crate::LineOutput).
    pub fn of_output(name: &'static str, help: &'static str) -> Box<dyn Collector> {
        Box::new(Self { name, help, queue: || OUTPUT.get() })
    }
}

impl Collector for DroppedLines {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut family = encoder.encode_descriptor(self.name, self.help, None, MetricType::Counter)?;
        let Dropped { queue_full, write_failed } = (self.queue)().map(Queue::dropped).unwrap_or_default();
        for (reason, count) in [("queue_full", queue_full), ("write_failed", write_failed)] {
            ConstCounter::new(count).encode(family.encode_family(&[("reason", reason)])?)?;
        }
        Ok(())
    }
}
