//! Rewrites what Jinja2 takes and the engine does not: `'%s' % x`, which is a remainder to the engine, and lists and
//! mappings that a template changes (`list.append(x)`).
//!
//! Only the insides of `{{ }}` and `{% %}` are touched, and line breaks stay where they are. An expression that can't
//! be read is left as it is: the engine has the better message.

/// The filter that stands for `%`.
pub(super) const REMAINDER_FILTER: &str = "__remainder";
/// Functions that make mutable values.
pub(super) const LIST_FUNCTION: &str = "__list";
pub(super) const MAPPING_FUNCTION: &str = "__mapping";

/// Methods by which a template changes something.
const MUTATING_METHODS: &[&str] = &[
    ".append(",
    ".clear(",
    ".extend(",
    ".insert(",
    ".pop(",
    ".popitem(",
    ".remove(",
    ".reverse(",
    ".setdefault(",
    ".sort(",
    ".update(",
];
/// Words that are not operands.
const KEYWORDS: &[&str] = &["and", "else", "if", "in", "is", "not", "or", "recursive"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TokenKind {
    Text,
    Number,
    Name,
    Operator,
}

#[derive(Debug, Clone, Copy)]
struct Token<'s> {
    kind: TokenKind,
    text: &'s str,
    /// Position in bytes of the template.
    at: usize,
}

impl Token<'_> {
    fn is(&self, sign: &str) -> bool {
        self.kind == TokenKind::Operator && self.text == sign
    }

    fn end(&self) -> usize {
        self.at + self.text.len()
    }

    /// Returns true if a value may end with it.
    fn ends_value(&self) -> bool {
        match self.kind {
            TokenKind::Name => !KEYWORDS.contains(&self.text),
            TokenKind::Operator => matches!(self.text, ")" | "]" | "}"),
            TokenKind::Text | TokenKind::Number => true,
        }
    }
}

/// Rewrites a template in the engine's terms.
pub(super) fn rewrite(source: &str) -> String {
    let has_changes = MUTATING_METHODS.iter().any(|change| source.contains(change));
    let mut edits = Vec::new();
    for (start, end) in expressions(source) {
        let Some(inside) = source.get(start..end) else { continue };
        if !has_changes && !inside.contains('%') {
            continue;
        }
        let Some(tokens) = tokens(inside, start) else { continue };
        rewrite_remainders(&tokens, &mut edits);
        if has_changes {
            rewrite_literals(&tokens, &mut edits);
        }
    }
    // At one position, an end comes before a beginning.
    edits.sort_by_key(|edit: &Edit| (edit.at, edit.order));
    let (mut out, mut copied) = (String::new(), 0);
    for edit in edits {
        out.push_str(source.get(copied..edit.at).unwrap_or_default());
        out.push_str(&edit.text);
        copied = edit.at + edit.removed;
    }
    out + source.get(copied..).unwrap_or_default()
}

struct Edit {
    at: usize,
    order: u8,
    removed: usize,
    text: String,
}

/// Returns the ranges of the insides of `{{ }}` and `{% %}`.
fn expressions(source: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(open) = source.get(at..).and_then(|rest| rest.find('{')).map(|open| at + open) {
        let rest = &source[open..];
        if rest.starts_with("{#") {
            let Some(end) = rest.find("#}") else { break };
            at = open + end + 2;
        } else if rest.starts_with("{{") || rest.starts_with("{%") {
            let close = if rest.starts_with("{{") { "}}" } else { "%}" };
            let Some(end) = end_of(source, open + 2, close) else { break };
            let inside = source[open + 2..end].trim_start_matches(['-', '+']).trim();
            at = end + 2;
            if close == "%}" && (inside == "raw" || inside.trim_end_matches(['-', '+']).trim_end() == "raw") {
                at = end_of_raw(source, at);
            } else {
                found.push((open + 2, end));
            }
        } else {
            at = open + 1;
        }
    }
    found
}

