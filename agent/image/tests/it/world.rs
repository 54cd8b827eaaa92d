//! A registry, a store of its own, and a client between them.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use berth_image::platform::Platform;
use berth_image::reference::{NoRemotes, Reference};
use berth_image::registry::{Client, Credentials, Endpoint, Patience, Settings};
use berth_image::resolve::{Resolved, resolve};
use berth_image::store::{Store, StoredImage};
use tempfile::TempDir;

use crate::image::Image;
use crate::registry::Registry;

pub const USER: &str = "someone";
pub const PASSWORD: &str = "right-horse";

pub struct World {
    pub registry: Registry,
    pub client: Client,
    pub store: Store,
    dir: TempDir,
}

/// Retries at once; everything else as long as a slow machine needs.
pub fn hasty() -> Patience {
    Patience { first_pause: Duration::from_millis(2), ..Patience::default() }
}

impl World {
    pub async fn new() -> Self {
        Self::with(hasty()).await
    }

    pub async fn with(patience: Patience) -> Self {
        let registry = Registry::start().await;
        let settings = Settings { patience, ..Settings::default() };
        let client = Client::with(endpoint(&registry), settings).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        Self { registry, client, store, dir }
    }

    /// With this image in it as `app:1`.
    pub async fn serving(image: &Image) -> Self {
        let world = Self::new().await;
        image.push(&world.registry, "1");
        world
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn log_in(&mut self) {
        self.log_in_with(Settings::default());
    }

    pub fn log_in_with(&mut self, settings: Settings) {
        let credentials = Credentials::Password { username: USER.to_owned(), password: PASSWORD.to_owned() };
        let endpoint = endpoint(&self.registry).with_credentials(credentials);
        self.client = Client::with(endpoint, Settings { patience: hasty(), ..settings }).unwrap();
    }

    pub fn set(&mut self, settings: Settings) {
        self.client =
            Client::with(endpoint(&self.registry), Settings { patience: hasty(), ..settings }).unwrap();
    }

    pub async fn resolve(&self) -> Result<Resolved, String> {
        self.resolve_tag("1").await
    }

    pub async fn resolve_tag(&self, tag: &str) -> Result<Resolved, String> {
        let reference = format!("{}/app:{tag}", self.registry.address);
        let reference = Reference::parse(&reference, &NoRemotes).unwrap();
        resolve(&self.client, &reference, &Platform::host(), None).await.map_err(|error| chain(&error))
    }

    pub async fn fetch(&self, resolved: &Resolved) -> Result<StoredImage, String> {
        self.store.pull(&self.client, resolved, &|_| {}).await.map_err(|error| chain(&error))
    }

    pub async fn pull(&self) -> Result<StoredImage, String> {
        let resolved = self.resolve().await?;
        self.fetch(&resolved).await
    }

    /// A pull fails, says all of this, and leaves nothing.
    #[track_caller]
    pub fn refuses(&self, pulled: Result<StoredImage, String>, words: &[&str]) {
        let error = pulled.unwrap_err();
        for word in words {
            assert!(error.contains(word), "no {word:?} in {error:?}");
        }
        self.is_empty();
    }

    /// The store holds no image, and nothing that a collection does not take.
    #[track_caller]
    pub fn is_empty(&self) {
        assert_eq!(self.store.list().unwrap().len(), 0);
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            // The thread of a layer that was given up ends when it notices.
            self.store.collect().unwrap();
            let left = self.left();
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "{left:?}");
            std::thread::yield_now();
        }
    }

    fn left(&self) -> Vec<PathBuf> {
        let list = |dir: PathBuf| std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        let names = ["layers", "manifests", "configs", "trees", "images", "tmp"];
        let flat = names.into_iter().flat_map(|name| list(self.dir.path().join(name)));
        flat.chain(list(self.dir.path().join("objects")).flat_map(list)).collect()
    }
}

pub fn endpoint(registry: &Registry) -> Endpoint {
    Endpoint::parse(&registry.url(""), true).unwrap()
}

/// An error with all its sources.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
