//! The dependency graph, as text and as drawings. Arrows go from a node to its dependencies.

use std::collections::HashMap;

use occopus_engine::{NodeStatus, Status};
use occopus_model::{Infrastructure, Node, dependency_depths, dependency_positions};

use drawing::{NodeBox, TextLine, TextStyle};
use tone::Tone;

mod drawing;
mod layout;
pub mod tone;

/// Number of nodes of a drawing, at most: more are not readable.
pub const MAX_DRAWN_NODES: usize = 500;

/// Number of edge segments of a drawing, at most: one for each rank that a dependency passes. The layout of more takes
/// seconds.
const MAX_EDGE_SEGMENTS: usize = 1500;

/// A graph that is too large to be drawn.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TooLarge {
    /// Too many nodes.
    #[error("cannot draw {0} nodes: the limit is {MAX_DRAWN_NODES}")]
    Nodes(usize),
    /// Too many dependencies, many of them over many ranks.
    #[error("cannot draw {0} dependencies across so many ranks")]
    Dependencies(usize),
}

/// Returns one line for each node, in an order in which they can start, with its depth: nodes of depth 0 have no
/// dependencies.
pub fn text(infrastructure: &Infrastructure) -> String {
    let nodes: Vec<_> = infrastructure.nodes.iter().map(|node| (node.name.as_str(), &node.depends_on[..])).collect();
    let depths = depths(&dependency_positions(&nodes));
    let mut order: Vec<_> = infrastructure.nodes.iter().zip(&depths).collect();
    order.sort_by_key(|(_, depth)| **depth);
    let widest = order.iter().map(|(node, _)| label(node).chars().count()).max().unwrap_or_default();
    let line = |(node, depth): &(&Node, &usize)| {
        let needs =
            if node.depends_on.is_empty() { String::new() } else { format!("needs {}", node.depends_on.join(", ")) };
        format!("{depth}  {:widest$}  {needs}", label(node)).trim_end().to_owned() + "\n"
    };
    order.iter().map(line).collect()
}

/// Returns the graph for Graphviz: <https://graphviz.org/doc/info/lang.html>
pub fn dot(infrastructure: &Infrastructure) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let mut text = format!("digraph {} {{\n  rankdir=RL;\n  node [shape=box];\n", quoted(&infrastructure.name));
    for node in &infrastructure.nodes {
        text += &format!("  {} [label={}];\n", quoted(&node.name), quoted(&label(node)));
    }
    for (node, needed) in edges(infrastructure) {
        text += &format!("  {} -> {};\n", quoted(&node.name), quoted(needed));
    }
    text + "}\n"
}

/// Returns the graph for Mermaid: <https://mermaid.js.org/syntax/flowchart.html>
pub fn mermaid(infrastructure: &Infrastructure) -> String {
    // Names may be keywords of the language, such as `end`.
    let index: HashMap<_, _> =
        infrastructure.nodes.iter().enumerate().map(|(at, node)| (node.name.as_str(), at)).collect();
    let mut text = "flowchart RL\n".to_owned();
    for (at, node) in infrastructure.nodes.iter().enumerate() {
        text += &format!("  n{at}[\"{}\"]\n", label(node).replace('"', "#quot;"));
    }
    for (node, needed) in edges(infrastructure) {
        if let (Some(from), Some(to)) = (index.get(node.name.as_str()), index.get(needed)) {
            text += &format!("  n{from} --> n{to}\n");
        }
    }
    text
}

/// Returns a drawing of the graph, as SVG.
///
/// # Errors
/// Returns [`TooLarge`] if there are too many nodes or dependencies.
pub fn svg(infrastructure: &Infrastructure) -> Result<String, TooLarge> {
    let links: Vec<_> = infrastructure.nodes.iter().map(|node| (node.name.as_str(), &node.depends_on[..])).collect();
    let (arrows, edge_segments) = arrows(&links)?;
    let to_box = |node: &Node| NodeBox {
        title: if node.depends_on.is_empty() {
            format!("{}, {}", label(node), node.node_type)
        } else {
            format!("{}, {}, needs {}", label(node), node.node_type, node.depends_on.join(", "))
        },
        link: None,
        tone: None,
        lines: vec![text_line(TextStyle::Name, label(node)), text_line(TextStyle::Note, node.node_type.clone())],
        width: None,
    };
    let boxes: Vec<_> = infrastructure.nodes.iter().map(to_box).collect();
    Ok(drawing::draw(
        &format!("The nodes of {} and what they need", infrastructure.name),
        &boxes,
        arrows,
        edge_segments,
    ))
}

