//! The ports of a [`FakeHost`]. Each changing call has a point before and after its effect.

use std::fs::File;
use std::io::{Read, Seek};
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Arc, PoisonError};

use async_trait::async_trait;
use berth_domain::{
    Digest, ExitRecord, FilePlace, Health, ImageInfo, InstanceId, Platform, Timestamp, Workload,
};
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::mpsc;

use super::fake::FakeHost;
use super::fake_volumes::check;
use crate::ports::Cause;
use crate::ports::host::{CheckItem, Host, HostInfo};
use crate::ports::images::{
    ArchivePiece, CheckReport, ExportRequest, Freed, ImageError, Images, ImportRequest, Remote, Resolution,
    ResolveRequest, Scratch,
};
use crate::ports::runtime::{
    Contents, ExecError, ExecOutput, ExecRequest, ExecSession, InstanceState, LogLine, LogRequest,
    RootfsRequest, Runtime, RuntimeError, RuntimeEvent, Settings, StartError, StartRequest, Started,
    StopMode, Usage,
};
use crate::report::Reporter;

impl FakeHost {
    async fn point(&self, call: &str, when: &str) -> Result<(), Cause> {
        self.faults.point(format!("{call}, {when}")).await.map_err(Into::into)
    }

    async fn at(&self, call: &str, when: &str) -> Result<(), RuntimeError> {
        let host = |source| RuntimeError::Host { operation: call.to_owned(), source };
        self.point(call, when).await.map_err(host)
    }

    async fn at_start(&self, call: &str, when: &str) -> Result<(), StartError> {
        let host = |source| StartError::Host { operation: call.to_owned(), advice: String::new(), source };
        self.point(call, when).await.map_err(host)
    }

    async fn at_images(&self, call: &str, when: &str) -> Result<(), ImageError> {
        let store = |source| ImageError::Store { operation: call.to_owned(), source };
        self.point(call, when).await.map_err(store)
    }
}

#[async_trait]
impl Host for FakeHost {
    async fn info(&self) -> HostInfo {
        HostInfo::default()
    }

    async fn check(&self) -> Vec<CheckItem> {
        Vec::new()
    }
}

#[async_trait]
impl Images for FakeHost {
    async fn resolve(&self, request: &ResolveRequest) -> Result<Resolution, ImageError> {
        let reference = request.reference.clone();
        let known = self.state().registry.get(&reference).map(|info| info.digest.clone());
        let digest = request.image_digest.clone().or(known);
        let digest = digest.ok_or_else(|| ImageError::NotFound { reference: reference.clone() })?;
        let platform = request.platform.clone().map_or_else(|| Platform::new("linux/amd64"), Ok);
        let platform = platform.map_err(|invalid| ImageError::BadReference {
            reference: reference.clone(),
            why: invalid.summary,
        })?;
        Ok(Resolution {
            reference_resolved: format!("{reference}@{digest}"),
            reference,
            index_digest: digest.clone(),
            image_digest: digest,
            platform,
        })
    }

    async fn tags(&self, repository: &str, _remotes: &Arc<[Remote]>) -> Result<Vec<String>, ImageError> {
        let start = format!("{repository}:");
        let state = self.state();
        let tags = state.registry.keys().filter_map(|known| known.strip_prefix(&start));
        let tags: Vec<String> = tags.map(str::to_owned).collect();
        if tags.is_empty() {
            return Err(ImageError::NotFound { reference: repository.to_owned() });
        }
        Ok(tags)
    }

    async fn repositories(&self, remote: &str, _remotes: &Arc<[Remote]>) -> Result<Vec<String>, ImageError> {
        let start = format!("{remote}:");
        let state = self.state();
        let names = state.registry.keys().filter_map(|known| known.strip_prefix(&start)?.split(':').next());
        Ok(names.map(str::to_owned).collect())
    }

