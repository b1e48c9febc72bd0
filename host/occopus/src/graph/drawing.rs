//! Drawings in SVG. They have no styles, only attributes and classes: a drawing is complete by itself, and a page that embeds
//! one sets its own colours.

use std::fmt::Write;

use super::layout::{self, LayoutInput};
use super::tone::Tone;

/// Width limit of a box. Wider text is cut; the title has all of it.
const MAX_BOX_WIDTH: u32 = 300;

const PADDING: u32 = 12;

/// A box of the drawing.
#[derive(Debug)]
pub(super) struct NodeBox {
    /// The content in full, for screen readers.
    pub(super) title: String,
    /// Target of a click.
    pub(super) link: Option<String>,
    /// Colour of the stripe.
    pub(super) tone: Option<Tone>,
    /// Lines of text; the first is the name.
    pub(super) lines: Vec<TextLine>,
    /// Width; that of the lines if absent.
    pub(super) width: Option<u32>,
}

/// A line in a box.
#[derive(Debug)]
pub(super) struct TextLine {
    /// Text on the left.
    pub(super) left: String,
    /// Text on the right.
    pub(super) right: String,
    /// Tone of the text on the right.
    pub(super) tone: Option<Tone>,
    /// Type style.
    pub(super) face: TextStyle,
}

/// A type style of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextStyle {
    /// Large.
    Name,
    /// Small and pale.
    Note,
    /// Small.
    Item,
}

impl TextStyle {
    fn size(self) -> u32 {
        if self == Self::Name { 14 } else { 12 }
    }

    /// Returns the approximate width of a character.
    fn advance(self) -> f64 {
        if self == Self::Name { 7.8 } else { 6.4 }
    }

    fn height(self) -> u32 {
        if self == Self::Name { 20 } else { 18 }
    }

    fn class(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Note => "note",
            Self::Item => "item",
        }
    }

    fn colour(self) -> &'static str {
        if self == Self::Note { "#5b6470" } else { "#1c2128" }
    }
}

/// Draws boxes and arrows between them, as SVG. `edge_segments` is the number of ranks that all arrows pass together.
pub(super) fn draw(label: &str, nodes: &[NodeBox], arrows: Vec<(usize, usize)>, edge_segments: usize) -> String {
    let boxes: Vec<_> = nodes.iter().map(|node| (node.width(), node.height())).collect();
    let layout = layout::cached_layout(LayoutInput { boxes: boxes.clone(), arrows, edge_segments });
    let (left, top, right, bottom) = layout.bounds;
    let (left, top) = (left - 4.0, top - 4.0);
    let (width, height) = ((right - left + 4.0).ceil(), (bottom - top + 4.0).ceil());
    // The role `img` hides its content, such as links, from assistive technology.
    let role = if nodes.iter().any(|node| node.link.is_some()) { "group" } else { "img" };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"graph\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"{left:.1} {top:.1} {width} {height}\" role=\"{role}\" aria-label=\"{}\" \
         font-family=\"system-ui, sans-serif\">\n\
         <defs><marker id=\"occopus-arrow\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" \
         markerHeight=\"8\" orient=\"auto\"><path class=\"head\" d=\"M0 0L8 4L0 8z\" fill=\"#7d8590\"/></marker></defs>\n",
        escape_xml(label)
    );
    for path in &layout.paths {
        write_svg(
            &mut svg,
            format_args!(
                "<path class=\"arrow\" d=\"{path}\" fill=\"none\" stroke=\"#7d8590\" stroke-width=\"1.5\" \
                 marker-end=\"url(#occopus-arrow)\"/>\n"
            ),
        );
    }
    for ((node, corner), (width, height)) in nodes.iter().zip(&layout.corners).zip(boxes) {
        node.draw(*corner, width, height, &mut svg);
    }
    svg + "</svg>\n"
}

impl NodeBox {
    fn width(&self) -> u32 {
        let widest = self.lines.iter().map(TextLine::width).max().unwrap_or_default();
        self.width.unwrap_or_else(|| (widest + 2 * PADDING).clamp(96, MAX_BOX_WIDTH))
    }

    fn height(&self) -> u32 {
        self.lines.iter().map(|line| line.face.height()).sum::<u32>() + PADDING
    }

