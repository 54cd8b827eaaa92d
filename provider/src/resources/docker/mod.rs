//! States of Docker's provider, which `moved` blocks hand over to resources of Berth's.
//!
//! What Docker runs or holds stays Docker's: no container changes hands. The state that is taken over has no `id`, which says that
//! there is nothing on a host yet; the read that follows finds nothing, and the plan makes what the configuration says.

mod container;
mod image;

use serde_json::Value as Json;
use tfplugin::MoveSource;

use crate::attr::Attr;
use crate::text::reference;

pub use container::from_container;
pub use image::from_image;

/// Whether it is this kind of resource of Docker's provider, whoever publishes it.
fn is(source: &MoveSource, type_name: &str) -> bool {
    let provider = source.provider.rsplit('/').next().unwrap_or_default();
    provider == "docker" && source.type_name == type_name
}

/// A text that is there and not empty.
fn text<'a>(state: &'a Json, name: &str) -> Option<&'a str> {
    state[name].as_str().filter(|text| !text.is_empty())
}

fn texts(json: &Json) -> impl Iterator<Item = &str> {
    json.as_array().into_iter().flatten().filter_map(Json::as_str)
}

/// A reference as Docker means it, with its registry; nothing for an id, which is Docker's own.
fn qualified(name: &str) -> Option<String> {
    let id = name.starts_with("sha256:")
        || (name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if id {
        return None;
    }
    let registry = name.split_once('/').map(|(first, _)| first);
    let named = match registry {
        Some(first) if first == "localhost" || first.contains(['.', ':']) => name.to_owned(),
        _ => format!("docker.io/{name}"),
    };
    reference::check(&named).is_ok().then_some(named)
}

/// Whether a state is one that was moved here and stands for nothing yet.
pub fn is_only_moved(id: &Attr<String>) -> bool {
    id.as_str().is_none_or(str::is_empty)
}

#[cfg(test)]
mod tests;
