//! `cargo xtask mutants`: mutates the engine in a copy, and requires that its simulation catches each mutant.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::tools;

/// A mutation of the engine: a text of a file, and its replacement.
struct Mutant {
    name: &'static str,
    file: &'static str,
    from: &'static str,
    to: &'static str,
}

const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "request a machine before it is recorded",
        file: "act/calls.rs",
        from: "    ctx.journal.put_instance(record, events).await?;\n    let answer = driver.create(request).await;",
        to: "    let answer = driver.create(request).await;\n    ctx.journal.put_instance(record, events).await?;",
    },
    Mutant {
        name: "retry after a lost answer without a `find` first",
        file: "act/create.rs",
        from: "if let Some(observed) = self.resolve_outcome(record, &fault).await? {",
        to: "if let Some(observed) = None::<ObservedMachine> {",
    },
    Mutant {
        name: "forget a machine that could not be removed",
        file: "act/remove.rs",
        from: "            Err(error) => Err(error),\n        };",
        to: "            Err(_) => Ok(None),\n        };",
    },
    Mutant {
        name: "forget an instance with an unresolved outcome",
        file: "act/remove.rs",
        from: "            Err(error) => return record_leftover(ctx, record, error).await,\n        }\n    }\n    record.set_state",
        to: "            Err(_) => {\n                delete_record(ctx, &record, false).await?;\n                return Ok(RemovalOutcome::Gone);\n            }\n        }\n    }\n    record.set_state",
    },
    Mutant {
        name: "write without being the owner",
        file: "lease/journal.rs",
        from: "            Compare::Modified(keys::owner(&self.id), self.owner.fencing_token()),\n            Compare::Modified(keys::head(&self.id), self.head_revision),\n",
        to: "",
    },
    Mutant {
        name: "create another instance for a record that was left unfinished",
        file: "act/instance_task.rs",
        from: "None => Self { has_lost_answer: true, ..self }.create(record.id, true).await,",
        to: "None => Self { has_lost_answer: true, ..self }.create(id, true).await,",
    },
    Mutant {
        name: "start before the dependencies are ready",
        file: "dispatch/graph.rs",
        from: "                unready_dependencies: node.depends_on.len(),",
        to: "                unready_dependencies: 0,",
    },
    Mutant {
        name: "apply a request to scale again and again",
        file: "engine/scale.rs",
        from: "        writes.push(Write::Delete { key });",
        to: "        let _ = key;",
    },
    Mutant {
        name: "scale beyond the limits",
        file: "plan.rs",
        from: ".clamp(node.scaling.min, node.scaling.max.max(node.scaling.min))",
        to: ".max(node.scaling.min + 1)",
    },
    Mutant {
        name: "create what a job is creating already",
        file: "engine/maintain/decide.rs",
        from: "under_way: Some(situation.claims.under_way()),",
        to: "under_way: None,",
    },
    Mutant {
        name: "change an instance of another job",
        file: "engine/maintain/decide.rs",
        from: "situation.observed.records.values().filter(|record| !situation.claims.has(&record.id));",
        to: "situation.observed.records.values();",
    },
    Mutant {
        name: "roll out nothing",
        file: "engine/rollout.rs",
        from: "        let plan = plan(&self.desired.infrastructure, &load_instances(store, self.owned.id).await?, &options);",
        to: "        let plan = plan(&self.desired.infrastructure, &[], &options);",
    },
    Mutant {
        name: "keep the old instance beside the new one",
        file: "engine/rollout.rs",
        from: "            let obsolete = if is_ready { old } else { &id };",
        to: "            if is_ready {\n                continue;\n            }\n            let obsolete = &id;",
    },
    Mutant {
        name: "store the user data of a machine",
        file: "act/create.rs",
        from: "        record.address_references = self.facts.references_in(&rendered);",
        to: "        record.address_references = self.facts.references_in(&rendered);\n        record.message = rendered.user_data.as_deref().map(|data| String::from_utf8_lossy(data).into_owned());",
    },
    Mutant {
        name: "forget an infrastructure of which something is left",
        file: "engine/destroy.rs",
        from: "    if tear_down.left.is_empty() {",
        to: "    if true {",
    },
    Mutant {
        name: "forget an instance while a request for it may still arrive",
        file: "act/remove.rs",
        from: "        let remaining = ctx.settings.late_request_window.saturating_sub(waited);",
        to: "        let remaining = ctx.settings.late_request_window.min(std::time::Duration::ZERO).saturating_sub(waited);",
    },
    Mutant {
        name: "count an instance and its replacement as two",
        file: "act/create.rs",
        from: "            replaces: self.replaces.clone(),",
        to: "            replaces: None,",
    },
];

/// Numbers of histories that each mutant is tried with: the first few catch most, and the others get as many as CI has.
const HISTORY_COUNTS: [u32; 3] = [100, 2_000, 20_000];
/// Time after which a simulation counts as hung, which catches the mutant too.
const MUTANT_TIMEOUT: Duration = Duration::from_secs(300);

