//! Lines of a width, as Python's `textwrap` makes them (<https://docs.python.org/3/library/textwrap.html>), for `wordwrap`.

/// Returns the lines of one paragraph.
pub(super) fn wrap(text: &str, width: usize, break_long: bool, on_hyphens: bool) -> Vec<String> {
    let mut chunks = chunks(text, on_hyphens);
    chunks.reverse();
    let mut lines: Vec<String> = Vec::new();
    while let Some(next) = chunks.last() {
        if is_blank(next) && !lines.is_empty() {
            chunks.pop();
        }
        let (mut line, mut length) = (Vec::new(), 0);
        while let Some(next) = chunks.pop_if(|next| length + next.len() <= width) {
            length += next.len();
            line.push(next);
        }
        if chunks.last().is_some_and(|next| next.len() > width) {
            if break_long {
                break_word(&mut chunks, &mut line, width - length, on_hyphens);
            } else if line.is_empty() {
                line.extend(chunks.pop());
            }
        }
        line.pop_if(|last| is_blank(last));
        if !line.is_empty() {
            lines.push(line.concat().into_iter().collect());
        }
    }
    lines
}

fn is_blank(chunk: &[char]) -> bool {
    chunk.iter().all(|c| c.is_whitespace())
}

/// Puts as much of a word on a line as there is room for, or up to a hyphen.
fn break_word(chunks: &mut [Vec<char>], line: &mut Vec<Vec<char>>, room: usize, on_hyphens: bool) {
    let Some(word) = chunks.last_mut() else { return };
    let mut end = room.min(word.len());
    if on_hyphens
        && let Some(hyphen) = word[..end].iter().rposition(|c| *c == '-')
        && word[..hyphen].iter().any(|c| *c != '-')
    {
        end = hyphen + 1;
    }
    let rest = word.split_off(end);
    line.push(std::mem::replace(word, rest));
}

/// Splits a text into words and the blanks between them, and words at their hyphens.
fn chunks(text: &str, on_hyphens: bool) -> Vec<Vec<char>> {
    let text: Vec<char> = text.chars().collect();
    let mut chunks = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let blank = is_space(text[at]);
        let run = text[at..].iter().position(|c| is_space(*c) != blank).map_or(text.len(), |length| at + length);
        let end = if blank || !on_hyphens { run } else { end_of_piece(&text, at, run) };
        chunks.push(text[at..end].to_vec());
        at = end;
    }
    chunks
}

fn is_space(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\u{b}' | '\u{c}' | '\r' | ' ')
}

/// Returns the end of the piece of a word that begins here: behind a hyphen between letters, before or behind a dash,
/// or at its end.
fn end_of_piece(text: &[char], start: usize, end: usize) -> usize {
    let at = |index: usize| text.get(index).copied().unwrap_or(' ');
    let before = |index: usize, back: usize| index.checked_sub(back).map_or(' ', at);
    let is_letter = |c: char| c.is_alphabetic() || c == '_';
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let is_punctuated = |c: char| is_word(c) || "!\"'&.,?".contains(c);
    // Two hyphens or more that a word goes on behind.
    let dash = |index: usize| {
        let hyphens = text[index..end].iter().take_while(|c| **c == '-').count();
        (hyphens >= 2 && is_word(at(index + hyphens))).then_some(index + hyphens)
    };
    if is_punctuated(before(start, 1))
        && let Some(behind) = dash(start)
    {
        return behind;
    }
    for index in start + 1..end {
        let is_hyphen = at(index) == '-';
        let two_letters = is_letter(before(index, 1)) && is_letter(before(index, 2));
        let letter_hyphen = is_punctuated(before(index, 1)) && before(index, 2) == '-' && is_letter(before(index, 3));
        let goes_on = is_letter(at(index + 1))
            && (is_letter(at(index + 2)) || (at(index + 2) == '-' && is_letter(at(index + 3))));
        if is_hyphen && (two_letters || letter_hyphen) && goes_on {
            return index + 1;
        }
        if is_punctuated(before(index, 1)) && dash(index).is_some() {
            return index;
        }
    }
    end
}
