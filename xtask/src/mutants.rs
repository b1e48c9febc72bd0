//! `cargo xtask mutants`: breaks the engine on purpose, in a copy, and expects its simulation to notice each time.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::tools;

/// One way to break it.
struct Mutant {
    what: &'static str,
    file: &'static str,
    from: &'static str,
    to: &'static str,
}

const MUTANTS: &[Mutant] = &[
    Mutant {
        what: "ask for a machine before the record says so",
        file: "act/calls.rs",
        from: "    world.journal.put(record, events).await?;\n    let answer = driver.create(request).await;",
        to: "    let answer = driver.create(request).await;\n    world.journal.put(record, events).await?;",
    },
    Mutant {
        what: "ask again after a lost answer without looking first",
        file: "act/create.rs",
        from: "if let Some(observed) = self.settle(record, &fault).await? {",
        to: "if let Some(observed) = None::<Observed> {",
    },
    Mutant {
        what: "forget a machine that could not be removed",
        file: "act/remove.rs",
        from: "        Err(ended) => left(world, record, ended).await,\n    }\n}\n",
        to: "        Err(_) => {\n            forget(world, &record, vanished).await?;\n            Ok(Removal::Gone)\n        }\n    }\n}\n",
    },
    Mutant {
        what: "forget an instance whose fate is not known",
        file: "act/remove.rs",
        from: "            Err(ended) => return left(world, record, ended).await,",
        to: "            Err(_) => {\n                forget(world, &record, false).await?;\n                return Ok(Removal::Gone);\n            }",
    },
    Mutant {
        what: "write without being the owner",
        file: "session/journal.rs",
        from: "            Compare::Modified(keys::owner(&self.id), self.owner.revision()),\n            Compare::Modified(keys::head(&self.id), self.head_revision),\n",
        to: "",
    },
    Mutant {
        what: "make another instance for a record that was left unfinished",
        file: "act/create.rs",
        from: "None => Self { doubtful: true, ..self }.create(record.id, true).await,",
        to: "None => Self { doubtful: true, ..self }.create(id, true).await,",
    },
    Mutant {
        what: "start before what is needed is ready",
        file: "dispatch/raise.rs",
        from: "                waits_for: node.depends_on.len(),",
        to: "                waits_for: 0,",
    },
    Mutant {
        what: "take a request to scale in again and again",
        file: "engine/scale.rs",
        from: "        writes.push(Write::Delete { key });",
        to: "        let _ = key;",
    },
    Mutant {
        what: "scale beyond the limits",
        file: "plan.rs",
        from: ".clamp(node.scaling.min, node.scaling.max.max(node.scaling.min))",
        to: ".max(node.scaling.min + 1)",
    },
    Mutant {
        what: "heal what a job heals already",
        file: "engine/maintain/keeper.rs",
        from: "let wishes = Wishes { under_way: Some(self.healing.under_way()), ..Wishes::of(&self.targets) };",
        to: "let wishes = Wishes::of(&self.targets);",
    },
    Mutant {
        what: "take over an instance of another job",
        file: "engine/maintain/keeper.rs",
        from: "            self.records.values().filter(|record| !self.healing.has(&record.id)).cloned().collect();",
        to: "            self.records.values().cloned().collect();",
    },
    Mutant {
        what: "renew nothing",
        file: "engine/renew.rs",
        from: "        let plan = plan(&self.desired.infrastructure, &load_instances(store, self.id).await?, &wishes);",
        to: "        let plan = plan(&self.desired.infrastructure, &[], &wishes);",
    },
    Mutant {
        what: "keep the old one beside the new one",
        file: "engine/renew.rs",
        from: "            let goes = if is_there { old } else { &id };",
        to: "            if is_there {\n                continue;\n            }\n            let goes = &id;",
    },
    Mutant {
        what: "store what a machine gets to know",
        file: "act/create.rs",
        from: "        record.mentions = self.facts.mentioned(&rendered);",
        to: "        record.mentions = self.facts.mentioned(&rendered);\n        record.message = rendered.user_data.as_deref().map(|data| String::from_utf8_lossy(data).into_owned());",
    },
    Mutant {
        what: "forget the infrastructure with something left of it",
        file: "engine/destroy.rs",
        from: "    if lowered.left.is_empty() {",
        to: "    if true {",
    },
    Mutant {
        what: "forget an instance while a request for it may still arrive",
        file: "act/remove.rs",
        from: "        let left = world.settings.late_request.saturating_sub(waited);",
        to: "        let left = world.settings.late_request.min(std::time::Duration::ZERO).saturating_sub(waited);",
    },
    Mutant {
        what: "count an instance and the one in its place as two",
        file: "act/create.rs",
        from: "            replaces: self.replaces.clone(),",
        to: "            replaces: None,",
    },
];

