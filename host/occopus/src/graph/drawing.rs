//! Drawings in SVG. They have no styles, only attributes and classes: they are good by themselves, and a page that holds
//! one gives it its own colours.

use std::fmt::Write;

use super::layout::{self, LayoutInput};
use super::tone::Tone;

/// Text that is too wide is cut; the title has all of it.
const MAX_BOX_WIDTH: u32 = 300;

const PADDING: u32 = 12;

/// Something to draw as a box.
#[derive(Debug)]
pub(super) struct NodeBox {
    /// In full, for people who can't see it.
    pub(super) title: String,
    /// Where a click leads.
    pub(super) link: Option<String>,
    /// Its stripe.
    pub(super) tone: Option<Tone>,
    /// The first one is its name.
    pub(super) lines: Vec<TextLine>,
    /// As wide as its lines if it is not told.
    pub(super) width: Option<u32>,
}

/// A line in a box.
#[derive(Debug)]
pub(super) struct TextLine {
    /// On the left.
    pub(super) left: String,
    /// On the right.
    pub(super) right: String,
    /// Of the right side.
    pub(super) tone: Option<Tone>,
    /// How it is set.
    pub(super) face: TextStyle,
}

/// How a line is set.
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

    /// Of a character, about.
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

/// The drawing of boxes and of arrows between them.
pub(super) fn draw(label: &str, cards: &[NodeBox], arrows: Vec<(usize, usize)>, pieces: usize) -> String {
    let boxes: Vec<_> = cards.iter().map(|card| (card.width(), card.height())).collect();
    let layout = layout::cached_layout(LayoutInput { boxes: boxes.clone(), arrows, edge_segments: pieces });
    let (left, top, right, bottom) = layout.bounds;
    let (left, top) = (left - 4.0, top - 4.0);
    let (width, height) = ((right - left + 4.0).ceil(), (bottom - top + 4.0).ceil());
    // What is an image has nothing in it that can be reached.
    let role = if cards.iter().any(|card| card.link.is_some()) { "group" } else { "img" };
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
    for ((card, corner), (width, height)) in cards.iter().zip(&layout.corners).zip(boxes) {
        card.draw(*corner, width, height, &mut svg);
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
        // No float is too large: texts are cut long before.
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

/// How wide a text is, in letters. Those of East Asia count twice.
fn text_columns(text: &str) -> f64 {
    text.chars().map(char_columns).sum()
}

fn char_columns(letter: char) -> f64 {
    if letter >= '\u{1100}' { 2.0 } else { 1.0 }
}

/// As much of a text as there is room for.
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

/// For texts and attributes. What XML can't hold is replaced.
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

/// Writing to a text can't fail.
fn write_svg(svg: &mut String, what: std::fmt::Arguments<'_>) {
    let _ = svg.write_fmt(what);
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
