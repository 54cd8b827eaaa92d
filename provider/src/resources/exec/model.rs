//! `berth_exec` as Terraform has it.

use tfplugin::timeouts::Timeouts;

use crate::attr::{Attr, List, Map, model};

model! {
    /// A command that was run.
    pub struct ExecModel {
        /// The host's key or address; null is the default host.
        host: Attr<String>,
        /// The instance's id.
        instance: Attr<String>,
        /// The program and its arguments.
        command: List<String>,
        /// Null is the instance's.
        user: Attr<String>,
        /// Over the instance's; never kept.
        environment_wo: Map<String>,
        /// A change runs it again.
        triggers: Map<String>,
        /// Run at the end.
        destroy_command: List<String>,
        /// Null is true.
        fail_on_nonzero: Attr<bool>,
        /// Null is false.
        record_output: Attr<bool>,
        /// How long operations may take.
        timeouts: Attr<Timeouts>,
        /// A name for this run.
        id: Attr<String>,
        /// 128 + n where signal n ended it.
        exit_code: Attr<i64>,
        /// Where it is recorded.
        stdout: Attr<String>,
        /// Where it is recorded.
        stderr: Attr<String>,
    }
}

impl ExecModel {
    /// Whether another code than 0 is an error.
    pub fn fails(&self) -> bool {
        self.fail_on_nonzero.known().copied().unwrap_or(true)
    }

    /// Whether the state keeps what it wrote.
    pub fn records(&self) -> bool {
        self.record_output.known().copied().unwrap_or(false)
    }
}
