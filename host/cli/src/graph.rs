//! `occopus graph`

use occopus::graph;

use super::args::{Common, Drawing, Graph};
use super::failure::Failure;
use super::{print, session};

/// Larger drawings take minutes, and nobody can read them.
const MOST_DRAWN: usize = 500;

pub(crate) async fn run(arguments: Graph, common: &Common) -> Result<(), Failure> {
    let occopus = session::open(common)?;
    let infrastructure = session::compile(&occopus, arguments.files).await?.infrastructure;
    let nodes = infrastructure.nodes.len();
    if arguments.format == Drawing::Svg && nodes > MOST_DRAWN {
        let text = format!("{nodes} nodes are too many for a drawing; {MOST_DRAWN} are the most");
        let failure = Failure::new(super::failure::Exit::Failed, "graph.too-large", text);
        return Err(failure.help("`--format dot` has no limit"));
    }
    let text = match arguments.format {
        Drawing::Text => graph::text(&infrastructure),
        Drawing::Dot => graph::dot(&infrastructure),
        Drawing::Mermaid => graph::mermaid(&infrastructure),
        Drawing::Svg => graph::svg(&infrastructure),
    };
    print::line(text.trim_end());
    Ok(())
}
