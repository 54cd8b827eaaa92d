//! A pull's progress, on a terminal only.

use std::io::IsTerminal;

use berth_proto::agent as wire;
use berth_proto::agent::pull_progress::Phase;
use indicatif::{ProgressBar, ProgressStyle};

const SHAPE: &str = "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {prefix}";

/// Shows nothing where standard error is no terminal. Cleared when dropped.
pub(super) struct Bar {
    bar: ProgressBar,
    reference: String,
}

impl Bar {
    pub(super) fn new(reference: &str) -> Self {
        let bar = if std::io::stderr().is_terminal() { ProgressBar::new(0) } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template(SHAPE) {
            bar.set_style(style.progress_chars("=> "));
        }
        Self { bar, reference: reference.to_owned() }
    }

    /// A line in its place.
    pub(super) fn say(&self, line: String) {
        self.bar.set_message(line);
        self.bar.tick();
    }

    pub(super) fn show(&self, progress: &wire::PullProgress) {
        let doing = match progress.phase() {
            Phase::Unspecified | Phase::Resolving => "resolving",
            Phase::Fetching => "pulling",
            Phase::Merging => "merging",
            Phase::Done => "done",
        };
        self.bar.set_message(format!("{doing} {}", self.reference));
        self.bar.set_prefix(format!("{}/{} layers", progress.layers_done, progress.layers_total));
        self.bar.set_length(progress.bytes_total);
        self.bar.set_position(progress.bytes_done);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
