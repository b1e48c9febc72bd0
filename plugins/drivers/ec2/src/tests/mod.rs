//! The driver against answers in the shape of the API, and against a real server.

mod scripted;