/// Histories that each is tried with: most are noticed by the first few, and the others get as many as CI has.
const HISTORY_COUNTS: [u32; 3] = [100, 2_000, 20_000];
/// What takes longer hangs, which is noticed too.
const MUTANT_TIMEOUT: Duration = Duration::from_secs(300);

/// Runs the simulation over each.
pub(crate) fn run(filter: Option<&str>) -> Result<()> {
    let copy = tools::target_directory().join("mutants");
    if copy.exists() {
        std::fs::remove_dir_all(&copy).with_context(|| format!("could not remove {}", copy.display()))?;
    }
    let wrong: Vec<_> = MUTANTS.iter().filter_map(|mutant| placement_error(mutant, tools::root())).collect();
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    copy_workspace(&copy)?;
    // With fewer histories: that all of them pass is what the test itself is for.
    if !passes(&copy, &HISTORY_COUNTS[..2])? {
        bail!("the simulation fails without a mutation");
    }
    let mut survivors = Vec::new();
    let wanted = |mutant: &&Mutant| filter.is_none_or(|filter| mutant.what.contains(filter));
    for mutant in MUTANTS.iter().filter(wanted) {
        let path = path_in(mutant, &copy);
        let whole = std::fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
        let began = Instant::now();
        std::fs::write(&path, whole.replace(mutant.from, mutant.to))?;
        let caught = !passes(&copy, &HISTORY_COUNTS).with_context(|| format!("`{}`", mutant.what))?;
        std::fs::write(&path, whole)?;
        let seconds = began.elapsed().as_secs();
        println!("{}  {} ({seconds} s)", if caught { "caught  " } else { "SURVIVED" }, mutant.what);
        if !caught {
            survivors.push(mutant.what);
        }
    }
    if survivors.is_empty() {
        println!("all are caught");
        return Ok(());
    }
    bail!("not caught: {}", survivors.join("; "));
}

fn path_in(mutant: &Mutant, workspace: &Path) -> PathBuf {
    workspace.join("host/engine/src").join(mutant.file)
}

/// Why a mutant has nothing to break, or more than one thing; none when it can be made.
fn placement_error(mutant: &Mutant, workspace: &Path) -> Option<String> {
    let path = path_in(mutant, workspace);
    let Ok(whole) = std::fs::read_to_string(&path) else {
        return Some(format!("`{}`: there is no file {}", mutant.what, path.display()));
    };
    let count = whole.matches(mutant.from).count();
    let what = || {
        let (what, file) = (mutant.what, mutant.file);
        format!("`{what}`: its `from` is {count} times in {file}, and must be there once (xtask/src/mutants.rs)")
    };
    (count != 1).then(what)
}

/// All files that git knows, as they are.
fn copy_workspace(to: &Path) -> Result<()> {
    let list = Command::new("git").args(["ls-files", "-z"]).current_dir(tools::root()).output().context("git")?;
    let list = String::from_utf8(list.stdout).context("a name of a file is not UTF-8")?;
    for file in list.split_terminator('\0') {
        let (from, to) = (tools::root().join(file), to.join(file));
        // Removed, and not committed yet.
        if !from.is_file() {
            continue;
        }
        if let Some(folder) = to.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::copy(&from, &to).with_context(|| format!("could not copy {}", from.display()))?;
    }
    Ok(())
}

/// Whether the simulation compiles and finds nothing. A mutant that does not compile proves nothing.
fn passes(copy: &Path, seeds: &[u32]) -> Result<bool> {
    let cargo = || {
        let mut cargo = tools::cargo();
        // With the features of the whole workspace, so that what the other tests have compiled is used.
        cargo.current_dir(copy).env("CARGO_TARGET_DIR", tools::target_directory()).env("CARGO_INCREMENTAL", "1");
        cargo.args(["test", "--quiet", "--workspace", "--test", "simulation"]);
        cargo
    };
    // What a mutant leaves unused is no news.
    let compiled = cargo().arg("--no-run").output().context("cargo")?;
    if !compiled.status.success() {
        bail!("it does not compile:\n{}", String::from_utf8_lossy(&compiled.stderr));
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
    fn each_mutant_has_one_place_to_break() {
        let wrong: Vec<_> = MUTANTS.iter().filter_map(|mutant| placement_error(mutant, tools::root())).collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        for mutant in MUTANTS {
            assert_ne!(mutant.from, mutant.to, "{}", mutant.what);
        }
    }
}
