//! A line of progress on a terminal, for commands that take long.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::store::progress::TaskState;
use crate::text::plain;

/// Shows the progress of runs. Shows nothing if standard error is not a terminal.
pub(super) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    pub(super) fn new(visible: bool) -> Self {
        let target = if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(1), target);
        // The template is valid, and without it the bar would only look plainer.
        if let Ok(style) = ProgressStyle::with_template("{spinner} {bar:24} {pos}/{len} slices  {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar }
    }

    pub(super) fn show(&self, tasks: &[TaskState]) {
        let sum = |count: fn(&TaskState) -> i64| tasks.iter().map(count).sum::<i64>();
        let slices = |count: i64| u64::try_from(count).unwrap_or(0);
        self.bar.set_length(slices(sum(|task| task.slices_planned.into())).max(1));
        self.bar.set_position(slices(sum(|task| task.slices_done.into())));
        let ended = tasks.iter().filter(|task| task.finished_at.is_some()).count();
        let mut message = format!(
            "{ended}/{} streams, {} calls, {} rows",
            tasks.len(),
            sum(|task| task.calls),
            sum(|task| task.rows_read)
        );
        if let Some(task) = tasks.iter().find(|task| task.state == "running") {
            message = format!("{message}, reading {}", task.stream);
        } else if let Some((task, until)) = tasks.iter().find_map(|task| Some((task, task.waiting_until?))) {
            let what = task.waiting_for.as_deref().unwrap_or("its turn");
            message = format!("{message}, waiting for {what} until {}", until.format("%H:%M:%SZ"));
        }
        self.bar.set_message(plain(&message));
    }

    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}
