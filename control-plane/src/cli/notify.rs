//! `hotcert notify test`: sends an event of which nothing follows to subscriptions of a settings file, in the way that the
//! controller sends events, and prints what was sent and what was answered.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Instant, SystemTime};

use clap::{Args, Subcommand};
use hotcert_log::{errln, outln};

use crate::api::duration;
use crate::api::notification::Event;
use crate::cli::session::CommandError;
use crate::external::http_client::{HttpError, HttpResponse};
use crate::notify::config::NotifyConfig;
use crate::notify::dispatcher::delivery::{outcome, send};
use crate::notify::format::Notice;
use crate::notify::subscription::Subscription;
use crate::outbox::DeliveryOutcome;

/// Of the answer's body, in bytes.
const MAX_ANSWER: usize = 64 * 1024;
/// Of the answer's body, in characters that are printed.
const MAX_PRINTED: usize = 500;

const EXAMPLES: &str = "\
The event is a CloudEvent of the type dev.hotcert.test, or the same in the format of the subscription.
It goes the way of every event: same headers and signature, roots, proxy and address policy. Whether
the topic would select it does not matter. Exit code: 0 if every subscription took it, or else 1.

Examples:

  hotcert notify test pager --notifications notifications.yaml     # a subscription
  hotcert notify test on-call --notifications notifications.yaml   # all of a topic
  kubectl -n hotcert-system exec deploy/hotcert-controller -- \\
      /hotcert notify test on-call/pager                           # from where the controller sends";

#[derive(Clone, Debug, Args)]
pub struct NotifyArgs {
    #[command(subcommand)]
    command: NotifyCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum NotifyCommand {
    /// Send a test event to a subscription, or to all of a topic, and print what was answered
    Test(TestArgs),
}

#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
struct TestArgs {
    /// A subscription, TOPIC/SUBSCRIPTION where the name alone is in more than one topic, or a topic
    #[arg(value_name = "NAME")]
    name: String,
    /// YAML file that configures notifications, with the files that it names beside it
    #[arg(long, env = "HOTCERT_NOTIFICATIONS", value_name = "FILE")]
    notifications: PathBuf,
}

pub fn run(NotifyArgs { command: NotifyCommand::Test(args) }: &NotifyArgs) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&CommandError::Failed(format!("cannot start: {error}"))),
    };
    runtime.block_on(test(args)).map_or_else(|error| failed(&error), |()| ExitCode::SUCCESS)
}

fn failed(error: &CommandError) -> ExitCode {
    if !matches!(error, CommandError::Reported) {
        errln!("error: {error}");
    }
    ExitCode::FAILURE
}

async fn test(TestArgs { name, notifications }: &TestArgs) -> Result<(), CommandError> {
    let config =
        NotifyConfig::read(notifications).map_err(|error| CommandError::Failed(error.to_string()))?;
    let named = |id: &str| id == name || id.split('/').any(|part| part == name);
    let named: Vec<_> = config.subscriptions.iter().filter(|(id, _)| named(id)).collect();
    if named.is_empty() {
        let all: Vec<_> = config.subscriptions.keys().map(String::as_str).collect();
        let all =
            if all.is_empty() { "it has none".to_owned() } else { format!("name one of {}", all.join(", ")) };
        let path = notifications.display();
        return Err(CommandError::Failed(format!("{path} has no subscription or topic {name}: {all}")));
    }
    let mut all_delivered = true;
    for (id, subscription) in named {
        all_delivered &= test_subscription(id, subscription, &config.rules.source).await?;
    }
    if all_delivered { Ok(()) } else { Err(CommandError::Reported) }
}

/// Returns whether it was delivered.
async fn test_subscription(
    id: &str,
    subscription: &Subscription,
    source: &str,
) -> Result<bool, CommandError> {
    let notice = Notice { event: Event::test(), is_resolved: false };
    let message = subscription.format.message(source, &notice, SystemTime::now());
    let message = message.map_err(|error| CommandError::Failed(format!("{id}: {error}")))?;
    let Subscription { endpoint, format, signer, .. } = subscription;
    let signed = if signer.is_empty() { "not signed" } else { "signed" };
    let through = endpoint.proxy().map(|proxy| format!(", through the proxy {proxy}")).unwrap_or_default();
    outln!("{id}: POST to {}{through}: {format}, {signed}", endpoint.origin());
    outln!("  {}", String::from_utf8_lossy(&message.body));
    let begin = Instant::now();
    let sent = send(subscription, &notice.event.id, message, MAX_ANSWER).await;
    let took = duration::format(begin.elapsed());
    let outcome = outcome(subscription, &sent);
    match &sent {
        Ok(response) => outln!("{id}: answered {} after {took}{}", response.status, printed(response)),
        Err(error) => outln!("{id}: not answered after {took}: {error}"),
    }
    if outcome == DeliveryOutcome::Delivered {
        return Ok(true);
    }
    outln!("{id}: not delivered: {}", hint(&sent));
    Ok(false)
}

fn printed(response: &HttpResponse) -> String {
    let text = String::from_utf8_lossy(&response.body);
    let text: String = text.trim().chars().take(MAX_PRINTED).filter(|c| !c.is_control()).collect();
    if text.is_empty() { text } else { format!(": {text}") }
}

fn hint(sent: &Result<HttpResponse, HttpError>) -> &'static str {
    match sent {
        Ok(response) => match response.status.as_u16() {
            300..=399 => {
                "redirects are not followed: write the address that it redirects to into the settings"
            }
            400 | 415 | 422 => "the receiver does not take this body: check the subscription's format",
            401 | 403 => "check the subscription's keys and headers, and what the receiver accepts",
            404 | 405 => "check the path of the subscription's URL",
            410 => "the receiver wants no more events: remove the subscription, or change its URL",
            429 => "the receiver limits the rate of requests: try again later",
            _ => "see what the receiver logged",
        },
        Err(HttpError::AddressNotAllowed { .. }) => "a network that is not public has to be allowed",
        Err(HttpError::Tls(_)) => {
            "name a file with the roots of the receiver's certificate (ca), and call it by a name in that certificate"
        }
        Err(HttpError::Proxy { .. }) => {
            "check HTTPS_PROXY and what the proxy allows, or exempt the host with NO_PROXY"
        }
        Err(_) => "check the subscription's URL, and that the receiver can be reached from here",
    }
}
