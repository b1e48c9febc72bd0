//! Costs of each bundled plugin before its first call: bytes, compilation, and loading of compiled code.

use std::path::Path;
use std::time::Duration;

use occopus_plugins::{Bundled, PLUGINS};
use tokio::runtime::{Builder, Runtime};

use crate::measure::{median, time};
use crate::sandboxes::{bundled, of};

/// Loads a plugin as a process does that has just started.
fn load(tokio: &Runtime, plugin: &Bundled, directory: &Path) {
    let runtime = of(directory, vec![bundled(plugin)]);
    let info = runtime.list().pop().expect("a plugin");
    tokio.block_on(runtime.preload(&[(info.kind, info.description.keyword)], |_| {})).expect("compiled");
}

pub(crate) fn run() {
    println!("  {:<24} {:>10} {:>14} {:>14}", "", "KiB", "compiled, ms", "loaded, ms");
    let tokio = Builder::new_current_thread().build().expect("a runtime");
    for plugin in PLUGINS {
        let cache = tempfile::tempdir().expect("a directory");
        let compiled = time(|| load(&tokio, plugin, cache.path()));
        let loaded = median(5, || load(&tokio, plugin, cache.path()));
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let size = plugin.bytes.len().div_ceil(1024);
        println!("  {:<24} {size:>10} {:>14.1} {:>14.1}", plugin.name, ms(compiled), ms(loaded));
    }
}
