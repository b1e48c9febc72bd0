//! `occopus graph`

use occopus::graph::{self, TooLarge};

use super::args::{Common, Drawing, Graph};
use super::failure::{Exit, Failure};
use super::{print, session};

pub(crate) async fn run(arguments: Graph, common: &Common) -> Result<(), Failure> {
    let infrastructure = session::compile_at(&session::place(common)?, arguments.files).await?;
    let too_large = |problem: TooLarge| {
        Failure::new(Exit::Failed, "graph.too-large", problem.to_string()).help("`--format dot` has no limit")
    };
    let text = match arguments.format {
        Drawing::Text => graph::text(&infrastructure),
        Drawing::Dot => graph::dot(&infrastructure),
        Drawing::Mermaid => graph::mermaid(&infrastructure),
        Drawing::Svg => graph::svg(&infrastructure).map_err(too_large)?,
    };
    print::line(text.trim_end());
    Ok(())
}
