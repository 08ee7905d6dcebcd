//! Medians and ratios, as Markdown tables.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// One load and its resource usage.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub took: Duration,
    /// Of the daemon, or of psql.
    pub client_cpu: Duration,
    pub server_cpu: Duration,
    pub peak_kib: u64,
    pub wal_bytes: u64,
}

/// All loads, by step and loader, in the order of the repetitions.
pub struct Report {
    name: &'static str,
    rows: u64,
    steps: Vec<&'static str>,
    loads: BTreeMap<(&'static str, &'static str), Vec<Load>>,
}

impl Report {
    pub const fn new(name: &'static str, rows: u64) -> Self {
        Self { name, rows, steps: Vec::new(), loads: BTreeMap::new() }
    }

    pub fn add(&mut self, step: &'static str, who: &'static str, load: Load) {
        eprintln!(
            "  {step}, {who}: {:.2} s, CPU {:.2} s + {:.2} s, {} MiB, WAL {:.1} MB",
            load.took.as_secs_f64(),
            load.client_cpu.as_secs_f64(),
            load.server_cpu.as_secs_f64(),
            load.peak_kib >> 10,
            megabytes(load.wal_bytes),
        );
        if !self.steps.contains(&step) {
            self.steps.push(step);
        }
        self.loads.entry((step, who)).or_default().push(load);
    }

    fn of(&self, step: &'static str, who: &'static str) -> &[Load] {
        self.loads.get(&(step, who)).map_or(&[], Vec::as_slice)
    }

    /// Speed and resource usage relative to a baseline.
    fn ratio(&self, step: &'static str, floor: &'static str, of: fn(&Load) -> f64) -> Option<f64> {
        let pairs = self.of(step, floor).iter().zip(self.of(step, "tidegate"));
        median(pairs.map(|(floor, load)| of(floor) / of(load)).collect())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Workload {}, {} rows\n", self.name, self.rows)?;
        writeln!(f, "| load | by | seconds | rows/s | client CPU s | Postgres CPU s | peak RSS MiB | WAL MB |")?;
        writeln!(f, "|---|---|--:|--:|--:|--:|--:|--:|")?;
        for &step in &self.steps {
            for who in ["tidegate", "plain", "staged"] {
                let loads = self.of(step, who);
                let of = |of: &dyn Fn(&Load) -> f64| median(loads.iter().map(of).collect()).unwrap_or_default();
                if loads.is_empty() {
                    continue;
                }
                let took = of(&|load| load.took.as_secs_f64());
                #[expect(clippy::cast_precision_loss, reason = "a figure to look at")]
                let rows_per_sec = self.rows as f64 / took;
                writeln!(
                    f,
                    "| {step} | {who} | {took:.2} | {rows_per_sec:.0} | {:.2} | {:.2} | {:.1} | {:.2} |",
                    of(&|load| load.client_cpu.as_secs_f64()),
                    of(&|load| load.server_cpu.as_secs_f64()),
                    of(&|load| megabytes(load.peak_kib << 10) / 1.048_576),
                    of(&|load| megabytes(load.wal_bytes)),
                )?;
            }
        }
        writeln!(
            f,
            "\n| load | × plain | × staged | daemon CPU / Postgres CPU | / Postgres CPU of the staged floor |"
        )?;
        writeln!(f, "|---|--:|--:|--:|--:|")?;
        for &step in &self.steps {
            let shown = |ratio: Option<f64>| ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
            let speed = |floor| shown(self.ratio(step, floor, |load| load.took.as_secs_f64()));
            let loads = self.of(step, "tidegate").iter();
            let share = loads.map(|load| load.client_cpu.as_secs_f64() / load.server_cpu.as_secs_f64()).collect();
            let pairs = self.of(step, "staged").iter().zip(self.of(step, "tidegate"));
            let of_floor =
                pairs.map(|(floor, load)| load.client_cpu.as_secs_f64() / floor.server_cpu.as_secs_f64()).collect();
            let (plain, staged) = (speed("plain"), speed("staged"));
            let (share, of_floor) = (shown(median(share)), shown(median(of_floor)));
            writeln!(f, "| {step} | {plain} | {staged} | {share} | {of_floor} |")?;
        }
        Ok(())
    }
}

fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(figures[middle]),
        _ => Some(f64::midpoint(figures[middle - 1], figures[middle])),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a figure to look at")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
