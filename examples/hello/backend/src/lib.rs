//! The backend of the hello example: answers with its name, its address and a greeting.
//!
//! Empty on other targets than WebAssembly.

#[cfg(target_arch = "wasm32")]
mod service {
    use std::env;

    use wstd::http::{Body, Error, Request, Response};

    #[wstd::http_server]
    async fn main(_request: Request<Body>) -> Result<Response<Body>, Error> {
        let name = env::var("NAME").unwrap_or_else(|_| "backend".into());
        let address = env::var("OCCOPUS_ADDRESS").unwrap_or_else(|_| "an unknown address".into());
        let greeting = env::var("GREETING").unwrap_or_else(|_| "Hello".into());
        let answer = format!("{greeting}, says {name} at {address}.\n");
        Ok(Response::builder().header("content-type", "text/plain; charset=utf-8").body(answer.into())?)
    }
}
