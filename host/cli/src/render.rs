//! `occopus render`

use occopus_engine::InfrastructureId;
use serde_json::Value;

use super::args::{GlobalArgs, OutputFormat, RenderArgs};
use super::failure::Failure;
use super::{backend, print};

pub(crate) async fn run(render: RenderArgs, common: &GlobalArgs) -> Result<(), Failure> {
    let id = render.infra_id.map(InfrastructureId::try_from).transpose()?;
    let infrastructure = backend::compile_for(&backend::open_backend(common)?, render.files).await?;
    let Some(index) = infrastructure.nodes.iter().position(|node| node.name == render.node) else {
        let names: Vec<_> = infrastructure.nodes.iter().map(|node| node.name.as_str()).collect();
        let text = format!("the description has no node `{}`", render.node);
        return Err(Failure::new("node.unknown", text).help(format_args!("its nodes are {}", names.join(", "))));
    };
    // Rendered with the plugins of this machine, also for a description that was compiled against a service.
    let engine = backend::open_local(common)?.planner(id.as_ref()).await?;
    let outcomes = engine.preview(id.as_ref(), &infrastructure, &[index]).await?;
    let (mut previews, mut failures) = (Vec::new(), Vec::new());
    for outcome in outcomes {
        match outcome {
            Ok(preview) => previews.push(preview),
            Err(failure) => failures.push(failure),
        }
    }
    if !failures.is_empty() {
        return Err(Failure::Nodes(failures));
    }
    match render.output.format {
        OutputFormat::Json => print::json(&previews),
        OutputFormat::Text => {
            for (at, preview) in previews.iter().enumerate() {
                if at > 0 {
                    print::line("");
                }
                print::line(format_args!("# {}, implementation {} ({})", preview.node, at + 1, preview.origin));
                section("resource", &preview.resource);
                section("attributes", &preview.attributes);
                match &preview.user_data {
                    Some(text) => print::line(format_args!("# user data\n{}", text.trim_end_matches('\n'))),
                    None => print::line("# no user data"),
                }
            }
        }
    }
    Ok(())
}

fn section(name: &str, value: &Value) {
    let text = serde_yaml_ng::to_string(value).unwrap_or_else(|_| value.to_string());
    print::line(format_args!("# {name}\n{}", text.trim_end()));
}
