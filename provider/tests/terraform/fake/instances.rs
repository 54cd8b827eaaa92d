//! Instances of the fake agent: they run as soon as they are asked to.

use berth_proto::agent as wire;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Code, Request, Response, Status, Streaming};
use wire::error_detail::Reason;
use wire::instance::Status as Run;

use super::{Services, State, detail, not_found, refuse};

type Events = std::pin::Pin<Box<dyn Stream<Item = Result<wire::InstanceEvent, Status>> + Send>>;

fn events(state: &mut State, call: &str, instance: Option<wire::Instance>) -> Response<Events> {
    let progress =
        wire::InstanceEvent { event: Some(wire::instance_event::Event::Progress("starting".to_owned())) };
    if let Some(left @ 1..) = state.cuts.get_mut(call) {
        *left -= 1;
        return Response::new(Box::pin(tokio_stream::once(Ok(progress))));
    }
    if let Some(hangs) = state.hang_next.take_if(|(hanging, _)| hanging == call) {
        hangs.1.send(()).unwrap();
        return Response::new(Box::pin(tokio_stream::once(Ok(progress)).chain(tokio_stream::pending())));
    }
    let last = wire::InstanceEvent { event: instance.map(wire::instance_event::Event::Instance) };
    Response::new(Box::pin(tokio_stream::iter([Ok(progress), Ok(last)])))
}

fn image_id(state: &State, image: &str) -> Result<String, Status> {
    if image.starts_with("sha256:") {
        return Ok(image.to_owned());
    }
    super::images::resolve(state, image).map(|(_, image)| image).map_err(|_| {
        let reason = detail(
            Reason::ImageNotFound,
            &format!("There is no image {image}"),
            "Check the repository and the tag.",
            &["image"],
        );
        refuse(Code::NotFound, reason)
    })
}

/// What the spec asks for, in the instance's own fields.
fn settle(state: &mut State, instance: &mut wire::Instance) {
    let spec = instance.spec.clone().unwrap();
    let old = std::mem::take(&mut instance.ports);
    for (name, port) in &spec.ports {
        let mut port = port.clone();
        if port.host_port == 0 {
            port.host_port = old.get(name).map_or(32_768 + old.len() as u32, |old| old.host_port);
        }
        instance.ports.insert(name.clone(), port);
    }
    let (status, code) = match (spec.running, state.exit_next.take()) {
        (false, _) => (Run::Stopped, None),
        (true, Some(code)) => (Run::Exited, Some(code)),
        (true, None) => (Run::Running, None),
    };
    instance.status = status.into();
    instance.exit_code = code;
}

#[tonic::async_trait]
impl wire::instance_service_server::InstanceService for Services {
    type CreateInstanceStream = Events;
    type UpdateInstanceStream = Events;
    type DeleteInstanceStream = Events;
    type StartInstanceStream = Events;
    type StopInstanceStream = Events;
    type RestartInstanceStream = Events;
    type WaitInstanceStream = Events;
    type ExecStream = std::pin::Pin<Box<dyn Stream<Item = Result<wire::ExecResponse, Status>> + Send>>;
    type PullFileStream =
        std::pin::Pin<Box<dyn Stream<Item = Result<wire::PullFileResponse, Status>> + Send>>;
    type GetLogsStream = std::pin::Pin<Box<dyn Stream<Item = Result<wire::LogEntry, Status>> + Send>>;

    async fn create_instance(
        &self,
        request: Request<wire::CreateInstanceRequest>,
    ) -> Result<Response<Events>, Status> {
        let mut state = self.state();
        state.enter("CreateInstance")?;
        if std::mem::take(&mut state.lose_create) {
            return Ok(Response::new(Box::pin(tokio_stream::empty())));
        }
        let spec = request.into_inner().spec.unwrap();
        if let Some(taken) = state.instances.values().find(|it| it.spec.as_ref().unwrap().name == spec.name) {
            let mut reason = detail(
                Reason::NameTaken,
                &format!("There is an instance {} already", spec.name),
                "Choose another name.",
                &["name"],
            );
            reason.existing_id = taken.id.clone();
            return Err(refuse(Code::AlreadyExists, reason));
        }
        state.next_address += 1;
        let last = state.next_address + 1;
        let mut instance = wire::Instance {
            id: uuid::Uuid::new_v4().to_string(),
            image_id: image_id(&state, &spec.image)?,
            image_reference: spec.image.clone(),
            ipv4_address: format!("10.77.0.{last}"),
            addresses: [("eth0".to_owned(), wire::StringList { values: vec![format!("10.77.0.{last}/24")] })]
                .into(),
            mac_addresses: [("eth0".to_owned(), format!("02:00:00:00:00:{last:02x}"))].into(),
            spec: Some(spec),
            ..wire::Instance::default()
        };
        settle(&mut state, &mut instance);
        state.instances.insert(instance.id.clone(), instance.clone());
        Ok(events(&mut state, "CreateInstance", Some(instance)))
    }

