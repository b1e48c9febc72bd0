//! The promises of a config manager. The host asks it for variables, in calls that reach nothing.

use std::sync::Arc;

use occopus_engine::ports::{CallScope, Fault, Renderers as _};
use serde_json::Value;

use crate::report::{ProgressEvent, Suite};
use crate::testbed::Testbed;

pub(crate) async fn run(suite: &mut Suite<impl FnMut(&ProgressEvent<'_>)>, bed: &Testbed) {
    let Some(manager) = bed.runtime.config_manager(bed.keyword()) else { return };
    let ask = async |section: Value| -> Result<Value, Fault> {
        let scope = CallScope { context: bed.call(bed.call_timeout()), section: Arc::new(section) };
        let answer = manager.template_data(&scope).await;
        bed.meter.record(&answer);
        answer
    };
    suite
        .check("template-data", async || {
            let data = ask(bed.section.clone()).await?;
            match &bed.fixture.expected {
                Some(expected) if *expected != data => Err(format!("it should be {expected} and is {data}").into()),
                Some(_) => Ok("as expected".to_owned()),
                None => Ok("the fixture expects nothing of it".to_owned()),
            }
        })
        .await;
    suite
        .check("template-data-again", async || {
            if ask(bed.section.clone()).await? != ask(bed.section.clone()).await? {
                return Err("the same section gives other variables".into());
            }
            Ok("the same section, the same variables".to_owned())
        })
        .await;
    bed.check_refusals(suite, ask).await;
}
