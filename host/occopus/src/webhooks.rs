//! Telling webhooks what happens, without holding anything up: each has a queue and a task of its own. What could not be told
//! before the program ended is told by the next one.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use occopus_engine::ports::Reaction;
use occopus_engine::{Engine, Event};
use occopus_model::{Secret, SectionKind, Webhook};
use occopus_runtime::{CredentialSource, Runtime, WebhookDelivery};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

/// The first pause before another attempt. It doubles each time.
const INITIAL_RETRY_DELAY: Duration = Duration::from_secs(1);
/// The longest one.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(60);
/// Events of earlier runs that are told at most.
const MAX_BACKLOG_EVENTS: usize = 10_000;

/// Tells the webhooks of one infrastructure. Dropping it ends it.
pub struct WebhookNotifier {
    tasks: JoinSet<()>,
}

impl WebhookNotifier {
    /// Passes events on, and tells the webhooks of those that are stored. To be called before anything happens.
    pub(crate) async fn start(
        engine: &Engine,
        runtime: &Arc<Runtime>,
        credentials: &dyn CredentialSource,
        id: &str,
        webhooks: &[Webhook],
        mut events: UnboundedReceiver<Event>,
    ) -> (UnboundedReceiver<Event>, Self) {
        let mut tasks = JoinSet::new();
        let mut queues = Vec::new();
        for webhook in webhooks {
            let label = label(webhook);
            let wanted = json!({"url": webhook.url, "name": webhook.name});
            let mut fields = match credentials.credential(SectionKind::Webhook, &wanted) {
                Ok(found) => found.map(|credential| credential.fields).unwrap_or_default(),
                Err(fault) => {
                    tracing::warn!(webhook = label, "it is not told: {fault}");
                    continue;
                }
            };
            let url = webhook.url.clone().map(Secret::new).or_else(|| fields.remove("url"));
            let Some(url) = url else {
                tracing::warn!(webhook = label, "it is not told: auth_data.yaml has no `url` for it under `webhook`");
                continue;
            };
            let (queue, waiting) = unbounded_channel();
            let hook = WebhookSender {
                engine: engine.clone(),
                runtime: runtime.clone(),
                id: id.to_owned(),
                cursor_name: cursor_name(&label),
                label,
                url,
                events: webhook.events.clone(),
                secret: fields.remove("secret"),
            };
            hook.enqueue_backlog(&queue).await;
            queues.push(queue);
            tasks.spawn(hook.run(waiting));
        }
        let (pass_on, passed_on) = unbounded_channel();
        tasks.spawn(async move {
            while let Some(event) = events.recv().await {
                if !event.kind.is_transient() {
                    queues.iter().for_each(|queue| drop(queue.send(event.clone())));
                }
                // Nobody listens any more: the webhooks do.
                let _ = pass_on.send(event);
            }
        });
        (passed_on, Self { tasks })
    }

    /// Waits until all is told, at most so long. False when something is left for the next run.
    pub async fn flush(mut self, patience: Duration) -> bool {
        let done = async { while self.tasks.join_next().await.is_some() {} };
        tokio::time::timeout(patience, done).await.is_ok()
    }
}

struct WebhookSender {
    engine: Engine,
    runtime: Arc<Runtime>,
    id: String,
    /// Its name among the readers of the events.
    cursor_name: String,
    /// For log lines: not its URL when that is a secret.
    label: String,
    url: Secret,
    /// All when empty.
    events: Vec<String>,
    secret: Option<Secret>,
}

impl WebhookSender {
    /// What an earlier run could not tell.
    async fn enqueue_backlog(&self, queue: &UnboundedSender<Event>) {
        let left = async {
            let after = self.engine.cursor(&self.id, &self.cursor_name).await?;
            self.engine.events(&self.id, after, MAX_BACKLOG_EVENTS).await
        };
        match left.await {
            Ok(events) => events.into_iter().for_each(|event| drop(queue.send(event))),
            Err(error) => tracing::warn!(webhook = self.label, "what is left to tell could not be read: {error}"),
        }
    }

    async fn run(self, mut waiting: UnboundedReceiver<Event>) {
        let mut begun = false;
        while let Some(event) = waiting.recv().await {
            // Should we die before the first one is told, the next run begins with it.
            if let (false, Some(number)) = (begun, event.id) {
                self.save_cursor(number.saturating_sub(1)).await;
                begun = true;
            }
            if self.events.is_empty() || self.events.iter().any(|name| name == event.kind.name()) {
                self.deliver(&event).await;
            }
            // Not after each of many: should they be told twice, they have the same id.
            if let Some(number) = event.id.filter(|_| waiting.is_empty()) {
                self.save_cursor(number).await;
            }
        }
    }

    async fn save_cursor(&self, number: u64) {
        if let Err(error) = self.engine.set_cursor(&self.id, &self.cursor_name, number).await {
            tracing::warn!(webhook = self.label, "it could not be remembered what was told: {error}");
        }
    }

    /// Without the URL, of which the path may be a secret.
    fn redact_url(&self, why: &str) -> String {
        why.replace(self.url.expose(), &self.label)
    }

    /// Until it is taken, or will never be.
    async fn deliver(&self, event: &Event) {
        let number = event.id.map_or_else(|| event.time.as_nanosecond().to_string(), |number| number.to_string());
        let id = format!("{}.{number}", self.id);
        let Ok(body) = serde_json::to_vec(event) else { return };
        let mut pause = INITIAL_RETRY_DELAY;
        loop {
            let timestamp = Timestamp::now().as_second();
            let url = self.url.expose().to_owned();
            let delivery = WebhookDelivery { url, id: id.clone(), timestamp, body: body.clone() };
            match self.runtime.deliver_webhook(delivery, self.secret.as_ref().map(Secret::expose)).await {
                Ok(()) => return,
                Err((Reaction::Retry, why)) => {
                    let why = self.redact_url(&why);
                    tracing::info!(webhook = self.label, "the webhook is told again in {pause:?}: {why}");
                }
                Err((_, why)) => {
                    let why = self.redact_url(&why);
                    tracing::warn!(webhook = self.label, event = %event, "the webhook refuses an event: {why}");
                    return;
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_RETRY_DELAY);
        }
    }
}

fn label(webhook: &Webhook) -> String {
    webhook.name.clone().or_else(|| webhook.url.clone()).unwrap_or_default()
}

/// Part of a key of the store.
fn cursor_name(label: &str) -> String {
    let digest = Sha256::digest(label.as_bytes());
    let hexadecimal: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("webhook-{hexadecimal}")
}
