//! `occopus graph`

use occopus::graph::{self, TooLarge};

use super::args::{GlobalArgs, GraphArgs, GraphFormat};
use super::failure::Failure;
use super::{backend, print};

pub(crate) async fn run(arguments: GraphArgs, common: &GlobalArgs) -> Result<(), Failure> {
    let infrastructure = backend::compile_for(&backend::open_backend(common)?, arguments.files).await?;
    let too_large = |error: TooLarge| Failure::new("graph.too-large", error);
    let text = match arguments.format {
        GraphFormat::Text => graph::text(&infrastructure),
        GraphFormat::Dot => graph::dot(&infrastructure),
        GraphFormat::Mermaid => graph::mermaid(&infrastructure),
        GraphFormat::Svg => graph::svg(&infrastructure).map_err(too_large)?,
    };
    print::line(text.trim_end());
    Ok(())
}
