//! The promises of a config manager.

use std::sync::Arc;
use std::time::Duration;

use occopus_engine::ports::{ConfigManager, Fault, Plugins as _, Reaction, Scope};
use serde_json::Value;

use crate::bed::Bed;
use crate::hiccups::{Faults, believes_no_stranger, reads};
use crate::report::{News, Suite, words};

pub(crate) async fn run(suite: &mut Suite<impl FnMut(&News<'_>)>, bed: &Bed) {
    let Some(manager) = bed.runtime.config_manager(bed.keyword()) else { return };
    let ask = async |manager: &dyn ConfigManager, section: Value, timeout: Duration| -> Result<Value, Fault> {
        let answer = manager.template_data(&Scope { context: bed.call(timeout), section: Arc::new(section) }).await;
        bed.meter.hear(&answer);
        answer
    };
    let patience = bed.patience();
    suite
        .check("template-data", async || {
            let data = ask(&*manager, bed.section.clone(), patience).await?;
            match &bed.fixture.expected {
                Some(expected) if *expected != data => Err(format!("it should be {expected} and is {data}").into()),
                Some(_) => Ok("as expected".to_owned()),
                None => Ok("the fixture expects nothing of it".to_owned()),
            }
        })
        .await;
    suite
        .check("wrong-credentials", async || {
            let stranger = bed.stranger()?.config_manager(bed.keyword()).ok_or("there is no config manager")?;
            match ask(&*stranger, bed.section.clone(), patience).await {
                Ok(_) => Err("it works with wrong credentials".into()),
                Err(fault) if fault.reaction == Reaction::Denied => Ok("denied".to_owned()),
                Err(fault) => Err(format!("it must be `denied`: {}", words(&fault)).into()),
            }
        })
        .await;
    bed.refused(suite, async |section| ask(&*manager, section, patience).await).await;
    suite
        .check("faults", async || {
            let faults = Faults::before(bed)?;
            let data = async || ask(&*manager, (*faults.section).clone(), patience).await;
            let right = data().await?;
            let noted = reads(&faults, bed, data, |_| false).await?;
            let strangers = believes_no_stranger(&faults, bed, data, |seen| *seen != right).await?;
            Ok(format!("{noted}; {strangers}"))
        })
        .await;
}
