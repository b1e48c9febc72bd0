//! Reads the API's documents. Names count without their namespace, which differs between versions.

use roxmltree::Node;

/// The child with this name.
pub(crate) fn child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    node.children().find(|child| child.tag_name().name() == name)
}

/// The text of the child with this name; none when it is empty.
pub(crate) fn text<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    child(node, name)?.text().map(str::trim).filter(|text| !text.is_empty())
}

/// The entries of the list with this name.
pub(crate) fn items<'a, 'i: 'a>(node: Node<'a, 'i>, list: &str) -> impl Iterator<Item = Node<'a, 'i>> {
    child(node, list).into_iter().flat_map(|list| list.children()).filter(|item| item.tag_name().name() == "item")
}