/// Returns the end of an expression: its delimiter outside of texts and brackets.
fn end_of(source: &str, from: usize, close: &str) -> Option<usize> {
    let (mut depth, mut at) = (0_usize, from);
    while let Some(rest) = source.get(at..).filter(|rest| !rest.is_empty()) {
        if depth == 0 && rest.starts_with(close) {
            return Some(at);
        }
        let first = rest.chars().next()?;
        match first {
            '\'' | '"' => {
                at += text_length(rest)?;
                continue;
            }
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += first.len_utf8();
    }
    None
}

/// Returns the position behind `{% endraw %}`.
fn end_of_raw(source: &str, from: usize) -> usize {
    let mut at = from;
    while let Some(open) = source.get(at..).and_then(|rest| rest.find("{%")).map(|open| at + open) {
        let inside = source[open + 2..].trim_start_matches(['-', '+']).trim_start();
        if inside.starts_with("endraw") {
            return source[open..].find("%}").map_or(source.len(), |end| open + end + 2);
        }
        at = open + 2;
    }
    source.len()
}

/// Returns the bytes of the text that begins here, quotes included.
fn text_length(rest: &str) -> Option<usize> {
    let quote = rest.chars().next()?;
    let mut is_escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            c if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

fn tokens(inside: &str, start: usize) -> Option<Vec<Token<'_>>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(rest) = inside.get(at..).filter(|rest| !rest.is_empty()) {
        let first = rest.chars().next()?;
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        let word = |is_part: &dyn Fn(char) -> bool| rest.find(|c: char| !is_part(c)).unwrap_or(rest.len());
        let (kind, length) = match first {
            '\'' | '"' => (TokenKind::Text, text_length(rest)?),
            c if c.is_ascii_digit() => (TokenKind::Number, number_length(rest)),
            c if c.is_alphabetic() || c == '_' => (TokenKind::Name, word(&|c| c.is_alphanumeric() || c == '_')),
            _ => (
                TokenKind::Operator,
                if rest.starts_with("**") || rest.starts_with("//") { 2 } else { first.len_utf8() },
            ),
        };
        tokens.push(Token { kind, text: &rest[..length], at: start + at });
        at += length;
    }
    Some(tokens)
}

/// Returns the bytes of a number: `1`, `1.5`, `1e-3`; without the dot of `1.x`.
fn number_length(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let digits = |mut at: usize| {
        while bytes.get(at).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_') {
            at += 1;
        }
        at
    };
    let mut end = digits(0);
    if bytes.get(end) == Some(&b'.') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit) {
        end = digits(end + 1);
    }
    let is_exponent = rest[..end].ends_with(['e', 'E']) && !rest.starts_with("0x");
    if is_exponent && matches!(bytes.get(end), Some(b'-' | b'+')) {
        end = digits(end + 1);
    }
    end
}

