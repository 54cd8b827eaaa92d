//! `docker_image`.

use tfplugin::{Diagnostic, Diagnostics, MoveSource};

use super::{is, qualified, text};
use crate::attr::{Attr, non_empty};
use crate::resources::image::model::ImageModel;

/// Takes over an image's reference. The pin on it is made by the apply.
pub fn from_image(source: &MoveSource, told: &mut Diagnostics) -> Option<ImageModel> {
    if !is(source, "docker_image") {
        return None;
    }
    let state = &source.state;
    let name = text(state, "name").unwrap_or("the image");
    let mut detail = format!(
        "Terraform no longer manages {name} in Docker's store, and does not remove it: `docker image rm {name}` does, once no \
         container of Docker's needs it. The apply pulls the image onto the host as the configuration of berth_image says."
    );
    if state["build"].as_array().is_some_and(|build| !build.is_empty()) {
        detail.push_str(
            "\n\nDocker built it here. Berth builds nothing: push it to a registry, or save it with `docker save` and give the file \
             as `archive`.",
        );
    }
    told.push(
        Diagnostic::warning(format!("{name} stays in Docker's store, and is pulled again")).detail(detail),
    );
    Some(ImageModel {
        reference: text(state, "name").and_then(qualified).map_or(Attr::Null, Attr::Known),
        platform: non_empty(text(state, "platform").unwrap_or_default()),
        keep_on_destroy: state["keep_locally"].as_bool().filter(|keep| *keep).map_or(Attr::Null, Attr::Known),
        ..ImageModel::default()
    })
}
