//! Readers of the API's documents. Names count without their namespace, which differs between versions.

use roxmltree::Node;

/// Returns the child with this name.
pub(crate) fn child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    node.children().find(|child| child.tag_name().name() == name)
}

/// Returns the text of the child with this name; none if it is empty.
pub(crate) fn text<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    child(node, name)?.text().map(str::trim).filter(|text| !text.is_empty())
}

/// Returns the entries of the list with this name.
pub(crate) fn items<'a, 'i: 'a>(node: Node<'a, 'i>, list: &str) -> impl Iterator<Item = Node<'a, 'i>> {
    child(node, list).into_iter().flat_map(|list| list.children()).filter(|item| item.tag_name().name() == "item")
}
