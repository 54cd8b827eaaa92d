//! Between the model and the wire.

use berth_proto::agent as wire;

use super::model::VolumeModel;
use crate::attr::{Attr, keep_spelling, map};
use crate::resources::labels::{self, Labels};
use crate::text::{mode, size};

/// What the agent is asked for. The model has been validated: what cannot be read is left out.
pub fn to_spec(model: &VolumeModel, defaults: &Labels) -> wire::VolumeSpec {
    let id = |attr: &Attr<i64>| attr.known().and_then(|id| u32::try_from(*id).ok());
    wire::VolumeSpec {
        name: model.name.as_str().unwrap_or_default().to_owned(),
        labels: labels::effective(&model.labels, defaults).into_iter().collect(),
        uid: id(&model.uid),
        gid: id(&model.gid),
        mode: model.mode.as_str().and_then(|text| mode::parse(text).ok()),
        size_bytes: model.size.as_str().and_then(|text| size::parse(text).ok()),
    }
}

/// A volume as the agent has it, in the words of `prior` where they say the same.
pub fn from_wire(volume: &wire::Volume, prior: Option<&VolumeModel>, defaults: &Labels) -> VolumeModel {
    let empty = wire::VolumeSpec::default();
    let spec = volume.spec.as_ref().unwrap_or(&empty);
    let own = prior.map(|prior| &prior.labels);
    let before = prior.map(|prior| &prior.effective_labels);
    let kept = prior.cloned().unwrap_or_default();
    VolumeModel {
        host: kept.host,
        name: Attr::Known(spec.name.clone()),
        labels: labels::read(&spec.labels, own, before, defaults),
        uid: spec.uid.map(i64::from).into(),
        gid: spec.gid.map(i64::from).into(),
        mode: match spec.mode {
            None => Attr::Null,
            Some(bits) => {
                let read = |text: &str| mode::parse(text).ok();
                keep_spelling(Some(&kept.mode), &bits, read, || mode::format(bits))
            }
        },
        size: match spec.size_bytes {
            None => Attr::Null,
            Some(bytes) => {
                keep_spelling(Some(&kept.size), &bytes, |text| size::parse(text).ok(), || size::format(bytes))
            }
        },
        keep_on_destroy: kept.keep_on_destroy,
        timeouts: kept.timeouts,
        id: Attr::Known(volume.id.clone()),
        effective_labels: map(spec.labels.clone()),
    }
}
