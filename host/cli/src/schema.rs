//! `occopus schema`

use occopus::editor;

use super::args::{GlobalArgs, SchemaCommand};
use super::failure::Failure;
use super::{backend, print};

pub(crate) async fn run(schema: SchemaCommand, common: &GlobalArgs) -> Result<(), Failure> {
    match schema {
        SchemaCommand::Description => print::json(&editor::description()),
        SchemaCommand::Definitions => {
            print::json(&editor::definitions(&*backend::open_local(common)?.runtime().await?))
        }
    }
    Ok(())
}
