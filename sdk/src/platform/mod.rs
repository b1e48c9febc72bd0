//! The host, twice with the same functions: for real, and as the fake of [`crate::testing`].

#[cfg(target_arch = "wasm32")]
mod component;
#[cfg(not(target_arch = "wasm32"))]
mod native;

#[cfg(target_arch = "wasm32")]
pub(crate) use component::*;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use native::*;
