//! The headlines as a picture: a panel each, a bar each, the shorter the better.

use std::fmt::Write as _;

use crate::figure::{Better, Figure, OURS};
use crate::report::{Report, number};

const PANEL: (f64, f64) = (440.0, 22.0);
const COLUMNS: usize = 2;
const NAMES: f64 = 84.0;
const VALUES: f64 = 60.0;
const TITLE: f64 = 30.0;
const GAP: f64 = 22.0;
const LEGEND: &str = "Shorter is better. Dashed bars are floors: the same relay without TLS, and TLS in memory without a relay.";

const STYLE: &str = "
  text { font: 12px system-ui, sans-serif; fill: #1f2328; }
  .title { font-weight: 600; font-size: 13px; }
  .bar { fill: #a8b3c0; }
  .ours { fill: #1a7f5a; }
  .floor { fill: none; stroke: #a8b3c0; stroke-dasharray: 3 2; }
  .ground { fill: #ffffff; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; } .bar { fill: #57606a; } .ours { fill: #3fb98a; }
    .floor { stroke: #57606a; } .ground { fill: #0d1117; }
  }
";

pub fn draw(report: &Report) -> String {
    let figures: Vec<&Figure> = report.figures.iter().filter(|figure| figure.headline).collect();
    let lines: Vec<_> = figures.chunks(COLUMNS).collect();
    let height = |line: &[&Figure]| {
        let bars = |figure: &&Figure| figure.measured.iter().filter(|bar| bar.median.is_some()).count();
        TITLE + line.iter().map(bars).max().unwrap_or(0) as f64 * PANEL.1 + GAP
    };
    let width = COLUMNS as f64 * (PANEL.0 + GAP) + GAP;
    let whole = 2.0 * GAP + lines.iter().map(|line| height(line)).sum::<f64>();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {whole}\" role=\"img\">\n\
         <title>hotcert-agent beside other terminators of mTLS</title>\n<style>{STYLE}</style>\n\
         <rect class=\"ground\" width=\"{width}\" height=\"{whole}\"/>\n\
         <text x=\"{GAP}\" y=\"{GAP}\">{LEGEND}</text>\n"
    );
    let mut y = 2.0 * GAP;
    for line in lines {
        for (figure, column) in line.iter().zip(0..) {
            panel(&mut svg, figure, GAP + f64::from(column) * (PANEL.0 + GAP), y);
        }
        y += height(line);
    }
    svg.push_str("</svg>\n");
    svg
}

fn panel(svg: &mut String, figure: &Figure, x: f64, y: f64) {
    let unit = if figure.unit.is_empty() { String::new() } else { format!(", {}", figure.unit) };
    let _ =
        writeln!(svg, "<text class=\"title\" x=\"{x}\" y=\"{}\">{}{unit}</text>", y + 14.0, figure.title());
    let mut bars: Vec<_> = figure.measured.iter().filter_map(|bar| Some((bar, bar.median?))).collect();
    bars.sort_by(|(_, one), (_, other)| match figure.better {
        Better::Lower => one.total_cmp(other),
        Better::Higher => other.total_cmp(one),
    });
    let longest = bars.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
    for (at, (bar, value)) in bars.iter().enumerate() {
        let top = y + TITLE + at as f64 * PANEL.1;
        let length = ((PANEL.0 - NAMES - VALUES) * value / longest).max(1.0);
        let class = match bar.name {
            OURS => "bar ours",
            _ if bar.floor => "floor",
            _ => "bar",
        };
        let _ = writeln!(
            svg,
            "<text x=\"{x}\" y=\"{line}\">{name}</text><rect class=\"{class}\" x=\"{from}\" y=\"{top}\" \
             width=\"{length:.1}\" height=\"{bar}\" rx=\"2\"/><text x=\"{end:.1}\" y=\"{line}\">{value}</text>",
            name = bar.name,
            line = top + 12.0,
            from = x + NAMES,
            bar = PANEL.1 - 6.0,
            end = x + NAMES + length + 6.0,
            value = number(*value),
        );
    }
}
