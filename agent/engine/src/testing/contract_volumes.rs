//! What the port of volumes must do.

use berth_domain::{VolumeId, VolumeSpec};

use crate::ports::volumes::Volumes;

/// The promises of [`Volumes`].
pub async fn volumes(port: &dyn Volumes, spec: &VolumeSpec) {
    let id = VolumeId::random();
    assert!(!list(port).await.contains(&id), "nothing is there before");
    port.remove(id).await.unwrap_or_else(|e| panic!("remove what is not there: {e:?}"));
    for _ in 0..2 {
        port.ensure(id, spec).await.unwrap_or_else(|e| panic!("ensure: {e:?}"));
        assert_eq!(list(port).await.iter().filter(|other| **other == id).count(), 1);
    }
    for _ in 0..2 {
        port.remove(id).await.unwrap_or_else(|e| panic!("remove: {e:?}"));
    }
    assert!(!list(port).await.contains(&id), "it is left");
}

async fn list(port: &dyn Volumes) -> Vec<VolumeId> {
    port.list().await.unwrap_or_else(|e| panic!("list: {e:?}"))
}
