//! Registries and the image store, from `berth-image`.

use std::collections::HashMap;
use std::error::Error;
use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use berth_domain as domain;
use berth_engine::Reporter;
use berth_engine::ports::images::{
    ArchivePiece, CheckReport, ExportRequest, Freed, ImageError, Images, ImportRequest, Known as KnownImage,
    Remote, Resolution, ResolveRequest, Scratch,
};
use berth_engine::report::{PullPhase, PullProgress};
use berth_image::config::ImageConfig;
use berth_image::digest::Digest;
use berth_image::import::ImportError;
use berth_image::platform::Platform;
use berth_image::reference::{Origin, Reference};
use berth_image::registry::{Client, Downloads, Endpoint, RegistryError, Settings};
use berth_image::resolve::{Known, ResolveError, Resolved, resolve};
use berth_image::store::{
    CheckProgress, Checked, Collected, Phase, Progress, PullError, Store, StoreError, StoredImage,
};
use tokio::sync::mpsc;

use super::archives;
use super::remotes::{BadRemote, parse, set_up};

/// The store, and a client for each registry that was asked.
pub(super) struct ImageStore {
    store: Store,
    /// By host. A client keeps its connections and tokens; another remote makes another client.
    clients: Mutex<HashMap<String, (Option<Remote>, Client)>>,
    downloads: Downloads,
}

impl ImageStore {
    pub(super) fn new(store: Store, downloads: Downloads) -> Self {
        Self { store, clients: Mutex::new(HashMap::new()), downloads }
    }

    async fn client(&self, reference: &Reference, remotes: &[Remote]) -> Result<Client, ImageError> {
        let remote = reference.remote.as_deref();
        let remote = remote.and_then(|name| remotes.iter().find(|remote| remote.spec.name.as_str() == name));
        let cached = {
            let clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
            clients.get(&reference.host).filter(|(known, _)| known.as_ref() == remote).cloned()
        };
        // What a helper or a file says may change at any time.
        let changing = remote.is_some_and(|remote| {
            remote.spec.credential_helper.is_some() || remote.spec.docker_config.is_some()
        });
        if let Some((_, client)) = cached.filter(|_| !changing) {
            return Ok(client);
        }
        let unusable = |error: BadRemote| ImageError::BadRemote {
            registry: reference.host.clone(),
            source: error.into(),
        };
        let settings = Settings { downloads: self.downloads.clone(), ..Settings::default() };
        let (endpoint, settings) = match remote {
            Some(remote) => set_up(remote, settings).await.map_err(unusable)?,
            None => (Endpoint::for_host(&reference.host).map_err(|error| unusable(error.into()))?, settings),
        };
        let client = Client::with(endpoint, settings).map_err(|error| registry(reference, error))?;
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.insert(reference.host.clone(), (remote.cloned(), client.clone()));
        Ok(client)
    }

    async fn checked(
        &self,
        only: Option<&[domain::Digest]>,
        reporter: &Reporter,
    ) -> Result<Checked, ImageError> {
        let only: Option<Vec<Digest>> = only.map(|only| only.iter().filter_map(ours).collect());
        let reporter = reporter.clone();
        self.blocking(move |store| {
            let tell = |progress: CheckProgress| {
                reporter
                    .line(format!("{} of {} layers verified", progress.layers_done, progress.layers_total));
            };
            store.check(only.as_deref(), &tell)
        })
        .await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ImageError> {
        let store = self.store.clone();
        match tokio::task::spawn_blocking(move || work(&store)).await {
            Ok(done) => done.map_err(stored),
            Err(error) => Err(ImageError::Store { operation: "be used".to_owned(), source: error.into() }),
        }
    }
}

#[async_trait]
impl Images for ImageStore {
    async fn resolve(&self, request: &ResolveRequest) -> Result<Resolution, ImageError> {
        let reference = parse(&request.reference, &request.remotes)?;
        let platform = platform(request.platform.as_ref(), &reference)?;
        let client = self.client(&reference, &request.remotes).await?;
        let wanted = Some(platform.to_string());
        let runs_there = |known: &&KnownImage| {
            known.platform.is_none() || known.platform.as_ref().map(ToString::to_string) == wanted
        };
        let known = request.known.iter().find(runs_there).and_then(|known| {
            Some(Known { root: ours(&known.index_digest)?, manifest: ours(&known.image_digest)? })
        });
        let wanted = request.image_digest.as_ref().and_then(ours);
        let resolved = match (resolve(&client, &reference, &platform, known).await, wanted) {
            (Ok(resolved), None) => resolved,
            (Ok(resolved), Some(wanted)) if resolved.manifest == wanted => resolved,
            // The tag has moved on, or is gone; what was planned is what counts.
            (
                Ok(_) | Err(ResolveError::Registry { source: RegistryError::NotFound { .. }, .. }),
                Some(wanted),
            ) => {
                let pinned = Resolved::pinned(&reference, wanted, platform);
                match known.filter(|known| known.manifest == wanted) {
                    Some(known) => pinned.found_in(known.root),
                    None => pinned,
                }
            }
            (Err(error), _) => return Err(unresolved(&reference, error)),
        };
        Ok(Resolution {
            reference: request.reference.clone(),
            reference_resolved: resolved.reference_resolved.clone(),
            index_digest: theirs(&resolved.root)?,
            image_digest: theirs(&resolved.manifest)?,
            platform: domain::Platform::new(&resolved.platform.to_string()).map_err(|invalid| {
                ImageError::BadContent {
                    reference: request.reference.clone(),
                    what: invalid.summary,
                    source: None,
                }
            })?,
        })
    }

