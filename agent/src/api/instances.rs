//! Instances.

use std::future::Future;

use berth_domain::Invalid;
use berth_engine::ports::runtime::StopMode;
use berth_engine::view::InstanceView;
use berth_engine::{Engine, EngineError, Progress, Reporter};
use berth_proto::agent as wire;
use berth_proto::agent::instance_event::Event;
use berth_proto::agent::instance_service_server::InstanceService;
use tonic::{Request, Response, Status, Streaming};

use super::Api;
use super::convert::{by, id, instance, process};
use super::stream::{Answers, follow};
use super::{exec, files, logs, status, wait};

type Events = Answers<wire::InstanceEvent>;

impl Api {
    /// Runs an operation on the engine, and answers with what becomes of it.
    fn operate<F, T>(
        &self,
        operation: impl FnOnce(Engine, Reporter) -> F,
        done: impl FnOnce(T) -> Option<wire::Instance> + Send + 'static,
    ) -> Result<Response<Events>, Status>
    where
        F: Future<Output = Result<T, EngineError>> + Send + 'static,
        T: Send + 'static,
    {
        let (reporter, progress) = Reporter::channel();
        let operation = operation(self.engine.clone(), reporter);
        let done = |ended| wire::InstanceEvent { event: done(ended).map(Event::Instance) };
        Ok(Response::new(follow(operation, progress, show, done)))
    }
}

fn show(progress: Progress) -> Option<wire::InstanceEvent> {
    let line = match progress {
        Progress::Line(line) => line,
        Progress::Pull(pull) => instance::pull_line(&pull)?,
    };
    Some(wire::InstanceEvent { event: Some(Event::Progress(line)) })
}

fn shown(view: InstanceView) -> Option<wire::Instance> {
    Some(instance::show(view))
}

fn mode(force: bool) -> StopMode {
    if force { StopMode::Kill } else { StopMode::Graceful }
}

#[tonic::async_trait]
impl InstanceService for Api {
    type CreateInstanceStream = Events;

    async fn create_instance(
        &self,
        request: Request<wire::CreateInstanceRequest>,
    ) -> Result<Response<Events>, Status> {
        let draft = instance::draft(request.into_inner().spec)?;
        self.operate(|engine, reporter| async move { engine.create_instance(draft, reporter).await }, shown)
    }

    async fn get_instance(
        &self,
        request: Request<wire::GetInstanceRequest>,
    ) -> Result<Response<wire::Instance>, Status> {
        use wire::get_instance_request::By;
        let by = match request.into_inner().by {
            Some(By::Id(text)) => by::id(&text)?,
            Some(By::Name(name)) => by::name(name),
            None => return Err(by::missing()),
        };
        let found = self.engine.get_instance(by).await;
        found.map(instance::show).map(Response::new).map_err(|error| status::failed(&error))
    }

    async fn list_instances(
        &self,
        _: Request<wire::ListInstancesRequest>,
    ) -> Result<Response<wire::ListInstancesResponse>, Status> {
        let instances = self.engine.list_instances().await.map_err(|error| status::failed(&error))?;
        let instances = instances.into_iter().map(instance::show).collect();
        Ok(Response::new(wire::ListInstancesResponse { instances }))
    }

    type UpdateInstanceStream = Events;

    async fn update_instance(
        &self,
        request: Request<wire::UpdateInstanceRequest>,
    ) -> Result<Response<Events>, Status> {
        let wire::UpdateInstanceRequest { id: text, spec } = request.into_inner();
        let (id, draft) = (id(&text)?, instance::draft(spec)?);
        self.operate(
            move |engine, reporter| async move { engine.update_instance(id, draft, reporter).await },
            shown,
        )
    }

    type DeleteInstanceStream = Events;

