//! The file that an image is taken from, on the machine that runs Terraform.

use std::fs::File;
use std::io::{self, Read, Seek};

use sha2::{Digest, Sha256};

use crate::report::{self, Diagnostic, Diagnostics, Path};

/// Opens an archive, and looks whether it still is what the plan was made for.
pub(super) async fn open(path: &str, sha256: Option<&str>) -> Result<File, Diagnostics> {
    let (place, wanted) = (path.to_owned(), sha256.map(str::to_owned));
    let opened = tokio::task::spawn_blocking(move || look(&place, wanted.as_deref())).await;
    let opened = opened.unwrap_or_else(|error| Err(unreadable(path, &io::Error::other(error))));
    opened.map_err(|diagnostic| vec![diagnostic].into())
}

fn look(path: &str, wanted: Option<&str>) -> Result<File, Diagnostic> {
    let failed = |error: io::Error| unreadable(path, &error);
    let mut file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.is_dir() {
        let advice = "Give a tar file: tar -cf image.tar -C DIRECTORY . makes one of an OCI layout.";
        return Err(report::error(Path::at("archive"), format!("{path} is a directory"), advice));
    }
    // Any other text only marks a change.
    let Some(wanted) = wanted.filter(|text| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()))
    else {
        return Ok(file);
    };
    let actual = hash(&mut file).map_err(failed)?;
    if !actual.eq_ignore_ascii_case(wanted) {
        let summary = format!("{path} is not what archive_sha256 says");
        let detail = format!("Its SHA-256 is {actual}: it has changed since the plan. Plan and apply again.");
        return Err(report::error(Path::at("archive_sha256"), summary, detail));
    }
    file.rewind().map_err(failed)?;
    Ok(file)
}

fn hash(file: &mut File) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            count => hash.update(&buffer[..count]),
        }
    }
}

fn unreadable(path: &str, error: &io::Error) -> Diagnostic {
    let advice = "Give the path of a tar file on the machine that runs Terraform; a relative one begins where \
                  Terraform runs: \"${path.module}/image.tar\" begins at the module.";
    report::error(Path::at("archive"), format!("The archive {path} cannot be read: {error}"), advice)
}
