//! An OCI image layout with one image, written by hand: layers by tar and gzip, the rest as JSON.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{Error, command};

/// What of an image's config a recipe states.
#[derive(Debug, Clone, Copy, Default)]
pub struct Config {
    /// The program and its first arguments.
    pub entrypoint: &'static [&'static str],
    /// Arguments that a user may replace.
    pub command: &'static [&'static str],
    /// `NAME=value`.
    pub environment: &'static [&'static str],
    /// A name of the image's own passwd, or none.
    pub user: &'static str,
    /// Where the program starts.
    pub working_dir: &'static str,
    /// `80/tcp`.
    pub port: &'static str,
    /// `SIGQUIT`, or none.
    pub stop_signal: &'static str,
}

/// Writes a layout, layer by layer.
pub struct Writer {
    layout: PathBuf,
    layers: Vec<Value>,
    diff_ids: Vec<String>,
}

impl Writer {
    /// Starts an empty layout.
    pub fn new(layout: &Path) -> Result<Self, Error> {
        let blobs = layout.join("blobs/sha256");
        fs::create_dir_all(&blobs).map_err(Error::io("make", &blobs))?;
        Ok(Self { layout: layout.to_owned(), layers: Vec::new(), diff_ids: Vec::new() })
    }

    /// Adds a directory's content as the next layer.
    pub fn layer(&mut self, tree: &Path) -> Result<(), Error> {
        let tar = self.layout.join("layer.tar");
        let mut pack = Command::new("tar");
        pack.args(["--create", "--sort=name", "--mtime=@1700000000", "--numeric-owner", "--xattrs"]);
        command::run(pack.arg("--file").arg(&tar).arg("--directory").arg(tree).arg("."))?;
        let (diff_id, _) = digest(&tar)?;
        command::run(Command::new("gzip").args(["-n", "-1"]).arg(&tar))?;
        let blob = self.keep_file(&self.layout.join("layer.tar.gz"))?;
        self.layers.push(descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &blob));
        self.diff_ids.push(format!("sha256:{diff_id}"));
        Ok(())
    }

    /// Writes config, manifest and index; the image is called "latest" inside the layout.
    pub fn finish(self, config: &Config) -> Result<(), Error> {
        let config = json!({
            "created": "2026-01-01T00:00:00Z",
            "architecture": architecture(),
            "os": "linux",
            "config": config_json(config),
            "rootfs": { "type": "layers", "diff_ids": self.diff_ids },
        });
        let config = descriptor("application/vnd.oci.image.config.v1+json", &self.keep_json(&config)?);
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config,
            "layers": self.layers,
        });
        let mut manifest =
            descriptor("application/vnd.oci.image.manifest.v1+json", &self.keep_json(&manifest)?);
        manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": "latest" });
        self.write("index.json", &json!({ "schemaVersion": 2, "manifests": [manifest] }))?;
        self.write("oci-layout", &json!({ "imageLayoutVersion": "1.0.0" }))
    }

    fn write(&self, name: &str, value: &Value) -> Result<(), Error> {
        let path = self.layout.join(name);
        fs::write(&path, value.to_string()).map_err(Error::io("write", &path))
    }

    fn keep_json(&self, value: &Value) -> Result<(String, u64), Error> {
        let path = self.layout.join("blob.json");
        let mut file = File::create(&path).map_err(Error::io("make", &path))?;
        file.write_all(value.to_string().as_bytes()).map_err(Error::io("write", &path))?;
        self.keep_file(&path)
    }

    fn keep_file(&self, path: &Path) -> Result<(String, u64), Error> {
        let (digest, size) = digest(path)?;
        let blob = self.layout.join("blobs/sha256").join(&digest);
        fs::rename(path, &blob).map_err(Error::io("rename", path))?;
        Ok((digest, size))
    }
}

fn descriptor(media_type: &str, (digest, size): &(String, u64)) -> Value {
    json!({ "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": size })
}

fn config_json(config: &Config) -> Value {
    let mut made = json!({});
    for (key, list) in
        [("Entrypoint", config.entrypoint), ("Cmd", config.command), ("Env", config.environment)]
    {
        if !list.is_empty() {
            made[key] = json!(list);
        }
    }
    for (key, text) in
        [("User", config.user), ("WorkingDir", config.working_dir), ("StopSignal", config.stop_signal)]
    {
        if !text.is_empty() {
            made[key] = json!(text);
        }
    }
    if !config.port.is_empty() {
        made["ExposedPorts"] = json!({ config.port: {} });
    }
    made
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn digest(path: &Path) -> Result<(String, u64), Error> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let (mut hash, mut size, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 20]);
    loop {
        let read = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Error::io("read", path)(error)),
        };
        size += read as u64;
        hash.update(&buffer[..read]);
    }
    Ok((data_encoding::HEXLOWER.encode(&hash.finalize()), size))
}
