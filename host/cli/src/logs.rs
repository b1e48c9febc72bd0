//! `occopus logs`

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::path::Path;

use occopus_engine::{InstanceStatus, NodeStatus};

use super::args::{GlobalArgs, LogsArgs};
use super::failure::Failure;
use super::terminal::printable;
use super::{backend, print};

/// Attribute with the path of an instance's output, if its driver keeps that in a file on this machine.
const OUTPUT_ATTRIBUTE: &str = "output";
/// Bytes of a line that are printed at a time.
const MAX_LINE_BYTES: u64 = 64 * 1024;

pub(crate) async fn run(logs: LogsArgs, common: &GlobalArgs) -> Result<(), Failure> {
    let status = backend::open_local(common)?.reader().await?.status(&logs.id.parse()?, false).await?;
    let instances = select_instances(&status.nodes, &logs.node);
    if instances.is_empty() {
        let names: Vec<_> = status.nodes.iter().map(|node| node.name.as_str()).collect();
        let text = format!("node or instance {} not found in {}", logs.node, status.id);
        return Err(Failure::new("logs.unknown-node", text).help(format_args!("its nodes are {}", names.join(", "))));
    }
    let mut missing = None;
    for instance in &instances {
        if instances.len() > 1 {
            print::line(format_args!("==> {} <==", instance.id));
        }
        match instance.attributes.iter().find(|(name, _)| name == OUTPUT_ATTRIBUTE) {
            Some((_, path)) => print_log(Path::new(path))?,
            None => missing = Some(no_local_output(instance)),
        }
    }
    missing.map_or(Ok(()), Err)
}

/// Returns the instances of a node, or one instance by its id.
fn select_instances<'a>(nodes: &'a [NodeStatus], name: &str) -> Vec<&'a InstanceStatus> {
    if let Some(node) = nodes.iter().find(|node| node.name == name) {
        return node.instances.iter().collect();
    }
    nodes.iter().flat_map(|node| &node.instances).filter(|instance| instance.id == name).collect()
}

/// Prints the rotated part of a log, if there is one, and then the log.
fn print_log(path: &Path) -> Result<(), Failure> {
    let mut earlier = path.as_os_str().to_owned();
    earlier.push(".1");
    let earlier = Path::new(&earlier);
    if earlier.is_file() {
        print_file(earlier)?;
    }
    print_file(path)
}

fn print_file(path: &Path) -> Result<(), Failure> {
    let unreadable =
        |error: io::Error| Failure::new("logs.unreadable", format_args!("{} can't be read: {error}", path.display()));
    let mut file = File::open(path).map_err(unreadable)?;
    let mut stdout = io::stdout().lock();
    let copied = if stdout.is_terminal() {
        print_escaped(file, &mut stdout)
    } else {
        io::copy(&mut file, &mut stdout).map(drop)
    };
    match copied {
        Ok(()) => Ok(()),
        // The reader has closed the pipe.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(unreadable(error)),
    }
}

/// Copies a program's output to a terminal, with control characters escaped.
fn print_escaped(file: File, terminal: &mut impl Write) -> io::Result<()> {
    let mut lines = BufReader::new(file);
    let mut line = Vec::new();
    while lines.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line)? > 0 {
        terminal.write_all(printable(&String::from_utf8_lossy(&line)).as_bytes())?;
        line.clear();
    }
    Ok(())
}

/// Returns the failure of an instance without output on this machine, with help where the output may be.
fn no_local_output(instance: &InstanceStatus) -> Failure {
    let attribute = |key: &str| instance.attributes.iter().find(|(name, _)| name == key).map(|(_, value)| value);
    let text = format!("the driver {} keeps no output of {} on this machine", instance.driver, instance.id);
    let failure = Failure::new("logs.elsewhere", text);
    match (instance.driver.as_str(), attribute("container")) {
        ("docker", Some(container)) => failure.help(format_args!("use its Docker engine: docker logs {container}")),
        ("docker", None) => failure.help(format_args!(
            "use its Docker engine: docker logs $(docker ps -aq --filter label=occopus.instance={})",
            instance.id
        )),
        _ => failure.help(match instance.addresses.first() {
            Some(address) => format!("see the machine itself, at {}", address.value),
            None => "the instance has no address yet".to_owned(),
        }),
    }
}