    async fn tags(&self, repository: &str, remotes: &Arc<[Remote]>) -> Result<Vec<String>, ImageError> {
        let reference = parse(repository, remotes)?;
        let client = self.client(&reference, remotes).await?;
        client.tags(&reference.repository).await.map_err(|error| registry(&reference, error))
    }

    async fn repositories(&self, remote: &str, remotes: &Arc<[Remote]>) -> Result<Vec<String>, ImageError> {
        // Any repository will do to find the registry; what stands before it is the remote's path.
        let known = remotes.iter().any(|known| known.spec.name.as_str() == remote);
        let any = if known { format!("{remote}:any") } else { format!("{remote}/any/any") };
        // Whoever asks knows nothing of a repository.
        let reference = parse(&any, remotes).map_err(|error| match error {
            ImageError::UnknownRemote { .. } => ImageError::UnknownRemote {
                reference: remote.to_owned(),
                remote: remote.to_owned(),
                suggestion: "docker.io".to_owned(),
            },
            error => error,
        })?;
        let client = self.client(&reference, remotes).await?;
        let all = client.repositories().await.map_err(|error| registry(&reference, error))?;
        let path = match &reference.origin {
            Origin::Remote(_) => reference.repository.strip_suffix("/any").filter(|path| *path != "library"),
            Origin::Host => None,
        };
        let below = |name: String| match path {
            None => Some(name),
            Some(path) => Some(name.strip_prefix(path)?.strip_prefix('/')?.to_owned()),
        };
        Ok(all.into_iter().filter_map(below).collect())
    }

    async fn pull(
        &self,
        resolution: &Resolution,
        remotes: &Arc<[Remote]>,
        reporter: &Reporter,
    ) -> Result<Arc<domain::ImageInfo>, ImageError> {
        let reference = parse(&resolution.reference, remotes)?;
        let platform = platform(Some(&resolution.platform), &reference)?;
        let manifest = ours(&resolution.image_digest).ok_or_else(|| bad_digest(&resolution.reference))?;
        let client = self.client(&reference, remotes).await?;
        let root = ours(&resolution.index_digest).ok_or_else(|| bad_digest(&resolution.reference))?;
        let mut resolved = Resolved::pinned(&reference, manifest, platform).found_in(root);
        resolved.reference_resolved.clone_from(&resolution.reference_resolved);
        let tell = |progress: Progress| reporter.pull(shown(progress));
        match self.store.pull(&client, &resolved, &tell).await {
            Ok(image) => info(image).map(Arc::new),
            Err(error) => Err(unpulled(&reference, error)),
        }
    }

    async fn get(&self, digest: &domain::Digest) -> Result<Option<Arc<domain::ImageInfo>>, ImageError> {
        let Some(digest) = ours(digest) else { return Ok(None) };
        let found = self.blocking(move |store| store.get(&digest)).await?;
        found.map(|image| info(image).map(Arc::new)).transpose()
    }

    async fn list(&self) -> Result<Vec<Arc<domain::ImageInfo>>, ImageError> {
        let images = self.blocking(Store::list).await?;
        images.into_iter().map(|image| info(image).map(Arc::new)).collect()
    }