    fn draw(&self, (x, y): (f64, f64), width: u32, height: u32, svg: &mut String) {
        let class = self.tone.map_or_else(|| "node".into(), |tone| format!("node {}", tone.class()));
        if let Some(link) = &self.link {
            write_svg(svg, format_args!("<a href=\"{}\">", escape_xml(link)));
        }
        write_svg(
            svg,
            format_args!(
                "<g class=\"{class}\" transform=\"translate({x:.1} {y:.1})\"><title>{}</title>\
                 <rect class=\"box\" width=\"{width}\" height=\"{height}\" rx=\"6\" fill=\"#ffffff\" stroke=\"#afb8c1\"/>",
                escape_xml(&self.title)
            ),
        );
        if let Some(tone) = self.tone {
            let (colour, end) = (tone.colour(), height - 6);
            write_svg(
                svg,
                format_args!("<path class=\"stripe\" d=\"M1.5 6V{end}\" stroke=\"{colour}\" stroke-width=\"3\"/>"),
            );
        }
        let mut below = PADDING / 2;
        for line in &self.lines {
            below += line.face.height();
            line.draw(width, below - 5, svg);
        }
        svg.push_str(if self.link.is_some() { "</g></a>\n" } else { "</g>\n" });
    }
}

impl TextLine {
    fn width(&self) -> u32 {
        let gap = if self.right.is_empty() { 0.0 } else { 2.0 };
        // The result fits: texts are cut long before.
        ((text_columns(&self.left) + gap) * self.face.advance() + text_columns(&self.right) * TextStyle::Item.advance())
            .ceil() as u32
    }

    fn draw(&self, width: u32, baseline: u32, svg: &mut String) {
        let room = f64::from(width - 2 * PADDING);
        let right = truncate(&self.right, room / TextStyle::Item.advance());
        let gap = if right.is_empty() { 0.0 } else { 2.0 };
        let left =
            truncate(&self.left, (room - text_columns(&right) * TextStyle::Item.advance()) / self.face.advance() - gap);
        let (class, size, colour) = (self.face.class(), self.face.size(), self.face.colour());
        let weight = if self.face == TextStyle::Name { " font-weight=\"600\"" } else { "" };
        write_svg(
            svg,
            format_args!(
                "<text class=\"{class}\" x=\"{PADDING}\" y=\"{baseline}\" font-size=\"{size}\"{weight} \
                 fill=\"{colour}\">{}</text>",
                escape_xml(&left)
            ),
        );
        if right.is_empty() {
            return;
        }
        let (class, colour) =
            self.tone.map_or(("note", TextStyle::Note.colour()), |tone| (tone.class(), tone.colour()));
        write_svg(
            svg,
            format_args!(
                "<text class=\"{class}\" x=\"{}\" y=\"{baseline}\" font-size=\"12\" text-anchor=\"end\" \
                 fill=\"{colour}\">{}</text>",
                width - PADDING,
                escape_xml(&right)
            ),
        );
    }
}

/// Returns the width of a text in columns. East Asian characters count twice.
fn text_columns(text: &str) -> f64 {
    text.chars().map(char_columns).sum()
}

fn char_columns(letter: char) -> f64 {
    if letter >= '\u{1100}' { 2.0 } else { 1.0 }
}

/// Cuts a text to this width in columns.
fn truncate(text: &str, room: f64) -> String {
    if text_columns(text) <= room {
        return text.to_owned();
    }
    let mut used = 1.0;
    let kept = text.chars().take_while(|letter| {
        used += char_columns(*letter);
        used <= room
    });
    kept.chain(['…']).collect()
}

/// Escapes a text for XML content and attributes. Characters that XML cannot hold are replaced.
fn escape_xml(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\t' | '\n' | '\r' => safe.push(' '),
            '\0'..'\u{20}' | '\u{7f}' | '\u{fffe}' | '\u{ffff}' => safe.push('\u{fffd}'),
            _ => safe.push(letter),
        }
    }
    safe
}

/// Appends to the drawing. Writing to a string cannot fail.
fn write_svg(svg: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = svg.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_where_there_is_no_room() {
        assert_eq!(truncate("backend", 7.0), "backend");
        assert_eq!(truncate("backend", 4.0), "bac…");
        assert_eq!(truncate("日本語", 4.0), "日…");
        assert_eq!(truncate("x", 0.0), "…");
    }

    #[test]
    fn nothing_gets_out_of_a_text() {
        assert_eq!(escape_xml("<a b=\"'\">&\u{1b}\n"), "&lt;a b=&quot;&#39;&quot;&gt;&amp;\u{fffd} ");
    }
}
