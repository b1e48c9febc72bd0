//! The project's own tasks: `cargo xtask demo | test | e2e | mutants | fuzz | deny | bench`.
#![expect(clippy::print_stdout, reason = "a program for people to run by hand")]

mod demo;
mod deny;
mod fuzz;
mod mutants;
mod tools;

use clap::Parser;

/// The project's own tasks.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Task {
    /// Build everything, deploy examples/hello on this machine, show it working, tear it down.
    Demo,
    /// Run all tests. Those whose server is missing report so and are skipped (with CI=true they fail).
    Test {
        /// Passed on to `cargo nextest run` where that is installed, otherwise to `cargo test`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run the tests that need a whole cloud.
    E2e {
        /// Cloud to use. For `openstack`, OS_AUTH_URL, OS_USERNAME, OS_PASSWORD and OS_PROJECT_ID describe an existing one;
        /// otherwise one is installed and started (as root on Debian 12: `tests/beds/openstack.sh`).
        #[arg(long)]
        bed: Bed,
    },
    /// Break the engine on purpose, in a copy, and check that its simulation notices.
    Mutants {
        /// Only mutants whose description contains this.
        filter: Option<String>,
    },
    /// Run code that reads foreign bytes on generated input: no panic, no hang, no violated property.
    Fuzz {
        /// Name of the target; without it, all of them run, one after the other.
        target: Option<String>,
        /// Seconds for each target.
        #[arg(long, default_value_t = 60)]
        seconds: u32,
    },
    /// Check the licences, sources and versions of all dependencies against deny.toml.
    Deny {
        /// Also check them against the advisories about Rust crates, which are fetched from github.com.
        #[arg(long)]
        advisories: bool,
    },
    /// Print the figures of the project, each beside a baseline or a limit of the same run.
    Bench {
        /// Only benchmarks whose name contains this.
        filter: Option<String>,
    },
}

/// A cloud for tests.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Bed {
    Openstack,
}

fn main() -> anyhow::Result<()> {
    match Task::parse() {
        Task::Demo => demo::run(),
        Task::Test { arguments } => tools::test(&arguments),
        Task::E2e { bed: Bed::Openstack } => tools::e2e_openstack(),
        Task::Mutants { filter } => mutants::run(filter.as_deref()),
        Task::Fuzz { target, seconds } => fuzz::run(target.as_deref(), seconds),
        Task::Deny { advisories } => deny::run(advisories),
        Task::Bench { filter } => tools::bench(filter.as_deref()),
    }
}
