//! The graph of dependencies, as text and as drawings. Arrows go from a node to what it needs.

use std::collections::HashMap;

use layout::backends::svg::SVGWriter;
use layout::core::base::Orientation;
use layout::core::geometry::Point;
use layout::core::style::StyleAttr;
use layout::std_shapes::shapes::{Arrow, Element, ShapeKind};
use layout::topo::layout::VisualGraph;
use occopus_model::{Infrastructure, Node};

/// One line for each node, in an order in which they can start, with its depth in the graph: nodes of depth 0 need nothing.
pub fn text(infrastructure: &Infrastructure) -> String {
    let depths = depths(infrastructure);
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

/// For Graphviz: <https://graphviz.org/doc/info/lang.html>
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

/// For Mermaid: <https://mermaid.js.org/syntax/flowchart.html>
pub fn mermaid(infrastructure: &Infrastructure) -> String {
    // Names may be words of the language, such as `end`.
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

/// A drawing.
pub fn svg(infrastructure: &Infrastructure) -> String {
    let mut graph = VisualGraph::new(Orientation::LeftToRight);
    let mut handles = HashMap::new();
    for node in &infrastructure.nodes {
        let text = label(node);
        let width = 24.0 + 9.0 * text.chars().count() as f64;
        let size = Point::new(width, 40.0);
        let element = Element::create(ShapeKind::new_box(&text), StyleAttr::simple(), Orientation::LeftToRight, size);
        handles.insert(node.name.as_str(), graph.add_node(element));
    }
    for (node, needed) in edges(infrastructure) {
        if let (Some(from), Some(to)) = (handles.get(node.name.as_str()), handles.get(needed)) {
            graph.add_edge(Arrow::simple(""), *from, *to);
        }
    }
    let mut writer = SVGWriter::new();
    graph.do_it(false, false, false, &mut writer);
    writer.finalize()
}

/// `name`, or `name (2 to 10)`.
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

/// Of each node: the longest way to a node that needs nothing. The graph has no cycles.
fn depths(infrastructure: &Infrastructure) -> Vec<usize> {
    let nodes = &infrastructure.nodes;
    let index: HashMap<_, _> = nodes.iter().enumerate().map(|(at, node)| (node.name.as_str(), at)).collect();
    let mut waits_for: Vec<_> = nodes.iter().map(|node| node.depends_on.len()).collect();
    let mut dependents = vec![Vec::new(); nodes.len()];
    for (at, node) in nodes.iter().enumerate() {
        for needed in node.depends_on.iter().filter_map(|name| index.get(name.as_str())) {
            dependents[*needed].push(at);
        }
    }
    let mut depths = vec![0; nodes.len()];
    let mut free: Vec<_> = (0..nodes.len()).filter(|at| waits_for[*at] == 0).collect();
    while let Some(at) = free.pop() {
        for dependent in dependents[at].clone() {
            depths[dependent] = depths[dependent].max(depths[at] + 1);
            waits_for[dependent] -= 1;
            if waits_for[dependent] == 0 {
                free.push(dependent);
            }
        }
    }
    depths
}