/// Returns a drawing of the observed state, as SVG: each node with its state and its first instances, bad ones before the
/// others. A click on a node leads to the element with the id [`anchor`].
///
/// # Errors
/// Returns [`TooLarge`] if there are too many nodes or dependencies.
pub fn svg_of_status(status: &Status) -> Result<String, TooLarge> {
    let links: Vec<_> = status.nodes.iter().map(|node| (node.name.as_str(), &node.depends_on[..])).collect();
    let (arrows, edge_segments) = arrows(&links)?;
    let boxes: Vec<_> = status.nodes.iter().map(node_box).collect();
    Ok(drawing::draw(&format!("The nodes of {} and what they need", status.name), &boxes, arrows, edge_segments))
}

/// Returns the id of a node's element on a page: unique for each name, of letters, digits, `-` and `_`.
pub fn anchor(node: &str) -> String {
    let mut anchor = "node-".to_owned();
    for letter in node.chars() {
        match letter {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' => anchor.push(letter),
            _ => anchor += &format!("_{:x}_", u32::from(letter)),
        }
    }
    anchor
}

fn node_box(node: &NodeStatus) -> NodeBox {
    const SHOWN: usize = 3;
    let (tone, word) = tone::of_node(node);
    let count = match (tone::count_ready(node), node.target) {
        (0, 0) => String::new(),
        (ready, target) => tone::format_ready(ready, target as usize),
    };
    let kind = if node.node_type.is_empty() { "no longer described" } else { &node.node_type };
    let mut lines = vec![
        TextLine { left: node.name.clone(), right: word.into(), tone: Some(tone), face: TextStyle::Name },
        TextLine { left: kind.into(), right: count.clone(), tone: None, face: TextStyle::Note },
    ];
    let mut instances: Vec<_> = node.instances.iter().collect();
    instances.sort_by_key(|instance| tone::of_instance(instance.state) != Tone::Bad);
    let shown = if instances.len() == SHOWN + 1 { SHOWN + 1 } else { SHOWN };
    lines.extend(instances.iter().take(shown).map(|instance| TextLine {
        left: instance.addresses.first().map_or_else(|| "no address".into(), |address| address.value.clone()),
        right: instance.state.to_string(),
        tone: Some(tone::of_instance(instance.state)),
        face: TextStyle::Item,
    }));
    if instances.len() > shown {
        lines.push(text_line(TextStyle::Note, format!("and {} more", instances.len() - shown)));
    }
    let needs =
        if node.depends_on.is_empty() { String::new() } else { format!(", needs {}", node.depends_on.join(", ")) };
    NodeBox {
        title: format!("{}, {kind}: {word}, {count}{needs}", node.name).replace(", ,", ","),
        link: Some(format!("#{}", anchor(&node.name))),
        tone: Some(tone),
        lines,
        width: Some(224),
    }
}

fn text_line(face: TextStyle, left: String) -> TextLine {
    TextLine { left, right: String::new(), tone: None, face }
}

/// Returns the dependencies of nodes by their indices, and the number of ranks that all of them pass together.
fn arrows(nodes: &[(&str, &[String])]) -> Result<(Vec<(usize, usize)>, usize), TooLarge> {
    if nodes.len() > MAX_DRAWN_NODES {
        return Err(TooLarge::Nodes(nodes.len()));
    }
    let needs = dependency_positions(nodes);
    let arrows: Vec<_> = needs
        .iter()
        .enumerate()
        .flat_map(|(from, needs)| needs.iter().map(move |to| (from, *to)))
        .filter(|(from, to)| from != to)
        .collect();
    let depths = depths(&needs);
    let edge_segments = arrows.iter().map(|(from, to)| depths[*from].saturating_sub(depths[*to])).sum();
    if edge_segments > MAX_EDGE_SEGMENTS {
        return Err(TooLarge::Dependencies(arrows.len()));
    }
    Ok((arrows, edge_segments))
}

/// Returns `name`, or `name (2 to 10)`.
fn label(node: &Node) -> String {
    let (min, max) = (node.scaling.min, node.scaling.max);
    match (min, max) {
        (1, 1) => node.name.clone(),
        _ if min == max => format!("{} ({min})", node.name),
        _ => format!("{} ({min} to {max})", node.name),
    }
}

fn edges(infrastructure: &Infrastructure) -> impl Iterator<Item = (&Node, &str)> {
    infrastructure.nodes.iter().flat_map(|node| node.depends_on.iter().map(move |needed| (node, needed.as_str())))
}

/// Returns the depths of nodes. The graph has no cycles.
fn depths(needs: &[Vec<usize>]) -> Vec<usize> {
    dependency_depths(needs).into_iter().map(Option::unwrap_or_default).collect()
}
