//! Files that go into a running instance, and come out of it.

use berth_domain::{FilePlace, InstanceId, Invalid};
use berth_engine::EngineError;
use berth_engine::ports::images::ImageError;
use berth_proto::agent as wire;
use berth_proto::agent::{pull_file_response, push_file_request};
use futures::{StreamExt, stream};
use std::os::unix::fs::PermissionsExt;
use tokio_util::io::ReaderStream;
use tonic::{Status, Streaming};

use super::Api;
use super::convert::id;
use super::instances::incomplete;
use super::spool::{SpoolError, spool};
use super::status;
use super::stream::Answers;

const PIECE: usize = 256 * 1024;

pub(super) async fn push(api: &Api, mut requests: Streaming<wire::PushFileRequest>) -> Result<(), Status> {
    use push_file_request::Part;

    let Some(Part::Header(header)) = requests.message().await?.and_then(|request| request.part) else {
        return Err(incomplete("header"));
    };
    let instance: InstanceId = id(&header.instance_id)?;
    let wire::PushFileHeader { path, uid, gid, mode, .. } = header;
    let place = FilePlace::new(&path, uid, gid, mode).map_err(|wrong| status::failed(&wrong.into()))?;
    let scratch = api.engine.scratch().await.map_err(|error| status::failed(&error))?;
    let pieces = requests.map(|request| match request?.part {
        Some(Part::Data(data)) => Ok(data),
        _ => Err(Status::invalid_argument("a file has one header")),
    });
    let content = spool(scratch, pieces).await.map_err(refused)?;
    api.engine.push_file(instance, &place, content).await.map_err(|error| status::failed(&error))
}

fn refused(error: SpoolError) -> Status {
    match error {
        SpoolError::TooMuch(limit) => {
            let summary = format!("The file is over the limit max_archive_bytes of {limit}");
            let advice = "Raise the limit in the agent's configuration, or put what is in it into a volume";
            status::invalid(Invalid::new(&[], summary, advice))
        }
        SpoolError::Unwritable(source) => {
            let source = ImageError::Store { operation: "take the file".to_owned(), source };
            status::failed(&EngineError::Image { argument: "path", source })
        }
        SpoolError::Cut(status) => status,
    }
}

pub(super) async fn pull(
    api: &Api,
    request: wire::PullFileRequest,
) -> Result<Answers<wire::PullFileResponse>, Status> {
    use pull_file_response::Part;

    let opened = api.engine.pull_file(id(&request.instance_id)?, &request.path).await;
    let file = tokio::fs::File::from_std(opened.map_err(|error| status::failed(&error))?);
    let mode = file.metadata().await?.permissions().mode() & 0o7777;
    let answer = |part| wire::PullFileResponse { part: Some(part) };
    let header = answer(Part::Header(wire::PullFileHeader { mode }));
    let pieces = ReaderStream::with_capacity(file, PIECE);
    let pieces = pieces.map(move |piece| Ok(answer(Part::Data(piece?))));
    Ok(Box::pin(stream::iter([Ok(header)]).chain(pieces)))
}
