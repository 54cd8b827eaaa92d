//! Instances. Operations on one instance take turns, those on different ones do not wait for each other, and none
//! is cut short when its caller goes away.

use std::collections::BTreeMap;
use std::sync::Arc;

use berth_domain::{EffectiveConfig, ImageInfo, ImageSource, InstanceDraft, InstanceId, InstanceSpec};

use super::{Engine, Inner};
use crate::error::{EngineError, Kind};
use crate::instance::actor::{self, Handle, Operation};
use crate::instance::claims;
use crate::instance::files::{self, Contents};
use crate::instance::interfaces;
use crate::instance::mounts;
use crate::instance::update::{Change, ChangedImage};
use crate::keeper::Hold;
use crate::ledger::{Inserted, NewInstance, Version};
use crate::ports::runtime::{InstanceState, StopMode};
use crate::report::Reporter;
use crate::restrictions;
use crate::view::{By, InstanceView};

/// An image that an instance is to be made from.
struct Source {
    hold: Hold,
    info: Arc<ImageInfo>,
    reference: String,
}

impl Inner {
    /// The image that a spec means: in the store, and held.
    async fn source(&self, image: &ImageSource, reporter: &Reporter) -> Result<Source, EngineError> {
        match image {
            ImageSource::Digest(digest) => {
                let hold = self.keeper.hold(digest).await;
                let found = self.ports.images.get(digest).await;
                let found = found.map_err(|source| EngineError::Image { argument: "image", source })?;
                let info = found.ok_or_else(|| EngineError::ImageNotHere { image: digest.to_string() })?;
                let pins = self.ledger.pins().await?;
                let pinned = pins.into_iter().find(|pin| pin.image_digest == *digest);
                Ok(Source { hold, info, reference: pinned.map(|pin| pin.reference).unwrap_or_default() })
            }
            ImageSource::Reference(reference) => {
                reporter.line(format!("resolving {reference}"));
                let resolved = self.resolve(reference, None, None, None).await;
                let resolution = resolved.map_err(|error| error.on("image"))?;
                reporter.line(format!("pulling {}", resolution.reference_resolved));
                let fetched = self.fetch(&resolution, reporter).await;
                let (hold, info) = fetched.map_err(|error| error.on("image"))?;
                Ok(Source { hold, info, reference: reference.clone() })
            }
        }
    }

    async fn create(
        self: Arc<Self>,
        mut spec: InstanceSpec,
        contents: Contents,
        reporter: Reporter,
    ) -> Result<InstanceView, EngineError> {
        files::resolve(&mut spec, None)?;
        let id = InstanceId::random();
        let name =
            self.directory.reserve(spec.name.as_str(), id).map_err(|holder| name_taken(&spec, holder))?;
        let Source { hold, info, reference } = self.source(&spec.image, &reporter).await?;
        let written = self.write_new(id, spec, contents, &info, reference).await;
        let digest = hold.digest().clone();
        drop(hold);
        match written {
            Ok(handle) => {
                name.keep();
                let snapshot = handle.request(Operation::Create, reporter).await?;
                Ok(snapshot.view())
            }
            Err(error) => {
                self.collect(&digest).await;
                Err(error)
            }
        }
    }

    /// Writes a new instance to the ledger, with all that is chosen for it, and gives it its task.
    async fn write_new(
        self: &Arc<Self>,
        id: InstanceId,
        spec: InstanceSpec,
        contents: Contents,
        info: &Arc<ImageInfo>,
        image_reference: String,
    ) -> Result<Handle, EngineError> {
        EffectiveConfig::new(&info.config, &spec)?;
        mounts::check_declared(info, &spec)?;
        self.check_peers(restrictions::lists(&spec.ingress, &spec.egress))?;
        let _turn = self.choosing.lock().await;
        let host_ports: BTreeMap<String, u16> =
            claims::choose(&self.directory, &*self.ports.network, id, &spec, None).await?;
        let volumes = mounts::bind_volumes(self, id, &spec, None).await?;
        let wanted = interfaces::wanted(self, &spec, None).await?;
        let image = info.digest.clone();
        let version = Version {
            networks: interfaces::bound(&spec, &wanted),
            spec,
            revision: 1,
            rootfs: 1,
            image,
            image_reference,
            host_ports,
            volumes,
            written: BTreeMap::new(),
            exit: None,
        };
        let inserted = self.ledger.insert_instance(NewInstance {
            id,
            version,
            interfaces: wanted.clone(),
            uid_base: self.config.uid_base,
            uid_count: self.config.uid_count,
        });
        let record = match inserted.await? {
            Inserted::Record(record) => *record,
            Inserted::NoUids => {
                let advice = "Delete an instance, or give the agent a larger uid_count";
                return Err(EngineError::Exhausted { what: "range of ids".to_owned(), advice });
            }
            Inserted::Refused(refused) => return Err(self.refused(&refused, &wanted)),
        };
        if let Err(error) = self.ledger.save_file_contents(id, contents).await {
            self.ledger.delete_instance(id).await?;
            return Err(error.into());
        }
        let handle = actor::spawn(self, record, InstanceState::absent(), Some(Arc::clone(info)), false);
        self.directory.insert(id, handle.clone());
        self.hold(&wanted).await;
        Ok(handle)
    }

