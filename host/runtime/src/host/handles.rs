//! The handles that a guest holds. They are markers: what they stand for is in [`Call`](super::Call).
#![allow(unreachable_pub, reason = "the generated bindings want them public")]

/// The call in progress, as a handle of the guest.
pub struct Context;
/// The credential of the section at hand.
pub struct Credential;
/// One value of it.
pub struct Secret {
    /// Its name.
    pub(crate) field: String,
}
/// One access to a cloud.
pub struct Scope;
/// A node instance that should exist.
pub struct NodeRequest;
/// A node to look at.
pub struct Target;
/// A node to contextualise.
pub struct ContextRequest;
/// What templates may ask for.
pub struct Facts;
/// One access to a configuration server.
pub struct ConfigScope;
/// A node instance, before its machine exists.
pub struct Registration;
