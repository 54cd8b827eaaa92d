//! Images made from Debian packages, and kept: `target/test-images/<hash of the recipes>/registry` is the storage
//! of a registry that holds them all, so that a test's registry starts with its images already there.

mod debian;
mod oci;
mod recipes;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

pub use oci::Config;
pub use recipes::{Entry, Layer, Recipe, all, layered};

use crate::{Error, Registry, command, paths};

/// Changed when what the recipes' text means changes.
const FORMAT: u32 = 1;

/// The storage of a registry that holds every image of [`all`]; made at the first use.
pub fn storage() -> Result<PathBuf, Error> {
    cached("registry", &all())
}

/// The storage of a registry that holds the five-layer image of the benches.
pub fn layered_storage() -> Result<PathBuf, Error> {
    cached("bench", &[layered()])
}

/// Whether [`storage`] would have to make images.
pub fn is_cached() -> bool {
    cache_dir(&all()).join("registry").is_dir()
}

fn cache_dir(recipes: &[Recipe]) -> PathBuf {
    let hash = Sha256::digest(format!("{FORMAT} {recipes:?}"));
    let name: String = data_encoding::HEXLOWER.encode(&hash).chars().take(16).collect();
    paths::target().join("test-images").join(name)
}

fn cached(name: &str, recipes: &[Recipe]) -> Result<PathBuf, Error> {
    let dir = cache_dir(recipes);
    let storage = dir.join(name);
    fs::create_dir_all(&dir).map_err(Error::io("make", &dir))?;
    let lock_path = dir.join("lock");
    let lock = File::create(&lock_path).map_err(Error::io("make", &lock_path))?;
    lock.lock().map_err(Error::io("lock", &lock_path))?;
    if storage.is_dir() {
        return Ok(storage);
    }
    let scratch = tempfile::tempdir_in(&dir).map_err(Error::io("make a directory in", &dir))?;
    let made = scratch.path().join("registry");
    fs::create_dir(&made).map_err(Error::io("make", &made))?;
    let registry = Registry::start_on(&made, registry_options())?;
    for recipe in recipes {
        push(&build(recipe, scratch.path())?, &registry, &recipe.reference())?;
    }
    drop(registry);
    fs::rename(&made, &storage).map_err(Error::io("rename", &made))?;
    Ok(storage)
}

fn registry_options() -> crate::registry::Options {
    crate::registry::Options { writable: true, ..Default::default() }
}

/// Makes one image as an OCI layout in a directory of `scratch`.
pub fn build(recipe: &Recipe, scratch: &Path) -> Result<PathBuf, Error> {
    let name = recipe.reference().replace(['/', ':'], "-");
    let work = scratch.join(&name);
    let layout = scratch.join(format!("{name}.oci"));
    let mut writer = oci::Writer::new(&layout)?;
    for (index, layer) in recipe.layers.iter().enumerate() {
        let tree = work.join(index.to_string());
        fs::create_dir_all(&tree).map_err(Error::io("make", &tree))?;
        debian::extract(layer, &work, &tree)?;
        for entry in layer.entries {
            entry.write(&tree)?;
        }
        writer.layer(&tree)?;
        fs::remove_dir_all(&tree).map_err(Error::io("remove", &tree))?;
    }
    writer.finish(&recipe.config)?;
    Ok(layout)
}

/// Makes an image of directories, a layer of each, as an OCI layout.
pub fn layout_of(layers: &[PathBuf], layout: &Path) -> Result<(), Error> {
    let mut writer = oci::Writer::new(layout)?;
    for layer in layers {
        writer.layer(layer)?;
    }
    writer.finish(&Config { entrypoint: &["/bin/sh"], ..Config::default() })
}

/// Pushes a layout's image under "repository:tag".
pub fn push(layout: &Path, registry: &Registry, reference: &str) -> Result<(), Error> {
    let mut skopeo = Command::new("skopeo");
    skopeo.args(["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"]);
    if registry.has_password() {
        skopeo.args(["--dest-creds", &format!("{}:{}", crate::registry::USER, crate::registry::PASSWORD)]);
    }
    skopeo.arg(format!("oci:{}:latest", layout.display()));
    skopeo.arg(format!("docker://{}/{reference}", registry.host()));
    command::run(&mut skopeo).map(drop)
}