    async fn update(
        self: Arc<Self>,
        id: InstanceId,
        spec: InstanceSpec,
        contents: Contents,
        reporter: Reporter,
    ) -> Result<InstanceView, EngineError> {
        let handle = self.handle(id)?;
        let name =
            self.directory.reserve(spec.name.as_str(), id).map_err(|holder| name_taken(&spec, holder))?;
        let current = handle.snapshot().record.current.spec.image.clone();
        let image = if current == spec.image {
            None
        } else {
            let Source { hold, reference, .. } = self.source(&spec.image, &reporter).await?;
            Some(ChangedImage { hold, reference })
        };
        let pulled = image.as_ref().map(|image| image.hold.digest().clone());
        let wanted = spec.name.clone();
        let result =
            handle.request(Operation::Update(Box::new(Change { spec, image, contents })), reporter).await;
        // The task gave the old name back where the change came up; where it did not, this gives back the new one.
        if handle.snapshot().record.current.spec.name == wanted {
            name.keep();
        }
        if let (Err(_), Some(digest)) = (&result, pulled) {
            self.collect(&digest).await;
        }
        Ok(result?.view())
    }

    fn handle(&self, id: InstanceId) -> Result<Handle, EngineError> {
        self.directory.get(id).ok_or_else(|| EngineError::not_found(Kind::Instance, id))
    }
}

fn name_taken(spec: &InstanceSpec, holder: InstanceId) -> EngineError {
    let name = spec.name.to_string();
    EngineError::NameTaken { kind: Kind::Instance, name, existing: holder.to_string() }
}

impl Engine {
    /// Makes an instance, and starts it where it is wanted running. What cannot be started is undone whole.
    ///
    /// # Errors
    /// The draft is invalid, the name taken, the image not to be had, or it cannot be started.
    pub async fn create_instance(
        &self,
        draft: InstanceDraft,
        reporter: Reporter,
    ) -> Result<InstanceView, EngineError> {
        let (spec, contents) = (draft.validate()?, files::contents(&draft));
        self.run(|inner| inner.create(spec, contents, reporter)).await
    }

    /// One instance, as the ledger has it.
    ///
    /// # Errors
    /// There is none.
    pub async fn get_instance(&self, by: By<InstanceId>) -> Result<InstanceView, EngineError> {
        let handle = match &by {
            By::Id(id) => self.inner.directory.get(*id),
            By::Name(name) => self.inner.directory.find(name),
        };
        let handle = handle.ok_or_else(|| EngineError::not_found(Kind::Instance, by))?;
        Ok(handle.snapshot().view())
    }

    /// All instances, by name.
    ///
    /// # Errors
    /// The ledger failed.
    pub async fn list_instances(&self) -> Result<Vec<InstanceView>, EngineError> {
        let mut views: Vec<InstanceView> =
            self.inner.directory.all().iter().map(|handle| handle.snapshot().view()).collect();
        views.sort_by(|a, b| a.spec.name.cmp(&b.spec.name));
        Ok(views)
    }

    /// Replaces the whole spec, with the mildest effect that makes it so. What cannot be brought up goes back to
    /// what ran before.
    ///
    /// # Errors
    /// The draft is invalid, the name taken, the image not to be had, or it cannot be brought up.
    pub async fn update_instance(
        &self,
        id: InstanceId,
        draft: InstanceDraft,
        reporter: Reporter,
    ) -> Result<InstanceView, EngineError> {
        let (spec, contents) = (draft.validate()?, files::contents(&draft));
        self.run(|inner| inner.update(id, spec, contents, reporter)).await
    }

    /// Stops and removes an instance, with its root filesystem and its logs. What was asked for stays asked for
    /// when it fails: the agent goes on trying.
    ///
    /// # Errors
    /// There is none, or a step failed.
    pub async fn delete_instance(
        &self,
        id: InstanceId,
        mode: StopMode,
        reporter: Reporter,
    ) -> Result<(), EngineError> {
        self.ask(id, Operation::Delete(mode), reporter).await?;
        Ok(())
    }

    /// Starts an instance, and sets `running`. Nothing happens where it runs.
    ///
    /// # Errors
    /// There is none, or it cannot be started; it is wanted running all the same.
    pub async fn start_instance(
        &self,
        id: InstanceId,
        reporter: Reporter,
    ) -> Result<InstanceView, EngineError> {
        self.ask(id, Operation::Start, reporter).await
    }

    /// Stops an instance, and clears `running`: nothing starts it again but a user.
    ///
    /// # Errors
    /// There is none, or it cannot be stopped.
    pub async fn stop_instance(
        &self,
        id: InstanceId,
        mode: StopMode,
        reporter: Reporter,
    ) -> Result<InstanceView, EngineError> {
        self.ask(id, Operation::Stop(mode), reporter).await
    }

    /// Stops and starts an instance, and sets `running`.
    ///
    /// # Errors
    /// There is none, or it cannot be stopped or started.
    pub async fn restart_instance(
        &self,
        id: InstanceId,
        mode: StopMode,
        reporter: Reporter,
    ) -> Result<InstanceView, EngineError> {
        self.ask(id, Operation::Restart(mode), reporter).await
    }

    async fn ask(
        &self,
        id: InstanceId,
        operation: Operation,
        reporter: Reporter,
    ) -> Result<InstanceView, EngineError> {
        self.run(move |inner| async move {
            let snapshot = inner.handle(id)?.request(operation, reporter).await?;
            Ok(snapshot.view())
        })
        .await
    }
}