    async fn delete_instance(
        &self,
        request: Request<wire::DeleteInstanceRequest>,
    ) -> Result<Response<Events>, Status> {
        let wire::DeleteInstanceRequest { id: text, force } = request.into_inner();
        let id = id(&text)?;
        let delete = move |engine: Engine, reporter| async move {
            engine.delete_instance(id, mode(force), reporter).await
        };
        self.operate(delete, move |()| {
            Some(wire::Instance { id: id.to_string(), ..wire::Instance::default() })
        })
    }

    type StartInstanceStream = Events;

    async fn start_instance(
        &self,
        request: Request<wire::StartInstanceRequest>,
    ) -> Result<Response<Events>, Status> {
        let id = id(&request.into_inner().id)?;
        self.operate(move |engine, reporter| async move { engine.start_instance(id, reporter).await }, shown)
    }

    type StopInstanceStream = Events;

    async fn stop_instance(
        &self,
        request: Request<wire::StopInstanceRequest>,
    ) -> Result<Response<Events>, Status> {
        let wire::StopInstanceRequest { id: text, force } = request.into_inner();
        let id = id(&text)?;
        let stop = move |engine: Engine, reporter| async move {
            engine.stop_instance(id, mode(force), reporter).await
        };
        self.operate(stop, shown)
    }

    type RestartInstanceStream = Events;

    async fn restart_instance(
        &self,
        request: Request<wire::RestartInstanceRequest>,
    ) -> Result<Response<Events>, Status> {
        let wire::RestartInstanceRequest { id: text, force } = request.into_inner();
        let id = id(&text)?;
        let restart = move |engine: Engine, reporter| async move {
            engine.restart_instance(id, mode(force), reporter).await
        };
        self.operate(restart, shown)
    }

    type ExecStream = Answers<wire::ExecResponse>;

    async fn exec(
        &self,
        request: Request<Streaming<wire::ExecRequest>>,
    ) -> Result<Response<Self::ExecStream>, Status> {
        exec::exec(self, request.into_inner()).await.map(Response::new)
    }

    async fn push_file(
        &self,
        request: Request<Streaming<wire::PushFileRequest>>,
    ) -> Result<Response<wire::PushFileResponse>, Status> {
        files::push(self, request.into_inner()).await?;
        Ok(Response::new(wire::PushFileResponse {}))
    }

    type PullFileStream = Answers<wire::PullFileResponse>;

    async fn pull_file(
        &self,
        request: Request<wire::PullFileRequest>,
    ) -> Result<Response<Self::PullFileStream>, Status> {
        files::pull(self, request.into_inner()).await.map(Response::new)
    }

    type WaitInstanceStream = Events;

    async fn wait_instance(
        &self,
        request: Request<wire::WaitInstanceRequest>,
    ) -> Result<Response<Events>, Status> {
        let request = request.into_inner();
        let (id, condition, limit) =
            (id(&request.instance_id)?, wait::condition(&request)?, wait::limit(&request));
        self.operate(move |engine, _| async move { engine.wait(id, &condition, limit).await }, shown)
    }

    async fn get_usage(
        &self,
        request: Request<wire::GetUsageRequest>,
    ) -> Result<Response<wire::Usage>, Status> {
        let id = id(&request.into_inner().instance_id)?;
        let usage = self.engine.usage(id).await.map_err(|error| status::failed(&error))?;
        let dropped = self.engine.dropped(id).await.map_err(|error| status::failed(&error))?;
        Ok(Response::new(process::usage(usage, dropped)))
    }

    type GetLogsStream = Answers<wire::LogEntry>;

    async fn get_logs(
        &self,
        request: Request<wire::GetLogsRequest>,
    ) -> Result<Response<Self::GetLogsStream>, Status> {
        logs::get(self, request.into_inner()).await.map(Response::new)
    }
}

/// A request that lacks what it is about.
pub(super) fn incomplete(field: &str) -> Status {
    status::invalid(Invalid::new(&[], format!("The request has no {field}"), "Give all of its parts"))
}
