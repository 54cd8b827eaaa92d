//! Errors as gRPC statuses whose details hold one `ErrorDetail`.

use berth_domain::{Invalid, Invalids};
use berth_engine::ports::runtime::LogLine;
use berth_engine::{EngineError, Reason, Report};
use berth_proto::agent as wire;
use bytes::Bytes;
use prost::Message;
use tonic::{Code, Status};

/// The longest detail text. Statuses travel in headers, of which a client takes 16 KiB in all.
pub const MAX_DETAIL: usize = 4 * 1024;
const MAX_SUMMARY: usize = 512;

/// What a caller is told of an engine's error.
pub(super) fn failed(error: &EngineError) -> Status {
    let report = error.report();
    if report.reason == Reason::Internal {
        tracing::error!(summary = report.summary, detail = report.detail, "a request failed");
    }
    of_report(report)
}

/// What a caller is told of a mistake in a request.
pub(super) fn invalid(invalid: Invalid) -> Status {
    failed(&EngineError::from(Invalids::from(invalid)))
}

fn of_report(report: Report) -> Status {
    let (reason, code) = reason(report.reason);
    let summary = bounded(report.summary, MAX_SUMMARY);
    let detail = wire::ErrorDetail {
        reason: reason.into(),
        summary: summary.clone(),
        detail: bounded_detail(report.detail),
        attribute: report.attribute.into_iter().map(|part| bounded(part, MAX_SUMMARY)).collect(),
        existing_id: report.existing_id.unwrap_or_default(),
        log: last_words(report.log),
    };
    Status::with_details(code, summary, Bytes::from(detail.encode_to_vec()))
}

/// As many of the last lines as fit.
fn last_words(lines: Vec<LogLine>) -> Vec<wire::LogEntry> {
    const MAX_LOG: usize = 4 * 1024;
    const MAX_LINE: usize = 512;
    let mut kept = std::collections::VecDeque::new();
    let mut room = MAX_LOG;
    for mut line in lines.into_iter().rev() {
        line.data.truncate(MAX_LINE);
        let size = line.data.len() + 64;
        if size > room {
            break;
        }
        room -= size;
        kept.push_front(super::logs::show(line));
    }
    kept.into()
}

/// Cuts a detail text that would not fit into a status.
pub fn bounded_detail(text: String) -> String {
    bounded(text, MAX_DETAIL)
}

fn bounded(mut text: String, max: usize) -> String {
    if text.len() > max {
        text.truncate(text.floor_char_boundary(max));
        text.push('…');
    }
    text
}

fn reason(reason: Reason) -> (wire::error_detail::Reason, Code) {
    use wire::error_detail::Reason as R;
    match reason {
        Reason::InvalidArgument => (R::InvalidArgument, Code::InvalidArgument),
        Reason::NotFound => (R::NotFound, Code::NotFound),
        Reason::NameTaken => (R::NameTaken, Code::AlreadyExists),
        Reason::InUse => (R::InUse, Code::FailedPrecondition),
        Reason::RegistryUnreachable => (R::RegistryUnreachable, Code::Unavailable),
        Reason::Unauthorized => (R::Unauthorized, Code::PermissionDenied),
        Reason::ImageNotFound => (R::ImageNotFound, Code::NotFound),
        Reason::PlatformNotFound => (R::PlatformNotFound, Code::NotFound),
        Reason::BadContent => (R::BadContent, Code::DataLoss),
        Reason::NotVerified => (R::NotVerified, Code::FailedPrecondition),
        Reason::PortTaken => (R::PortTaken, Code::FailedPrecondition),
        Reason::StartFailed => (R::StartFailed, Code::FailedPrecondition),
        Reason::HostUnable => (R::HostUnable, Code::FailedPrecondition),
        Reason::UnknownRemote => (R::UnknownRemote, Code::InvalidArgument),
        Reason::Internal => (R::Internal, Code::Internal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_names_its_argument_and_what_to_do() {
        let status = invalid(Invalid::new(&["ports", "http"], "That is no port", "Use another"));
        assert_eq!(status.code(), Code::InvalidArgument);
        let detail = wire::ErrorDetail::decode(status.details()).unwrap();
        assert_eq!(detail.attribute, ["ports", "http"]);
        assert_eq!((detail.summary.as_str(), detail.detail.as_str()), ("That is no port", "Use another"));
        assert_eq!(detail.reason(), wire::error_detail::Reason::InvalidArgument);
    }

    #[test]
    fn a_long_error_still_fits_into_headers() {
        let status = invalid(Invalid::new(&["command"], "é".repeat(9000), "x".repeat(90_000)));
        assert!(status.message().len() + status.details().len() < 6 * 1024);
        assert!(wire::ErrorDetail::decode(status.details()).unwrap().detail.ends_with('…'));
    }
}