    async fn wait_instance(
        &self,
        request: Request<wire::WaitInstanceRequest>,
    ) -> Result<Response<Events>, Status> {
        let mut state = self.state();
        state.enter("WaitInstance")?;
        let found = state.instances.get(&request.into_inner().instance_id).cloned();
        let instance = found.ok_or_else(|| not_found("instance"))?;
        Ok(events(&mut state, "WaitInstance", Some(instance)))
    }

    async fn get_usage(&self, _: Request<wire::GetUsageRequest>) -> Result<Response<wire::Usage>, Status> {
        Err(Status::unimplemented("the provider asks for no usage"))
    }

    async fn get_instance(
        &self,
        request: Request<wire::GetInstanceRequest>,
    ) -> Result<Response<wire::Instance>, Status> {
        let mut state = self.state();
        state.enter("GetInstance")?;
        let found = match request.into_inner().by.unwrap() {
            wire::get_instance_request::By::Id(id) => state.instances.get(&id),
            wire::get_instance_request::By::Name(name) => {
                state.instances.values().find(|it| it.spec.as_ref().unwrap().name == name)
            }
        };
        found.cloned().map(Response::new).ok_or_else(|| not_found("instance"))
    }

    async fn list_instances(
        &self,
        _: Request<wire::ListInstancesRequest>,
    ) -> Result<Response<wire::ListInstancesResponse>, Status> {
        let mut state = self.state();
        state.enter("ListInstances")?;
        let instances = state.instances.values().cloned().collect();
        Ok(Response::new(wire::ListInstancesResponse { instances }))
    }

    async fn update_instance(
        &self,
        request: Request<wire::UpdateInstanceRequest>,
    ) -> Result<Response<Events>, Status> {
        let mut state = self.state();
        state.enter("UpdateInstance")?;
        let request = request.into_inner();
        let mut instance = state.instances.get(&request.id).cloned().ok_or_else(|| not_found("instance"))?;
        let spec = request.spec.unwrap();
        if instance.spec.as_ref().unwrap().image != spec.image {
            instance.image_id = image_id(&state, &spec.image)?;
            instance.image_reference = spec.image.clone();
        }
        instance.spec = Some(spec);
        settle(&mut state, &mut instance);
        state.instances.insert(instance.id.clone(), instance.clone());
        Ok(events(&mut state, "UpdateInstance", Some(instance)))
    }

    async fn delete_instance(
        &self,
        request: Request<wire::DeleteInstanceRequest>,
    ) -> Result<Response<Events>, Status> {
        let mut state = self.state();
        state.enter("DeleteInstance")?;
        state.instances.remove(&request.into_inner().id).ok_or_else(|| not_found("instance"))?;
        Ok(events(&mut state, "DeleteInstance", None))
    }

    async fn start_instance(
        &self,
        _: Request<wire::StartInstanceRequest>,
    ) -> Result<Response<Events>, Status> {
        Err(Status::unimplemented("start"))
    }

    async fn stop_instance(&self, _: Request<wire::StopInstanceRequest>) -> Result<Response<Events>, Status> {
        Err(Status::unimplemented("stop"))
    }

    async fn restart_instance(
        &self,
        _: Request<wire::RestartInstanceRequest>,
    ) -> Result<Response<Events>, Status> {
        Err(Status::unimplemented("restart"))
    }

    async fn exec(
        &self,
        _: Request<Streaming<wire::ExecRequest>>,
    ) -> Result<Response<Self::ExecStream>, Status> {
        Err(Status::unimplemented("exec"))
    }

    async fn push_file(
        &self,
        _: Request<Streaming<wire::PushFileRequest>>,
    ) -> Result<Response<wire::PushFileResponse>, Status> {
        Err(Status::unimplemented("files"))
    }

    async fn pull_file(
        &self,
        _: Request<wire::PullFileRequest>,
    ) -> Result<Response<Self::PullFileStream>, Status> {
        Err(Status::unimplemented("files"))
    }

    async fn get_logs(
        &self,
        _: Request<wire::GetLogsRequest>,
    ) -> Result<Response<Self::GetLogsStream>, Status> {
        Err(Status::unimplemented("logs"))
    }
}
