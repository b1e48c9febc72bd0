//! The figures of the project: `cargo xtask bench [FILTER]`. Each stands beside a baseline or a limit that was
//! measured in the same run; quote ratios, not absolute times.
#![expect(clippy::print_stdout, reason = "prints a report")]

mod answers;
mod calls;
mod components;
mod containers;
mod engine;
mod instances;
mod language;
mod maintenance;
mod measure;
mod sandboxes;
mod service;
mod status;
mod store;

/// Name and function of each benchmark.
const FIGURES: &[(&str, fn())] = &[
    ("answers", answers::run),
    ("calls", calls::run),
    ("components", components::run),
    ("status", status::run),
    ("containers", containers::run),
    ("instances", instances::run),
    ("engine", engine::run),
    ("maintenance", maintenance::run),
    ("language", language::run),
    ("service: requests", service::requests::run),
    ("service: streams", service::streams::run),
    ("service: idle", service::idle::run),
];

fn main() {
    if service::is_child() {
        return;
    }
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    for (name, figure) in FIGURES.iter().filter(|(name, _)| name.contains(&filter)) {
        println!("\n{name}");
        figure();
    }
}
