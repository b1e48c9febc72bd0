//! Delivery of events to webhooks, without delaying anything: each webhook has a queue and a task of its own. Events that
//! were not delivered before the program ended are delivered by the next run.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use occopus_engine::ports::Reaction;
use occopus_engine::{Engine, Event, InfrastructureId};
use occopus_model::{Secret, SectionKind, Webhook};
use occopus_runtime::{CredentialSource, Runtime, WebhookDelivery};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

/// Pause before the second attempt. It doubles each time.
const INITIAL_RETRY_DELAY: Duration = Duration::from_secs(1);
/// Pause between two attempts, at most.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(60);
/// Number of events of earlier runs that are delivered, at most.
const MAX_BACKLOG_EVENTS: usize = 10_000;

/// A notifier of the webhooks of one infrastructure. Dropping it aborts its deliveries.
pub struct WebhookNotifier {
    tasks: JoinSet<()>,
}

impl WebhookNotifier {
    /// Starts to pass events on, and to deliver the stored ones to the webhooks. Call it before the first event.
    pub(crate) async fn start(
        engine: &Engine,
        runtime: &Arc<Runtime>,
        credentials: &dyn CredentialSource,
        id: &InfrastructureId,
        webhooks: &[Webhook],
        mut events: UnboundedReceiver<Event>,
    ) -> (UnboundedReceiver<Event>, Self) {
        let mut tasks = JoinSet::new();
        let mut queues = Vec::new();
        for webhook in webhooks {
            let label = label(webhook);
            let selector = json!({"url": webhook.url, "name": webhook.name});
            let mut fields = match credentials.credential(SectionKind::Webhook, &selector) {
                Ok(found) => found.map(|credential| credential.fields).unwrap_or_default(),
                Err(fault) => {
                    tracing::warn!(webhook = label, "the webhook gets no events: {fault}");
                    continue;
                }
            };
            let url = webhook.url.clone().map(Secret::new).or_else(|| fields.remove("url"));
            let Some(url) = url else {
                tracing::warn!(
                    webhook = label,
                    "the webhook gets no events: auth_data.yaml has no `url` for it under `webhook`"
                );
                continue;
            };
            let (queue, waiting) = unbounded_channel();
            let sender = WebhookSender {
                engine: engine.clone(),
                runtime: runtime.clone(),
                id: id.clone(),
                cursor_name: cursor_name(&label),
                label,
                url,
                events: webhook.events.clone(),
                secret: fields.remove("secret"),
            };
            sender.enqueue_backlog(&queue).await;
            queues.push(queue);
            tasks.spawn(sender.run(waiting));
        }
        let (pass_on, passed_on) = unbounded_channel();
        tasks.spawn(async move {
            while let Some(event) = events.recv().await {
                if !event.kind.is_transient() {
                    queues.iter().for_each(|queue| drop(queue.send(event.clone())));
                }
                // The receiver may be gone: the webhooks still get the events.
                let _ = pass_on.send(event);
            }
        });
        (passed_on, Self { tasks })
    }

    /// Waits until all events are delivered, at most for `timeout`. Returns false if some are left for the next run.
    pub async fn flush(mut self, timeout: Duration) -> bool {
        let done = async { while self.tasks.join_next().await.is_some() {} };
        tokio::time::timeout(timeout, done).await.is_ok()
    }
}

struct WebhookSender {
    engine: Engine,
    runtime: Arc<Runtime>,
    id: InfrastructureId,
    /// Name of its cursor among the readers of the events.
    cursor_name: String,
    /// Name for log lines: not the URL if that is a secret.
    label: String,
    url: Secret,
    /// Names of the events to deliver; all if empty.
    events: Vec<String>,
    secret: Option<Secret>,
}

impl WebhookSender {
    /// Enqueues the events that earlier runs did not deliver.
    async fn enqueue_backlog(&self, queue: &UnboundedSender<Event>) {
        let left = async {
            let after = self.engine.cursor(&self.id, &self.cursor_name).await?;
            self.engine.events(&self.id, after, MAX_BACKLOG_EVENTS).await
        };
        match left.await {
            Ok(events) => events.into_iter().for_each(|event| drop(queue.send(event))),
            Err(error) => {
                tracing::warn!(webhook = self.label, "cannot read the events that are still to be delivered: {error}")
            }
        }
    }

    async fn run(self, mut waiting: UnboundedReceiver<Event>) {
        let mut begun = false;
        while let Some(event) = waiting.recv().await {
            // If the program ends before the first event is delivered, the next run begins with it.
            if let (false, Some(number)) = (begun, event.id) {
                self.save_cursor(number.saturating_sub(1)).await;
                begun = true;
            }
            if self.events.is_empty() || self.events.iter().any(|name| name == event.kind.name()) {
                self.deliver(&event).await;
            }
            // Not after each of many: events that are delivered twice have the same id.
            if let Some(number) = event.id.filter(|_| waiting.is_empty()) {
                self.save_cursor(number).await;
            }
        }
    }

    async fn save_cursor(&self, number: u64) {
        if let Err(error) = self.engine.set_cursor(&self.id, &self.cursor_name, number).await {
            tracing::warn!(webhook = self.label, "cannot save which events were delivered: {error}");
        }
    }

    /// Replaces the URL in a message, since its path may be a secret.
    fn redact_url(&self, message: &str) -> String {
        message.replace(self.url.expose(), &self.label)
    }

    /// Delivers an event. Retries without limit until the webhook accepts the event, or rejects it for good.
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
                Err((Reaction::Retry, error)) => {
                    let error = self.redact_url(&error);
                    tracing::info!(webhook = self.label, "delivery failed, next attempt in {pause:?}: {error}");
                }
                Err((_, error)) => {
                    let error = self.redact_url(&error);
                    tracing::warn!(webhook = self.label, event = %event, "the webhook rejects an event: {error}");
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

/// Returns the name of a webhook's cursor, which is part of a key of the store.
fn cursor_name(label: &str) -> String {
    let digest = Sha256::digest(label.as_bytes());
    let hexadecimal: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("webhook-{hexadecimal}")
}
