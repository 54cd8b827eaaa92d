//! `berth_instance_exec`: runs a command in an instance, and tells what it says.

use std::sync::Arc;

use tfplugin::timeouts::InvokeTimeouts;
use tfplugin::{Action, Attr, Context, Progress, Schema};
use tokio::sync::mpsc;

use super::command::{self, Command, Tail, printable};
use super::{on_host, timeouts};
use crate::both::{Both, with_all};
use crate::client::hosts::Connection;
use crate::client::operations::Said;
use crate::config::Berth;
use crate::report::Diagnostics;

tfplugin::model! {
    /// What it has beside the command.
    #[derive(Debug, Clone, PartialEq, Eq, Default)]
    pub struct Beside {
        /// How long it may take.
        pub timeouts: Attr<InvokeTimeouts>,
    }
}

/// `berth_instance_exec`.
pub struct InstanceExec;

impl Action for InstanceExec {
    type Model = Both<Command, Beside>;
    type Client = Berth;

    const NAME: &'static str = "berth_instance_exec";

    fn schema(&self) -> Schema {
        let schema = Schema::new(
            "Runs a command in a running instance, and shows what it says as progress. The command ends with the action: on a \
             timeout and on Ctrl-C.",
        );
        with_all(schema, command::attributes()).attribute("timeouts", timeouts())
    }

    fn validate(&self, Both(command, _): &Self::Model) -> Diagnostics {
        command::validate(command)
    }

    async fn invoke(
        &self,
        cx: &mut Context<Berth>,
        Both(command, beside): Self::Model,
        progress: &Progress,
    ) -> Result<(), Diagnostics> {
        let start = command.start();
        let work = async move |it: Arc<Connection>| {
            let (said, heard) = mpsc::channel(16);
            let (code, last_words) = tokio::join!(it.agent.exec(start, said), tell(heard, progress));
            Ok((code?, last_words))
        };
        let call = "Running the command";
        let (code, last_words) = on_host(cx, &command.host, &beside.timeouts, call, work).await?;
        Ok(command.judge(code, &last_words)?)
    }
}

/// Tells it line by line, and gives the end of what was said on standard error.
async fn tell(mut heard: mpsc::Receiver<Said>, progress: &Progress) -> String {
    let (mut out, mut err, mut tail) = (Lines::default(), Lines::default(), Tail::default());
    while let Some(said) = heard.recv().await {
        let lines = match &said {
            Said::Stdout(data) => out.add(data),
            Said::Stderr(data) => {
                tail.add(data);
                err.add(data)
            }
        };
        for line in lines {
            progress.tell(line).await;
        }
    }
    for rest in [out.0, err.0].into_iter().filter(|rest| !rest.is_empty()) {
        progress.tell(printable(&String::from_utf8_lossy(&rest))).await;
    }
    tail.text()
}

/// The beginning of a line that has not ended.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    /// A line of this length is told in parts.
    const LONGEST: usize = 4096;

    fn add(&mut self, data: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for byte in data {
            if *byte != b'\n' {
                self.0.push(*byte);
            }
            if *byte == b'\n' || self.0.len() >= Self::LONGEST {
                let line = std::mem::take(&mut self.0);
                lines.push(printable(String::from_utf8_lossy(&line).trim_end_matches('\r')));
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_as_they_end() {
        let mut lines = Lines::default();
        assert_eq!(lines.add(b"one\r\ntw"), ["one"]);
        assert_eq!(lines.add(b"o\n\nthree"), ["two", ""]);
        assert_eq!(lines.0, b"three");
        assert_eq!(lines.add(&[b'x'; Lines::LONGEST]).len(), 1);
    }
}