    async fn remove(&self, digest: &domain::Digest) -> Result<(), ImageError> {
        let Some(digest) = ours(digest) else { return Ok(()) };
        self.blocking(move |store| {
            store.remove(&digest)?;
            store.collect().map(drop)
        })
        .await
    }

    async fn scratch(&self) -> Result<Scratch, ImageError> {
        let limit = self.store.max_archive_bytes();
        self.blocking(Store::scratch).await.map(|file| Scratch { file, limit })
    }

    async fn import(
        &self,
        archive: File,
        request: &ImportRequest,
        reporter: &Reporter,
    ) -> Result<(Resolution, Arc<domain::ImageInfo>), ImageError> {
        archives::import(&self.store, archive, request, reporter).await
    }

    async fn export(&self, request: &ExportRequest) -> Result<mpsc::Receiver<ArchivePiece>, ImageError> {
        let source = match request.refetch {
            true => {
                let reference = request.reference.as_deref().ok_or_else(|| archives::no_origin(request))?;
                let reference = parse(reference, &request.remotes)?;
                Some((self.client(&reference, &request.remotes).await?, reference.repository))
            }
            false => None,
        };
        archives::export(&self.store, request, source)
    }

    async fn check(
        &self,
        only: Option<&[domain::Digest]>,
        reporter: &Reporter,
    ) -> Result<CheckReport, ImageError> {
        let checked = self.checked(only, reporter).await?;
        let damaged = checked.damaged.into_iter().map(|image| Ok((theirs(&image.digest)?, image.parts)));
        Ok(CheckReport {
            images: checked.images,
            bytes: checked.bytes,
            damaged: damaged.collect::<Result<_, ImageError>>()?,
        })
    }

    async fn repair(
        &self,
        resolution: &Resolution,
        remotes: &Arc<[Remote]>,
        reporter: &Reporter,
    ) -> Result<(), ImageError> {
        // What must be fetched is found anew: it may have been mended with another image.
        let checked = self.checked(Some(std::slice::from_ref(&resolution.image_digest)), reporter).await?;
        let Some(damaged) = checked.damaged.first() else { return Ok(()) };
        let reference = parse(&resolution.reference, remotes)?;
        let platform = platform(Some(&resolution.platform), &reference)?;
        let client = self.client(&reference, remotes).await?;
        let mut resolved = Resolved::pinned(&reference, damaged.digest, platform);
        resolved.reference_resolved.clone_from(&resolution.reference_resolved);
        let tell = |progress: Progress| reporter.pull(shown(progress));
        let repaired = self.store.repair(&client, &resolved, damaged, &tell).await;
        repaired.map(drop).map_err(|error| unpulled(&reference, error))
    }

    async fn would_remove(&self, images: &[domain::Digest]) -> Result<Freed, ImageError> {
        let without = images.iter().filter_map(ours).collect();
        self.blocking(move |store| store.would_collect(&without)).await.map(freed)
    }

    async fn collect(&self) -> Result<Freed, ImageError> {
        self.blocking(Store::collect).await.map(freed)
    }

