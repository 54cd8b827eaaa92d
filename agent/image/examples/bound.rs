//! The least that a pull can take: fetches the layers of `REFERENCE` from a plain HTTP registry, inflates them with the fastest
//! inflater there is and hashes both forms, a thread a layer, the largest first, on all cores; writes nothing. Prints the
//! milliseconds it took.

#![allow(clippy::print_stdout, reason = "an example prints its result")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use sha2::{Digest, Sha256};

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let reference = std::env::args().nth(1).ok_or("usage: bound HOST:PORT/REPOSITORY:TAG")?;
    let (host, rest) = reference.split_once('/').ok_or("no host")?;
    let (repository, tag) = rest.rsplit_once(':').ok_or("no tag")?;
    let begin = Instant::now();
    let accept = "application/vnd.oci.image.manifest.v1+json";
    let manifest = get(host, &format!("/v2/{repository}/manifests/{tag}"), accept)?;
    let manifest: serde_json::Value = serde_json::from_slice(&manifest)?;
    let layers = manifest["layers"].as_array().ok_or("no layers")?;
    let mut layers: Vec<(u64, &str)> = layers
        .iter()
        .filter_map(|layer| Some((layer["size"].as_u64()?, layer["digest"].as_str()?)))
        .collect();
    layers.sort_by_key(|(size, _)| std::cmp::Reverse(*size));
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism()?.get();
    std::thread::scope(|scope| {
        let work = || {
            while let Some((_, digest)) = layers.get(next.fetch_add(1, Ordering::Relaxed)) {
                one(host, repository, digest)?;
            }
            Ok::<_, Failure>(())
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or_else(|_| Err("a thread died".into())))
    })?;
    println!("{{\"milliseconds\":{:.1}}}", begin.elapsed().as_secs_f64() * 1000.0);
    Ok(())
}

fn one(host: &str, repository: &str, digest: &str) -> Result<(), Failure> {
    let blob = get(host, &format!("/v2/{repository}/blobs/{digest}"), "*/*")?;
    let hash = Sha256::digest(&blob);
    if format!("sha256:{}", hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>()) != digest {
        return Err("a blob is not what its digest says".into());
    }
    // The last four bytes of a gzip file are the size of what it inflates to.
    let size = blob.last_chunk::<4>().map(|tail| u32::from_le_bytes(*tail)).ok_or("an empty blob")?;
    let mut tar = vec![0; size as usize];
    let inflated = libdeflater::Decompressor::new().gzip_decompress(&blob, &mut tar)?;
    std::hint::black_box(Sha256::digest(&tar[..inflated]));
    Ok(())
}

fn get(host: &str, path: &str, accept: &str) -> Result<Vec<u8>, Failure> {
    let mut stream = TcpStream::connect(host)?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {host}\r\nAccept: {accept}\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").ok_or("no HTTP answer")?;
    if !answer.starts_with(b"HTTP/1.1 200") && !answer.starts_with(b"HTTP/1.0 200") {
        return Err(format!("{path}: {}", String::from_utf8_lossy(&answer[..head])).into());
    }
    Ok(answer.split_off(head + 4))
}
