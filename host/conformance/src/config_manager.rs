//! Checks of a config manager's contract. The host requests variables from it, in calls without network access.

use std::sync::Arc;

use occopus_engine::ports::{CallScope, Fault, Renderers as _};
use serde_json::Value;

use crate::report::{ProgressEvent, Suite};
use crate::testbed::Testbed;

pub(crate) async fn run(suite: &mut Suite<impl FnMut(&ProgressEvent<'_>)>, testbed: &Testbed) {
    let Some(manager) = testbed.runtime.config_manager(testbed.keyword()) else { return };
    let call = async |section: Value| -> Result<Value, Fault> {
        let scope = CallScope { context: testbed.call(testbed.call_timeout()), section: Arc::new(section) };
        let answer = manager.template_data(&scope).await;
        testbed.meter.record(&answer);
        answer
    };
    suite
        .check("template-data", async || {
            let data = call(testbed.section.clone()).await?;
            match &testbed.fixture.expected {
                Some(expected) if *expected != data => Err(format!("it should be {expected} and is {data}").into()),
                Some(_) => Ok("as expected".to_owned()),
                None => Ok("the fixture expects nothing of it".to_owned()),
            }
        })
        .await;
    suite
        .check("template-data-again", async || {
            if call(testbed.section.clone()).await? != call(testbed.section.clone()).await? {
                return Err("the same section gives other variables".into());
            }
            Ok("the same section, the same variables".to_owned())
        })
        .await;
    testbed.check_refusals(suite, call).await;
}