    async fn touch(&self, digest: &domain::Digest) -> Result<(), ImageError> {
        let Some(digest) = ours(digest) else { return Ok(()) };
        self.blocking(move |store| store.touch(&digest)).await
    }
}

fn freed(collected: Collected) -> Freed {
    Freed { objects: collected.objects, bytes: collected.bytes }
}

pub(super) fn platform(
    wanted: Option<&domain::Platform>,
    reference: &Reference,
) -> Result<Platform, ImageError> {
    let Some(wanted) = wanted else { return Ok(Platform::host()) };
    wanted.as_str().parse().map_err(|_| ImageError::PlatformNotFound {
        reference: reference.to_string(),
        platform: wanted.to_string(),
        available: Vec::new(),
    })
}

pub(super) fn ours(digest: &domain::Digest) -> Option<Digest> {
    digest.as_str().parse().ok()
}

pub(super) fn theirs(digest: &Digest) -> Result<domain::Digest, ImageError> {
    digest.to_string().parse().map_err(|_| bad_digest(&digest.to_string()))
}

fn bad_digest(of: &str) -> ImageError {
    ImageError::BadContent {
        reference: of.to_owned(),
        what: "its digest is malformed".to_owned(),
        source: None,
    }
}

pub(super) fn shown(progress: Progress) -> PullProgress {
    PullProgress {
        phase: match progress.phase {
            Phase::Resolving => PullPhase::Resolving,
            Phase::Fetching => PullPhase::Fetching,
            Phase::Merging => PullPhase::Merging,
            Phase::Done => PullPhase::Done,
        },
        bytes_done: progress.bytes_done,
        bytes_total: progress.bytes_total,
        layers_done: progress.layers_done,
        layers_total: progress.layers_total,
    }
}

pub(super) fn info(image: StoredImage) -> Result<domain::ImageInfo, ImageError> {
    let layer = |layer: &berth_image::store::StoredLayer| domain::Layer {
        digest: layer.digest.to_string(),
        diff_id: layer.diff_id.to_string(),
        size: layer.size,
    };
    Ok(domain::ImageInfo {
        digest: theirs(&image.digest)?,
        platform: image.platform.to_string(),
        size: image.size,
        layers: image.layers.iter().map(layer).collect(),
        created: image.created.unwrap_or_default(),
        config: config(image.config),
        used: image.used,
    })
}

fn config(config: ImageConfig) -> domain::ImageConfig {
    domain::ImageConfig {
        entrypoint: config.entrypoint,
        command: config.command,
        environment: config.environment.into_iter().collect(),
        exposed_ports: config.exposed_ports.into_iter().collect(),
        volumes: config.volumes.into_iter().collect(),
        user: config.user,
        working_dir: config.working_dir,
        stop_signal: config.stop_signal,
        labels: config.labels,
        health_check: config.health_check.map(|check| domain::HealthCheckConfig {
            test: check.test,
            interval_ns: check.interval_ns,
            timeout_ns: check.timeout_ns,
            start_period_ns: check.start_period_ns,
            retries: check.retries,
        }),
    }
}

fn unresolved(reference: &Reference, error: ResolveError) -> ImageError {
    match error {
        ResolveError::Registry { source, .. } => registry(reference, source),
        ResolveError::PlatformNotFound { wanted, available, .. } => ImageError::PlatformNotFound {
            reference: reference.to_string(),
            platform: wanted.to_string(),
            available,
        },
        other => bad_content(reference, other),
    }
}

pub(super) fn unpulled(reference: &Reference, error: PullError) -> ImageError {
    match error {
        PullError::Registry { source, .. } => registry(reference, source),
        PullError::Store { source, .. } => stored(source),
        PullError::Import { source, .. }
            if matches!(
                *source,
                ImportError::Store(_) | ImportError::Write { .. } | ImportError::Panicked
            ) =>
        {
            ImageError::Store { operation: "take a layer".to_owned(), source }
        }
        PullError::Panicked { .. } => {
            ImageError::Store { operation: "finish the pull".to_owned(), source: error.into() }
        }
        other => bad_content(reference, other),
    }
}

/// The error itself says what is bad; its sources say why.
pub(super) fn bad_content(reference: &Reference, error: impl Error + Send + Sync + 'static) -> ImageError {
    let what = error.to_string();
    let source = error.source().map(|source| chain(source).into());
    ImageError::BadContent { reference: reference.to_string(), what, source }
}

pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

pub(super) fn registry(reference: &Reference, error: RegistryError) -> ImageError {
    let written = reference.to_string();
    match error {
        RegistryError::Unauthorized { registry, anonymous, .. } => ImageError::Unauthorized {
            registry,
            repository: reference.repository.clone(),
            with_credentials: !anonymous,
        },
        RegistryError::NotFound { .. } => ImageError::NotFound { reference: written },
        RegistryError::NoRepository { .. } => ImageError::NotFound { reference: written },
        RegistryError::NoCatalogue { registry } => ImageError::NoCatalogue { registry },
        RegistryError::NotSigned { .. } | RegistryError::BadSignature { .. } => {
            ImageError::NotVerified { reference: written, why: error.to_string() }
        }
        RegistryError::BlobNotFound { .. }
        | RegistryError::DigestMismatch { .. }
        | RegistryError::SizeMismatch { .. }
        | RegistryError::TooLarge { .. }
        | RegistryError::UnsupportedMediaType { .. }
        | RegistryError::InvalidManifest { .. }
        | RegistryError::InvalidList { .. }
        | RegistryError::AmbiguousManifest { .. }
        | RegistryError::BadDigest { .. } => bad_content(reference, error),
        other => ImageError::Unreachable { registry: reference.host.clone(), source: other.into() },
    }
}

pub(super) fn stored(error: StoreError) -> ImageError {
    ImageError::Store { operation: "be read or written".to_owned(), source: error.into() }
}