    async fn pull(
        &self,
        resolution: &Resolution,
        _remotes: &Arc<[Remote]>,
        _reporter: &Reporter,
    ) -> Result<Arc<ImageInfo>, ImageError> {
        self.at_images("pull", "before").await?;
        let info = {
            let mut state = self.state();
            let known = state.registry.values().find(|info| info.digest == resolution.image_digest).cloned();
            let info =
                known.ok_or_else(|| ImageError::NotFound { reference: resolution.reference.clone() })?;
            state.store.insert(info.digest.clone(), Arc::clone(&info));
            info
        };
        self.at_images("pull", "after").await?;
        Ok(info)
    }

    async fn get(&self, digest: &Digest) -> Result<Option<Arc<ImageInfo>>, ImageError> {
        Ok(self.state().store.get(digest).cloned())
    }

    async fn list(&self) -> Result<Vec<Arc<ImageInfo>>, ImageError> {
        Ok(self.state().store.values().cloned().collect())
    }

    async fn remove(&self, digest: &Digest) -> Result<(), ImageError> {
        self.at_images("remove image", "before").await?;
        self.state().store.remove(digest);
        self.at_images("remove image", "after").await
    }

    async fn scratch(&self) -> Result<Scratch, ImageError> {
        let file = std::env::temp_dir();
        let file = std::fs::OpenOptions::new().read(true).write(true).custom_flags(O_TMPFILE).open(file);
        let store = |source: std::io::Error| ImageError::Store {
            operation: "make room".to_owned(),
            source: source.into(),
        };
        Ok(Scratch { file: file.map_err(store)?, limit: 1024 })
    }

    /// An archive is a reference: it holds the image that the registry has under it.
    async fn import(
        &self,
        mut archive: File,
        request: &ImportRequest,
        _reporter: &Reporter,
    ) -> Result<(Resolution, Arc<ImageInfo>), ImageError> {
        self.at_images("import", "before").await?;
        let bad = |why: &str| ImageError::Archive { why: why.to_owned(), source: None };
        let mut text = String::new();
        archive.rewind().and_then(|()| archive.read_to_string(&mut text)).map_err(|_| bad("not text"))?;
        let mut state = self.state();
        let info = state.registry.get(&text).cloned().ok_or_else(|| bad("no image"))?;
        state.store.insert(info.digest.clone(), Arc::clone(&info));
        let reference = request.reference.clone().unwrap_or_else(|| info.digest.to_string());
        let resolution = Resolution {
            reference_resolved: format!("{reference}@{}", info.digest),
            reference,
            index_digest: info.digest.clone(),
            image_digest: info.digest.clone(),
            platform: Platform::new(&info.platform).map_err(|_| bad("no platform"))?,
        };
        Ok((resolution, info))
    }

    async fn export(&self, request: &ExportRequest) -> Result<mpsc::Receiver<ArchivePiece>, ImageError> {
        let (sender, receiver) = mpsc::channel(1);
        let piece = bytes::Bytes::from(request.image.to_string());
        // The receiver is here: there is room for one.
        let _sent = sender.try_send(Ok(piece));
        Ok(receiver)
    }

    async fn check(&self, only: Option<&[Digest]>, _reporter: &Reporter) -> Result<CheckReport, ImageError> {
        let state = self.state();
        let looked = state.store.keys().filter(|digest| only.is_none_or(|only| only.contains(digest)));
        let looked: Vec<_> = looked.cloned().collect();
        let damaged = looked.iter().filter(|digest| state.damaged.contains(*digest));
        let damaged = damaged.map(|digest| (digest.clone(), vec!["an object".to_owned()])).collect();
        Ok(CheckReport { images: looked.len() as u64, bytes: 0, damaged })
    }

    async fn repair(
        &self,
        resolution: &Resolution,
        _remotes: &Arc<[Remote]>,
        _reporter: &Reporter,
    ) -> Result<(), ImageError> {
        let mut state = self.state();
        if !state.registry.contains_key(&resolution.reference) {
            return Err(ImageError::NotFound { reference: resolution.reference.clone() });
        }
        state.damaged.remove(&resolution.image_digest);
        Ok(())
    }

    async fn would_remove(&self, images: &[Digest]) -> Result<Freed, ImageError> {
        Ok(Freed { objects: images.len() as u64, bytes: images.len() as u64 })
    }