/// Runs the simulation on each mutant whose name contains the filter.
///
/// # Errors
/// Fails if a mutant survives, if a text to replace is not in its file exactly once, or if a build fails.
pub(crate) fn run(filter: Option<&str>) -> Result<()> {
    let copy = tools::target_directory().join("mutants");
    if copy.exists() {
        std::fs::remove_dir_all(&copy).with_context(|| format!("cannot remove {}", copy.display()))?;
    }
    let errors: Vec<_> = MUTANTS.iter().filter_map(|mutant| placement_error(mutant, tools::root())).collect();
    if !errors.is_empty() {
        bail!("{}", errors.join("\n"));
    }
    copy_workspace(&copy)?;
    // With fewer histories: the test itself runs all of them.
    if !passes(&copy, &HISTORY_COUNTS[..2])? {
        bail!("the simulation fails without a mutation");
    }
    let mut survivors = Vec::new();
    let is_selected = |mutant: &&Mutant| filter.is_none_or(|filter| mutant.name.contains(filter));
    for mutant in MUTANTS.iter().filter(is_selected) {
        let path = path_in(mutant, &copy);
        let source = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let began = Instant::now();
        std::fs::write(&path, source.replace(mutant.from, mutant.to))?;
        let caught = !passes(&copy, &HISTORY_COUNTS).with_context(|| format!("`{}`", mutant.name))?;
        std::fs::write(&path, source)?;
        let seconds = began.elapsed().as_secs();
        println!("{}  {} ({seconds} s)", if caught { "caught  " } else { "SURVIVED" }, mutant.name);
        if !caught {
            survivors.push(mutant.name);
        }
    }
    if survivors.is_empty() {
        println!("all mutants are caught");
        return Ok(());
    }
    bail!("these mutants survived: {}", survivors.join("; "));
}

fn path_in(mutant: &Mutant, workspace: &Path) -> PathBuf {
    workspace.join("host/engine/src").join(mutant.file)
}

/// Returns an error if the text to replace is not in its file exactly once.
fn placement_error(mutant: &Mutant, workspace: &Path) -> Option<String> {
    let path = path_in(mutant, workspace);
    let Ok(source) = std::fs::read_to_string(&path) else {
        return Some(format!("`{}`: file {} not found", mutant.name, path.display()));
    };
    let count = source.matches(mutant.from).count();
    let message = || {
        let (name, file) = (mutant.name, mutant.file);
        format!("`{name}`: its `from` occurs {count} times in {file}, and must occur once (xtask/src/mutants.rs)")
    };
    (count != 1).then(message)
}

/// Copies all files that git tracks, with uncommitted changes.
fn copy_workspace(to: &Path) -> Result<()> {
    let list = Command::new("git").args(["ls-files", "-z"]).current_dir(tools::root()).output().context("git")?;
    let list = String::from_utf8(list.stdout).context("a file name is not UTF-8")?;
    for file in list.split_terminator('\0') {
        let (from, to) = (tools::root().join(file), to.join(file));
        // Removed, and not committed yet.
        if !from.is_file() {
            continue;
        }
        if let Some(folder) = to.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    Ok(())
}

/// Returns whether the simulation passes. Fails if it does not compile: such a mutant proves nothing.
fn passes(copy: &Path, seeds: &[u32]) -> Result<bool> {
    let cargo = || {
        let mut cargo = tools::cargo();
        // With the features of the whole workspace, so that the build of the other tests is reused.
        cargo.current_dir(copy).env("CARGO_TARGET_DIR", tools::target_directory()).env("CARGO_INCREMENTAL", "1");
        cargo.args(["test", "--quiet", "--workspace", "--test", "simulation"]);
        cargo
    };
    // Captured, since warnings about code that a mutant leaves unused are of no interest.
    let compiled = cargo().arg("--no-run").output().context("cargo")?;
    if !compiled.status.success() {
        bail!("the simulation does not compile:\n{}", String::from_utf8_lossy(&compiled.stderr));
    }
    for seeds in seeds {
        let mut simulation = cargo();
        simulation.env("OCCOPUS_SEEDS", seeds.to_string()).stdout(Stdio::null()).stderr(Stdio::null());
        if !ends_well(simulation)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn ends_well(mut command: Command) -> Result<bool> {
    let mut child = command.spawn().context("cargo")?;
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        if began.elapsed() > MUTANT_TIMEOUT {
            child.kill()?;
            child.wait()?;
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_each_mutant_occurs_once() {
        let errors: Vec<_> = MUTANTS.iter().filter_map(|mutant| placement_error(mutant, tools::root())).collect();
        assert!(errors.is_empty(), "{}", errors.join("\n"));
        for mutant in MUTANTS {
            assert_ne!(mutant.from, mutant.to, "{}", mutant.name);
        }
    }
}
