//! Handles that a guest holds. They are markers: the data behind them is in [`Call`](super::Call).
#![allow(unreachable_pub, reason = "the generated bindings need them public")]

/// The call in progress, as a handle of the guest.
pub struct ContextHandle;
/// The credential of the section at hand.
pub struct CredentialHandle;
/// A value of the credential.
pub struct SecretHandle {
    /// Name of the field.
    pub(crate) field: String,
}
/// An access to a cloud.
pub struct ScopeHandle;
/// A node instance that should exist.
pub struct NodeRequestHandle;
/// A node to check.
pub struct HealthTargetHandle;
/// A node to contextualise.
pub struct ContextRequestHandle;
/// Facts that templates may query.
pub struct FactsHandle;
/// An access to a configuration server.
pub struct ConfigScopeHandle;
/// A node instance, before its machine exists.
pub struct RegistrationHandle;
