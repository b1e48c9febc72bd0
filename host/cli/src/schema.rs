//! `occopus schema`

use occopus::editor;

use super::args::{Common, Schema};
use super::failure::Failure;
use super::{print, session};

pub(crate) async fn run(schema: Schema, common: &Common) -> Result<(), Failure> {
    match schema {
        Schema::Description => print::json(&editor::description()),
        Schema::Definitions => print::json(&editor::definitions(&*session::open(common)?.runtime().await?)),
    }
    Ok(())
}
