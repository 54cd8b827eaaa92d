//! What is waited for.

use std::time::Duration;

use berth_domain::Invalid;
use berth_engine::wait::Condition;
use berth_proto::agent as wire;
use tonic::Status;
use wire::wait_instance_request::Condition as Asked;

use super::status;

const DEFAULT: Duration = Duration::from_secs(20 * 60);

pub(super) fn condition(request: &wire::WaitInstanceRequest) -> Result<Condition, Status> {
    let bad = |attribute: &str, summary: String, advice: &str| {
        Err(status::invalid(Invalid::new(&["wait_for", attribute], summary, advice)))
    };
    Ok(match Asked::try_from(request.condition) {
        Ok(Asked::Unspecified | Asked::Started) => Condition::Started,
        Ok(Asked::Healthy) => Condition::Healthy,
        Ok(Asked::Address) => Condition::Address {
            interface: Some(request.interface.clone()).filter(|name| !name.is_empty()),
            ipv6: match request.family.as_str() {
                "" => None,
                "ipv4" => Some(false),
                "ipv6" => Some(true),
                other => {
                    let summary =
                        format!("There is no address family \"{}\"", berth_domain::name::shown(other));
                    return bad("family", summary, "Use ipv4 or ipv6, or leave it out");
                }
            },
        },
        Ok(Asked::Port) => match u16::try_from(request.port) {
            Ok(port) if port != 0 => Condition::Port(port),
            _ => return bad("port", format!("{} is not a port", request.port), "Use 1 to 65535"),
        },
        Ok(Asked::Exited) => {
            let codes = request.exit_codes.clone();
            Condition::Exited { codes: if codes.is_empty() { vec![0] } else { codes } }
        }
        Err(_) => {
            let summary = "The agent does not know this condition".to_owned();
            return bad("condition", summary, "Use another, or a newer agent");
        }
    })
}

pub(super) fn limit(request: &wire::WaitInstanceRequest) -> Duration {
    if request.timeout_ms == 0 { DEFAULT } else { Duration::from_millis(request.timeout_ms) }
}
