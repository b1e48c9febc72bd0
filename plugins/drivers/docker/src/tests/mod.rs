//! The driver against recorded answers, and against a real engine.

mod bridge;
mod real;
mod scripted;
