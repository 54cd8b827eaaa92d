//! `berth_instance_exec`: what a command in an instance says, for as long as Terraform needs it.

use std::sync::Arc;
use std::time::Duration;

use tfplugin::timeouts::{self, OpenTimeouts};
use tfplugin::{Attr, Attribute, Context, Ephemeral, Opened, Reason, Schema};
use tokio::sync::mpsc;

use crate::actions::command::{self, Command, Tail};
use crate::both::{Both, with_all};
use crate::client::Answer;
use crate::client::hosts::{HostError, Patience};
use crate::client::operations::Said;
use crate::config::Berth;
use crate::report::{self, Diagnostics, Kind, Path};
use crate::resources::session;

const DEFAULT_TIMEOUT: &str = "1m";
const DEFAULT_LIMIT: Duration = Duration::from_secs(60);

/// What a command may say: it is held in memory, and goes through Terraform.
const LONGEST: usize = 4 << 20;

tfplugin::model! {
    /// What is known of a command that has ended.
    #[derive(Debug, Clone, PartialEq, Eq, Default)]
    pub struct Ended {
        /// How long it may take.
        pub timeouts: Attr<OpenTimeouts>,
        /// Its exit code.
        pub exit_code: Attr<i64>,
        /// What it said.
        pub stdout: Attr<String>,
        /// What it said on standard error.
        pub stderr: Attr<String>,
    }
}

/// `berth_instance_exec`.
pub struct InstanceExec;

impl Ephemeral for InstanceExec {
    type Model = Both<Command, Ended>;
    type Client = Berth;

    const NAME: &'static str = "berth_instance_exec";

    fn schema(&self) -> Schema {
        let schema = Schema::new(
            "What a command in a running instance says, such as a token that it made: in no plan and no state. Terraform runs \
             it in every plan and every apply, so let it only read.",
        );
        with_all(schema, command::attributes())
            .attribute("timeouts", timeouts::open_attribute(DEFAULT_TIMEOUT))
            .attribute(
                "exit_code",
                Attribute::number("Its exit code; 128 and the signal where one ended it.").computed(),
            )
            .attribute("stdout", Attribute::string("What it said, as text.").computed().sensitive())
            .attribute(
                "stderr",
                Attribute::string("What it said on standard error, as text.").computed().sensitive(),
            )
    }

    fn validate(&self, Both(command, _): &Self::Model) -> Diagnostics {
        command::validate(command)
    }

    async fn open(
        &self,
        cx: &mut Context<Berth>,
        Both(command, ended): Self::Model,
    ) -> Result<Opened<Self::Model>, Diagnostics> {
        let berth = Arc::clone(cx.client());
        let connection = match berth.hosts.connect(command.host.as_str(), Patience::OneAttempt).await {
            Ok(connection) => connection,
            Err(error) => {
                if matches!(error, HostError::Unknown(_)) {
                    cx.defer(Reason::ProviderConfigUnknown);
                }
                return Err(report::from_host(&error).into());
            }
        };
        // Nobody knows what the command does.
        connection.changes();
        let set = ended.timeouts.known().map(|timeouts| &timeouts.open).and_then(Attr::as_str);
        let limit = set.and_then(timeouts::parse).unwrap_or(DEFAULT_LIMIT);
        let (said, heard) = mpsc::channel(16);
        let work = async {
            let (code, output) = tokio::join!(connection.agent.exec(command.start(), said), listen(heard));
            Answer::Ok((code?, output))
        };
        let done = session::timed(cx, limit, "Running the command", work).await;
        let kind = |argument: &str| if argument == "command" { Kind::List } else { Kind::Plain };
        let (code, output) = done.map_err(|error| report::from_agent(&error, berth.error_log_lines, kind))?;
        command.judge(code, &output.tail.text())?;
        let ended = Ended {
            exit_code: Attr::Known(code.into()),
            stdout: Attr::Known(output.stdout.text("stdout")?),
            stderr: Attr::Known(output.stderr.text("stderr")?),
            ..ended
        };
        Ok(Both(command, ended).into())
    }
}

#[derive(Default)]
struct Output {
    stdout: Stream,
    stderr: Stream,
    tail: Tail,
}

/// What is kept of a stream, and how long it was.
#[derive(Default)]
struct Stream {
    kept: Vec<u8>,
    length: usize,
}

impl Stream {
    fn add(&mut self, data: &[u8]) {
        self.length += data.len();
        if self.length <= LONGEST {
            self.kept.extend_from_slice(data);
        }
    }

    fn text(self, name: &str) -> Result<String, Diagnostics> {
        if self.length > LONGEST {
            let detail = "An ephemeral resource holds up to 4 MiB. Let the command say less.";
            let summary = format!("The command's {name} is {} bytes long", self.length);
            return Err(report::error(Path::at("command"), summary, detail).into());
        }
        String::from_utf8(self.kept).map_err(|_| {
            let detail =
                "Terraform's text is UTF-8. Let the command encode what it says, such as with base64.";
            let summary = format!("The command's {name} is not UTF-8");
            report::error(Path::at("command"), summary, detail).into()
        })
    }
}

async fn listen(mut heard: mpsc::Receiver<Said>) -> Output {
    let mut output = Output::default();
    while let Some(said) = heard.recv().await {
        match said {
            Said::Stdout(data) => output.stdout.add(&data),
            Said::Stderr(data) => {
                output.tail.add(&data);
                output.stderr.add(&data);
            }
        }
    }
    output
}
