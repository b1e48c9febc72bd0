//! `cargo xtask mutants`: breaks the engine on purpose, in a copy, and expects its simulation to notice each time.

use std::path::Path;
use std::process::{Command, Stdio};

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
        from: "    world.journal.put(record, events).await?;\n    Ok(driver.create(request).await)",
        to: "    let created = driver.create(request).await;\n    world.journal.put(record, events).await?;\n    Ok(created)",
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
        from: "        Err(ended) => left(world, record, ended).await,\n    }\n}\n\n/// Asks for the end",
        to: "        Err(_) => {\n            forget(world, &record, vanished).await?;\n            Ok(Removal::Gone)\n        }\n    }\n}\n\n/// Asks for the end",
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
        from: "                None => self.create(record.id).await,",
        to: "                None => self.create(id).await,",
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
];

/// Runs the simulation over each.
pub(crate) fn run() -> Result<()> {
    let copy = tools::target_directory().join("mutants");
    if copy.exists() {
        std::fs::remove_dir_all(&copy).with_context(|| format!("could not remove {}", copy.display()))?;
    }
    copy_workspace(&copy)?;
    if !passes(&copy)? {
        bail!("the simulation fails without a mutation");
    }
    let mut survivors = Vec::new();
    for mutant in MUTANTS {
        let path = copy.join("host/engine/src").join(mutant.file);
        let whole = std::fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
        if whole.matches(mutant.from).count() != 1 {
            bail!("{}: the place to break is not there once, in {}", mutant.what, mutant.file);
        }
        std::fs::write(&path, whole.replace(mutant.from, mutant.to))?;
        let caught = !passes(&copy)?;
        std::fs::write(&path, whole)?;
        println!("{}  {}", if caught { "caught  " } else { "SURVIVED" }, mutant.what);
        if !caught {
            survivors.push(mutant.what);
        }
    }
    if survivors.is_empty() {
        println!("all {} are caught", MUTANTS.len());
        return Ok(());
    }
    bail!("not caught: {}", survivors.join("; "));
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
fn passes(copy: &Path) -> Result<bool> {
    let mut cargo = tools::cargo();
    cargo.current_dir(copy).env("CARGO_TARGET_DIR", copy.join("target")).env("RUSTFLAGS", "-Awarnings");
    cargo.stdout(Stdio::null()).stderr(Stdio::null());
    let mut build = tools::cargo();
    // What a mutant leaves unused is no news.
    build.current_dir(copy).env("CARGO_TARGET_DIR", copy.join("target")).env("RUSTFLAGS", "-Awarnings");
    let test = ["test", "--quiet", "--package", "occopus-engine", "--test", "simulation"];
    tools::run(build.args(test).arg("--no-run"))?;
    Ok(cargo.args(test).status()?.success())
}
