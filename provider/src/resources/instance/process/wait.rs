//! Waiting, after an apply has started a process anew.

use std::time::Duration;

use berth_proto::agent as wire;
use wire::wait_instance_request::Condition;

use super::model::WaitModel;
use crate::attr::Attr;

/// The agent gives up this much sooner than Terraform's own time ends, so that its answer, with the log, still comes.
const SOONER: Duration = Duration::from_secs(2);

/// What the agent is asked for.
pub fn request(model: &WaitModel, instance_id: &str, left: Duration) -> wire::WaitInstanceRequest {
    let condition = match model.condition.as_str() {
        Some("healthy") => Condition::Healthy,
        Some("address") => Condition::Address,
        Some("port") => Condition::Port,
        Some("exited") => Condition::Exited,
        _ => Condition::Started,
    };
    let text = |attr: &Attr<String>| attr.as_str().unwrap_or_default().to_owned();
    let codes = model.exit_codes.known().into_iter().flatten();
    wire::WaitInstanceRequest {
        condition: condition.into(),
        port: model.port.known().copied().and_then(|port| u32::try_from(port).ok()).unwrap_or(0),
        interface: text(&model.interface),
        family: text(&model.family),
        exit_codes: codes.filter_map(|code| i32::try_from(*code.known()?).ok()).collect(),
        ..started(instance_id, left)
    }
}

/// Where nothing more is asked for.
pub fn started(instance_id: &str, left: Duration) -> wire::WaitInstanceRequest {
    let limit = left.saturating_sub(SOONER).max(Duration::from_millis(100));
    wire::WaitInstanceRequest {
        instance_id: instance_id.to_owned(),
        condition: Condition::Started.into(),
        timeout_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
        ..wire::WaitInstanceRequest::default()
    }
}
