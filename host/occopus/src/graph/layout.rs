//! Layout of boxes and arrows. It depends on the graph and the sizes alone, and is cached: pages draw the same graph
//! again and again.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

use layout::core::base::Orientation;
use layout::core::format::{ClipHandle, RenderBackend};
use layout::core::geometry::{Point, Position};
use layout::core::style::StyleAttr;
use layout::std_shapes::shapes::{Arrow, Element, ShapeKind};
use layout::topo::layout::VisualGraph;

/// Gaps between boxes, along the arrows and across them.
const GAP: (f64, f64) = (72.0, 28.0);

/// Number of edge segments above which crossings are not reduced, which would take seconds.
const MAX_UNTANGLED_SEGMENTS: usize = 400;

/// Number of cached layouts.
const MAX_CACHED_LAYOUTS: usize = 32;

/// A graph to lay out, and the key of the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LayoutInput {
    /// Width and height of each box.
    pub(super) boxes: Vec<(u32, u32)>,
    /// Arrows from box to box, without cycles.
    pub(super) arrows: Vec<(usize, usize)>,
    /// Number of ranks that all arrows pass together.
    pub(super) edge_segments: usize,
}

/// Positions of boxes and arrows.
#[derive(Debug, Default)]
pub(super) struct Layout {
    /// Upper left corner of each box.
    pub(super) corners: Vec<(f64, f64)>,
    /// Arrows, each as the attribute `d` of a path.
    pub(super) paths: Vec<String>,
    /// Upper left and lower right corner of all.
    pub(super) bounds: (f64, f64, f64, f64),
}

static LAYOUT_CACHE: Mutex<VecDeque<(LayoutInput, Arc<Layout>)>> = Mutex::new(VecDeque::new());

/// Returns the layout of a graph, from the cache if possible.
pub(super) fn cached_layout(graph: LayoutInput) -> Arc<Layout> {
    let lock = || LAYOUT_CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, layout)) = lock().iter().find(|(other, _)| *other == graph) {
        return layout.clone();
    }
    let layout = Arc::new(compute_layout(&graph));
    let mut cache = lock();
    cache.truncate(MAX_CACHED_LAYOUTS - 1);
    cache.push_front((graph, layout.clone()));
    layout
}

fn compute_layout(graph: &LayoutInput) -> Layout {
    let mut layout = Layout::default();
    if graph.boxes.is_empty() {
        return layout;
    }
    let mut visual = VisualGraph::new(Orientation::LeftToRight);
    let element = |&(width, height): &(u32, u32)| Element {
        shape: ShapeKind::new_box(""),
        pos: Position::new(
            Point::zero(),
            Point::new(width.into(), height.into()),
            Point::zero(),
            Point::new(GAP.0, GAP.1),
        ),
        look: StyleAttr::simple(),
        orientation: Orientation::LeftToRight,
        properties: None,
    };
    let handles: Vec<_> = graph.boxes.iter().map(|size| visual.add_node(element(size))).collect();
    for (from, to) in &graph.arrows {
        visual.add_edge(Arrow::simple(""), handles[*from], handles[*to]);
    }
    layout.bounds = (f64::MAX, f64::MAX, f64::MIN, f64::MIN);
    visual.do_it(false, graph.edge_segments > MAX_UNTANGLED_SEGMENTS, false, &mut layout);
    layout
}

impl Layout {
    fn extend_bounds(&mut self, point: Point) {
        let (left, top, right, bottom) = self.bounds;
        self.bounds = (left.min(point.x), top.min(point.y), right.max(point.x), bottom.max(point.y));
    }
}

/// Records what is to be drawn, in the order in which it was added.
impl RenderBackend for Layout {
    fn draw_rect(&mut self, xy: Point, size: Point, _: &StyleAttr, _: Option<String>, _: Option<ClipHandle>) {
        self.extend_bounds(xy);
        self.extend_bounds(xy.add(size));
        self.corners.push((xy.x, xy.y));
    }

    fn draw_arrow(
        &mut self,
        path: &[(Point, Point)],
        _: bool,
        _: (bool, bool),
        _: &StyleAttr,
        _: Option<String>,
        _: &str,
    ) {
        // The first point has its exit as its control point, the others their entries.
        let mut text = String::new();
        for (at, (first, second)) in path.iter().enumerate() {
            self.extend_bounds(*first);
            self.extend_bounds(*second);
            let (a, b, c, d) = (first.x, first.y, second.x, second.y);
            // Writing to a string cannot fail.
            let _ = match at {
                0 => write!(text, "M{a:.1} {b:.1}C{c:.1} {d:.1}"),
                1 => write!(text, " {a:.1} {b:.1} {c:.1} {d:.1}"),
                _ => write!(text, "S{a:.1} {b:.1} {c:.1} {d:.1}"),
            };
        }
        self.paths.push(text);
    }

    fn draw_line(&mut self, _: Point, _: Point, _: &StyleAttr, _: Option<String>) {}
    fn draw_circle(&mut self, _: Point, _: Point, _: &StyleAttr, _: Option<String>) {}
    fn draw_text(&mut self, _: Point, _: &str, _: &StyleAttr) {}
    fn create_clip(&mut self, _: Point, _: Point, _: usize) -> ClipHandle {
        0
    }
}