/// Rewrites `LEFT % RIGHT` as `LEFT |__remainder(RIGHT)`, unless an operator binds its left side more.
fn rewrite_remainders(tokens: &[Token<'_>], edits: &mut Vec<Edit>) {
    for (at, token) in tokens.iter().enumerate().filter(|(_, token)| token.is("%")) {
        let Some(left) = left_operand(tokens, at) else { continue };
        let before = left.checked_sub(1).and_then(|before| tokens.get(before));
        // These are between numbers.
        if before.is_some_and(|before| ["*", "/", "//", "%", "**", "-"].iter().any(|sign| before.is(sign))) {
            continue;
        }
        let Some(right) = right_operand(tokens, at + 1) else { continue };
        let Some(end) = tokens.get(right).map(Token::end) else { continue };
        edits.push(Edit { at: token.at, order: 1, removed: 1, text: format!("|{REMAINDER_FILTER}(") });
        edits.push(Edit { at: end, order: 0, removed: 0, text: ")".to_owned() });
    }
}

/// Returns the first token of the value that ends before this one.
fn left_operand(tokens: &[Token<'_>], end: usize) -> Option<usize> {
    let mut at = end.checked_sub(1)?;
    loop {
        let token = tokens.get(at)?;
        let before = at.checked_sub(1).and_then(|before| tokens.get(before));
        match token.kind {
            TokenKind::Name if KEYWORDS.contains(&token.text) => return None,
            TokenKind::Name if before.is_some_and(|before| before.is(".") || before.is("|")) => {
                at = at.checked_sub(2)?
            }
            TokenKind::Text if before.is_some_and(|before| before.kind == TokenKind::Text) => at -= 1,
            TokenKind::Name | TokenKind::Text | TokenKind::Number => return Some(at),
            TokenKind::Operator if matches!(token.text, ")" | "]" | "}") => {
                let open = matching_open(tokens, at)?;
                let before = open.checked_sub(1).and_then(|before| tokens.get(before));
                match before {
                    Some(before) if before.ends_value() && token.text != "}" => at = open - 1,
                    _ => return Some(open),
                }
            }
            TokenKind::Operator => return None,
        }
    }
}

/// Returns the last token of the value that begins here.
fn right_operand(tokens: &[Token<'_>], start: usize) -> Option<usize> {
    let mut at = start;
    while tokens.get(at).is_some_and(|token| token.is("-") || token.is("+")) {
        at += 1;
    }
    let first = tokens.get(at)?;
    match first.kind {
        TokenKind::Operator if matches!(first.text, "(" | "[" | "{") => at = matching_close(tokens, at)?,
        TokenKind::Operator => return None,
        TokenKind::Name if KEYWORDS.contains(&first.text) => return None,
        TokenKind::Text => {
            while tokens.get(at + 1).is_some_and(|next| next.kind == TokenKind::Text) {
                at += 1;
            }
        }
        TokenKind::Name | TokenKind::Number => {}
    }
    loop {
        let Some(next) = tokens.get(at + 1) else { return Some(at) };
        if next.is(".") || next.is("|") {
            tokens.get(at + 2).filter(|name| matches!(name.kind, TokenKind::Name | TokenKind::Number))?;
            at += 2;
        } else if next.is("(") || next.is("[") {
            at = matching_close(tokens, at + 1)?;
        } else if next.is("**") {
            return right_operand(tokens, at + 2);
        } else {
            return Some(at);
        }
    }
}

fn matching_open(tokens: &[Token<'_>], close: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, token) in
        tokens.get(..=close)?.iter().enumerate().rev().filter(|(_, token)| token.kind == TokenKind::Operator)
    {
        match token.text {
            ")" | "]" | "}" => depth += 1,
            "(" | "[" | "{" => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

fn matching_close(tokens: &[Token<'_>], open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(open).filter(|(_, token)| token.kind == TokenKind::Operator) {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// Rewrites literal lists and mappings as mutable ones.
fn rewrite_literals(tokens: &[Token<'_>], edits: &mut Vec<Edit>) {
    // `[a, b] = ...` and `for [a, b] in ...` name variables.
    let is_target = |at: usize| {
        let before = at.checked_sub(1).and_then(|before| tokens.get(before));
        before.is_some_and(|before| before.kind == TokenKind::Name && matches!(before.text, "set" | "for" | "with"))
    };
    for (at, token) in tokens.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|before| tokens.get(before));
        let is_value = !before.is_some_and(Token::ends_value) && !is_target(at);
        let maker = match token.text {
            "[" if token.kind == TokenKind::Operator && is_value => LIST_FUNCTION,
            "{" if token.kind == TokenKind::Operator => MAPPING_FUNCTION,
            _ => continue,
        };
        let Some(end) = matching_close(tokens, at).and_then(|close| tokens.get(close)).map(Token::end) else {
            continue;
        };
        edits.push(Edit { at: token.at, order: 1, removed: 0, text: format!("{maker}(") });
        edits.push(Edit { at: end, order: 0, removed: 0, text: ")".to_owned() });
    }
}

#[cfg(test)]
mod tests {
    use super::rewrite;

    #[test]
    fn remainders_become_filters() {
        for (source, wanted) in [
            ("{{ '%s' % x }}", "{{ '%s' |__remainder( x) }}"),
            ("{{ a.b[1](2)|c % -x.y|z(1) + 1 }}", "{{ a.b[1](2)|c |__remainder( -x.y|z(1)) + 1 }}"),
            ("{% if n % 2 == 1 %}", "{% if n |__remainder( 2) == 1 %}"),
            ("{{ '%s' '%s' % (a, 'b' % c) }}", "{{ '%s' '%s' |__remainder( (a, 'b' |__remainder( c))) }}"),
        ] {
            assert_eq!(rewrite(source), wanted);
        }
        for same in [
            "a % b",
            "{{ a * b % c }}",
            "{{ -n % 4 }}",
            "{# {{ a % b }} #}",
            "{% raw %}{{ a % b }}{% endraw %}",
            "{{ 'a % b' }}",
            "{{ 'open % b }}",
            "{{ % }} {{ a % }} {{ a % if }}",
            "{%- if a -%}x{%- endif -%}",
            "{{ {'a': {'b': 1}} }}",
        ] {
            assert_eq!(rewrite(same), same);
        }
    }

    #[test]
    fn literals_can_be_changed_where_something_is() {
        let source = "{% set l = [1, [2]] %}{{ l.append({'a': l[0]}) }}";
        let wanted = "{% set l = __list([1, __list([2])]) %}{{ l.append(__mapping({'a': l[0]})) }}";
        assert_eq!(rewrite(source), wanted);
        assert_eq!(rewrite("{{ [1] }}"), "{{ [1] }}");
    }
}
