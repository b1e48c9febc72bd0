//! Checks of a contextualiser's contract.

use std::sync::Arc;

use occopus_engine::ports::{ContextRequest, Contextualiser, Fault, Rendered, Renderers as _};
use serde_json::{Value, json};

use crate::report::{CheckError, ProgressEvent, Suite, TestResult};
use crate::testbed::Testbed;

pub(crate) async fn run(suite: &mut Suite<impl FnMut(&ProgressEvent<'_>)>, testbed: &Testbed) {
    let Some(contextualiser) = testbed.runtime.contextualiser(testbed.keyword()) else { return };
    let render = async |section: Value| render(testbed, &*contextualiser, section).await;
    suite
        .check("render", async || {
            let rendered = render(testbed.section.clone()).await?;
            expected(testbed, &rendered)
        })
        .await;
    suite
        .check("render-again", async || {
            if render(testbed.section.clone()).await? != render(testbed.section.clone()).await? {
                return Err("the same inputs give other answers".into());
            }
            Ok("the same inputs, the same answer".to_owned())
        })
        .await;
    testbed.check_refusals(suite, render).await;
}

async fn render(testbed: &Testbed, contextualiser: &dyn Contextualiser, section: Value) -> Result<Rendered, Fault> {
    let request = ContextRequest {
        context: testbed.call(testbed.call_timeout()),
        section: Arc::new(section),
        resource: Arc::new(testbed.fixture.resource.clone().unwrap_or_else(|| json!({}))),
        template_data: Value::Object(testbed.fixture.variables.clone()),
        connections: json!([]),
        instances: Arc::default(),
    };
    let answer = contextualiser.render(&request).await;
    testbed.meter.record(&answer);
    answer
}

fn expected(testbed: &Testbed, rendered: &Rendered) -> TestResult {
    let user_data = rendered.user_data.as_deref().map(String::from_utf8_lossy);
    let size = user_data.as_ref().map_or(0, |data| data.len());
    let Some(expected) = &testbed.fixture.expected else {
        return Ok(format!("{size} bytes of user data; the fixture expects nothing of it"));
    };
    let answer = json!({ "user_data": user_data, "attributes": rendered.attributes });
    let keys = expected.as_object().into_iter().flatten();
    for (key, wanted) in keys {
        let got = &answer[key.as_str()];
        if got != wanted {
            return Err(CheckError::Failed(format!("`{key}` should be {wanted} and is {got}")));
        }
    }
    Ok(format!("as expected, {size} bytes of user data"))
}
