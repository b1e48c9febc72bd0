//! The handles that a guest holds. They are markers: what they stand for is in [`Call`](super::Call).
#![allow(unreachable_pub, reason = "the generated bindings want them public")]

/// The call in progress, as a handle of the guest.
pub struct ContextHandle;
/// The credential of the section at hand.
pub struct CredentialHandle;
/// One value of it.
pub struct SecretHandle {
    /// Its name.
    pub(crate) field: String,
}
/// One access to a cloud.
pub struct ScopeHandle;
/// A node instance that should exist.
pub struct NodeRequestHandle;
/// A node to look at.
pub struct HealthTargetHandle;
/// A node to contextualise.
pub struct ContextRequestHandle;
/// What templates may ask for.
pub struct FactsHandle;
/// One access to a configuration server.
pub struct ConfigScopeHandle;
/// A node instance, before its machine exists.
pub struct RegistrationHandle;
