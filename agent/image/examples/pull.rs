//! Pulls `REFERENCE` from a plain HTTP registry into the store in `DIRECTORY`, and prints the milliseconds it took and
//! the peak of memory in KiB.

#![allow(clippy::print_stdout, reason = "an example prints its result")]

use std::path::Path;
use std::time::Instant;

use berth_image::platform::Platform;
use berth_image::reference::{NoRemotes, Reference};
use berth_image::registry::{Client, Endpoint};
use berth_image::resolve::resolve;
use berth_image::store::Store;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [reference, directory] = arguments.as_slice() else {
        return Err("usage: pull REFERENCE DIRECTORY".into());
    };
    let reference = Reference::parse(reference, &NoRemotes)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let begin = Instant::now();
    let store = Store::open(Path::new(directory))?;
    let image = runtime.block_on(async {
        let client = Client::new(Endpoint::parse(&format!("http://{}", reference.host), true)?)?;
        let resolved = resolve(&client, &reference, &Platform::host(), None).await?;
        let image = store.pull(&client, &resolved, &|_| {}).await?;
        Ok::<_, Box<dyn std::error::Error>>(image)
    })?;
    let milliseconds = begin.elapsed().as_secs_f64() * 1000.0;
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    let peak = peak.trim().trim_end_matches(" kB");
    println!("{{\"image\":\"{}\",\"milliseconds\":{milliseconds:.1},\"peak_kib\":{peak}}}", image.digest);
    Ok(())
}
