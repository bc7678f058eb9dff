//! Text tables with aligned columns, and the short durations in them.

use std::fmt;
use std::time::{Duration, SystemTime};

use crate::api::date;

pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(header: &[&str]) -> Self {
        Self { rows: vec![header.iter().map(ToString::to_string).collect()] }
    }

    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    pub fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..columns).map(width).collect();
        for (number, row) in self.rows.iter().enumerate() {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(&format!("{cell:<width$}  "));
            }
            if number > 0 {
                f.write_str("\n")?;
            }
            f.write_str(line.trim_end())?;
        }
        Ok(())
    }
}

/// `23d`, `5h`, `40s`: rounded down to one unit. Negative if `to` is in the past.
pub fn rounded_span(from: SystemTime, to: SystemTime) -> String {
    match to.duration_since(from) {
        Ok(span) => rounded(span),
        Err(error) => format!("-{}", rounded(error.duration())),
    }
}

fn rounded(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// An RFC 3339 time of a status.
pub fn parse_time(text: Option<&str>) -> Option<SystemTime> {
    date::parse(text?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["NAME", "AGE"]);
        table.row(vec!["shop/payments".into(), "3d".into()]);
        table.row(vec!["x".into(), "12s".into()]);
        assert_eq!(table.to_string(), "NAME           AGE\nshop/payments  3d\nx              12s");
    }

    #[test]
    fn spans_are_rounded() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        for (seconds, expected) in [(5, "5s"), (119, "119s"), (600, "10m"), (86_400, "24h"), (172_800, "2d")]
        {
            assert_eq!(rounded_span(at(0), at(seconds)), expected);
        }
        assert_eq!(rounded_span(at(60), at(0)), "-60s");
    }
}
