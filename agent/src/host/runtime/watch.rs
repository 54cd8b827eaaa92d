//! From what a supervisor tells to what the engine is told.

use berth_domain::{ExitRecord, InstanceId, Timestamp, Workload};
use berth_engine::ports::runtime::RuntimeEvent;
use berth_runtime::client::{ClientError, Supervisor};
use berth_runtime::control::{Event, State, Status};
use berth_runtime::exit;

use super::Events;
use super::files::Files;

/// Watches a supervisor from now on, until it goes.
pub(super) async fn follow(
    supervisor: &Supervisor,
    files: Files,
    instance: InstanceId,
    to: Events,
) -> Result<(), ClientError> {
    let mut events = match supervisor.watch().await {
        Ok(events) => events,
        // It has gone already: a workload can be as short as that. Its record tells the rest.
        Err(ClientError::Control { .. }) => {
            let _ = to.send(RuntimeEvent { instance, workload: of_record(&files) });
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let revision = revision(&files);
    tokio::spawn(async move {
        let mut ended = false;
        loop {
            match events.next().await {
                Ok(Some(event)) => {
                    ended = matches!(event, Event::Gone(_));
                    // Nobody listens any more: the agent is on its way out.
                    let _ = to.send(RuntimeEvent { instance, workload: of_event(revision, event) });
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(%instance, %error, "a supervisor cannot be watched any more");
                    break;
                }
            }
        }
        if !ended {
            let _ = to.send(RuntimeEvent { instance, workload: of_record(&files) });
        }
    });
    Ok(())
}

fn revision(files: &Files) -> u64 {
    files.spec().map_or(0, |spec| spec.revision)
}

fn of_event(revision: u64, event: Event) -> Workload {
    match event {
        Event::Started { pid, started_at_ms, restarts } => Workload::Running {
            revision,
            pid: pid.unsigned_abs(),
            started_at: Timestamp(started_at_ms),
            restarts,
        },
        Event::Restarting { exit: record, .. } => {
            Workload::Waiting { revision, restarts: record.restarts, exit: exit(&record) }
        }
        Event::Gone(record) => Workload::Ended { revision, restarts: record.restarts, exit: exit(&record) },
    }
}

/// What a supervisor says of itself.
pub(super) fn of_status(files: &Files, status: &Status) -> Workload {
    let revision = revision(files);
    match &status.state {
        State::Running { pid, started_at_ms } => Workload::Running {
            revision,
            pid: pid.unsigned_abs(),
            started_at: Timestamp(*started_at_ms),
            restarts: status.restarts,
        },
        State::Waiting { exit: record, .. } => {
            Workload::Waiting { revision, restarts: status.restarts, exit: exit(record) }
        }
        State::Stopping => Workload::Running {
            revision,
            pid: 0,
            started_at: Timestamp::now(),
            restarts: status.restarts,
        },
    }
}

/// What is known where no supervisor answers.
pub(super) fn of_record(files: &Files) -> Workload {
    match exit::read(&files.run) {
        Some(record) => Workload::Ended {
            revision: revision(files),
            restarts: record.restarts,
            exit: exit(&record),
        },
        None => Workload::Absent,
    }
}

/// How it ended, if it did.
pub(super) fn exit_of(workload: Workload) -> Option<ExitRecord> {
    match workload {
        Workload::Ended { exit, .. } => Some(exit),
        _ => None,
    }
}

/// A supervisor's record as the engine keeps it.
pub(super) fn exit(record: &exit::ExitRecord) -> ExitRecord {
    ExitRecord {
        code: record.code,
        signal: record.signal.and_then(|signal| u8::try_from(signal).ok()),
        oom_killed: record.oom_killed,
        at: Timestamp(record.finished_at_ms),
    }
}