    async fn collect(&self) -> Result<Freed, ImageError> {
        Ok(Freed::default())
    }

    async fn touch(&self, digest: &Digest) -> Result<(), ImageError> {
        let mut state = self.state();
        if let Some(info) = state.store.get(digest).cloned() {
            let used = std::time::SystemTime::now();
            state.store.insert(digest.clone(), Arc::new(ImageInfo { used, ..ImageInfo::clone(&info) }));
        }
        Ok(())
    }
}

const O_TMPFILE: i32 = 0o20_200_000;

#[async_trait]
impl Runtime for FakeHost {
    fn events(&self) -> BoxStream<'static, RuntimeEvent> {
        let (sender, receiver) = mpsc::unbounded_channel();
        *self.events.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        futures::stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) })
            .boxed()
    }

    fn plugged(&self) -> BoxStream<'static, ()> {
        futures::stream::pending().boxed()
    }

    async fn observe_all(&self) -> Result<Vec<(InstanceId, InstanceState)>, RuntimeError> {
        let ids: Vec<InstanceId> = self.state().instances.keys().copied().collect();
        let mut all = Vec::new();
        for id in ids {
            all.push((id, self.observe(id).await?));
        }
        Ok(all)
    }

    async fn observe(&self, instance: InstanceId) -> Result<InstanceState, RuntimeError> {
        // Both look into the state: one after the other.
        let health = self.health(instance);
        let state = self.state();
        let found = state.instances.get(&instance);
        let workload = found.and_then(|found| found.workload.clone()).unwrap_or(Workload::Absent);
        let rootfs = found.map(|found| found.rootfs.keys().copied().collect()).unwrap_or_default();
        let interfaces = found.map(|found| found.interfaces.clone()).unwrap_or_default();
        Ok(InstanceState { workload, rootfs, health, clamped: Vec::new(), accelerator: None, interfaces })
    }

    async fn prepare_rootfs(&self, request: &RootfsRequest) -> Result<(), StartError> {
        self.at_start("prepare rootfs", "before").await?;
        {
            let mut state = self.state();
            if !state.store.contains_key(&request.image) {
                return Err(StartError::ImageGone { image: request.image.clone() });
            }
            let instance = state.instances.entry(request.instance).or_default();
            instance.rootfs.entry(request.rootfs).or_insert_with(|| request.image.clone());
        }
        self.at_start("prepare rootfs", "after").await
    }

    async fn start(&self, request: &StartRequest) -> Result<Started, StartError> {
        self.at_start("start", "before").await?;
        if request.config.argv.first().is_some_and(|program| program == "missing") {
            return Err(StartError::EntrypointNotFound { program: "missing".to_owned() });
        }
        if request.config.user.as_str() == "nobody-here" {
            return Err(StartError::UserNotFound { user: "nobody-here".to_owned() });
        }
        check(&request.contents.mounts).map_err(StartError::Mount)?;
        let started = {
            let mut state = self.state();
            state.next_pid += 1;
            state.rigid.remove(&request.instance);
            let started = Started { pid: state.next_pid, at: Timestamp::now() };
            let instance = state.instances.entry(request.instance).or_default();
            // What a real host would refuse with a message of its own, a test wants to see at once.
            assert!(instance.rootfs.get(&request.rootfs) == Some(&request.image), "started on another image");
            assert!(!instance.workload.as_ref().is_some_and(Workload::is_live), "started twice");
            let revision = request.revision;
            instance.workload =
                Some(Workload::Running { revision, pid: started.pid, started_at: started.at, restarts: 0 });
            instance.request = Some(request.clone());
            started
        };
        self.at_start("start", "after").await.inspect_err(|_| {
            if let Some(instance) = self.state().instances.get_mut(&request.instance) {
                instance.workload = None;
            }
        })?;
        Ok(started)
    }

    async fn stop(&self, instance: InstanceId, _mode: StopMode) -> Result<Option<ExitRecord>, RuntimeError> {
        self.at("stop", "before").await?;
        let exit = {
            let mut state = self.state();
            let found = state.instances.get_mut(&instance);
            let workload = found.and_then(|found| found.workload.as_mut());
            match workload.filter(|workload| workload.is_live()) {
                None => None,
                Some(workload) => {
                    let exit = ExitRecord {
                        code: 143,
                        signal: Some(15),
                        oom_killed: false,
                        at: Timestamp::now(),
                        reason: None,
                    };
                    let revision = workload.revision().unwrap_or_default();
                    *workload = Workload::Ended { revision, restarts: 0, exit: exit.clone() };
                    Some(exit)
                }
            }
        };
        self.at("stop", "after").await?;
        Ok(exit)
    }

    async fn apply(
        &self,
        instance: InstanceId,
        settings: &Settings,
        contents: &Contents,
    ) -> Result<(), RuntimeError> {
        self.at("apply", "before").await?;
        {
            let mut state = self.state();
            let rigid = state.rigid.contains(&instance);
            let found = state.instances.get_mut(&instance);
            let live = found.filter(|found| found.workload.as_ref().is_some_and(Workload::is_live));
            let request = live.and_then(|found| found.request.as_mut()).ok_or(RuntimeError::NotRunning)?;
            check(&contents.mounts).map_err(RuntimeError::Mount)?;
            if rigid && request.contents.interfaces != contents.interfaces {
                return Err(RuntimeError::NeedsRestart);
            }
            request.settings = settings.clone();
            request.contents = contents.clone();
        }
        self.at("apply", "after").await
    }

    async fn keep_only_rootfs(&self, instance: InstanceId, rootfs: u32) -> Result<(), RuntimeError> {
        self.at("keep only one rootfs", "before").await?;
        if let Some(found) = self.state().instances.get_mut(&instance) {
            found.rootfs.retain(|n, _| *n == rootfs);
        }
        self.at("keep only one rootfs", "after").await
    }

    async fn remove(&self, instance: InstanceId) -> Result<(), RuntimeError> {
        self.at("remove", "before").await?;
        self.state().instances.remove(&instance);
        self.at("remove", "after").await
    }

    async fn settled(&self, instance: InstanceId) -> Result<Option<Health>, RuntimeError> {
        Ok(self.health(instance))
    }

    async fn answers(&self, instance: InstanceId, _address: Option<Ipv4Addr>, _port: u16) -> bool {
        self.pid(instance).is_some()
    }

    async fn usage(&self, instance: InstanceId) -> Result<Usage, RuntimeError> {
        if self.pid(instance).is_some() { Ok(Usage::default()) } else { Err(RuntimeError::NotRunning) }
    }

    async fn exec(&self, instance: InstanceId, request: &ExecRequest) -> Result<ExecSession, ExecError> {
        if self.pid(instance).is_none() {
            return Err(ExecError::NotRunning);
        }
        if request.argv.first().is_some_and(|program| program == b"missing") {
            return Err(ExecError::ProgramNotFound { program: "missing".to_owned() });
        }
        let (input, _unread) = mpsc::channel(1);
        let (sender, output) = mpsc::channel(2);
        // Two fit in, so nobody waits.
        let _sent = sender.try_send(ExecOutput::Stdout(request.argv.join(&b' ')));
        let _sent = sender.try_send(ExecOutput::Exit(0));
        Ok(ExecSession { input, output })
    }

    async fn push_file(
        &self,
        instance: InstanceId,
        _place: &FilePlace,
        _content: File,
    ) -> Result<(), RuntimeError> {
        if self.pid(instance).is_some() { Ok(()) } else { Err(RuntimeError::NotRunning) }
    }

    async fn pull_file(&self, _instance: InstanceId, _path: &str) -> Result<File, RuntimeError> {
        Err(RuntimeError::NotRunning)
    }

    async fn logs(
        &self,
        _instance: InstanceId,
        _request: &LogRequest,
    ) -> Result<mpsc::Receiver<Result<LogLine, RuntimeError>>, RuntimeError> {
        Ok(mpsc::channel(1).1)
    }
}
