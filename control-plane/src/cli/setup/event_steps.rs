//! The steps between the instances: the authorization, the registration, the topic, the destination, the subscription.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::json;

use super::args::Event;
use super::calls::{MAX_PAGES, TO_NOTIFY};
use super::files::Files;
use super::names::HEADER;
use super::steps::Run;
use crate::external::ibm::event_notifications::{
    self as events, Collection, Destination, Item, Topic, Webhook,
};
use crate::external::ibm::iam::{self, Policy, PolicyList};
use crate::external::ibm::secrets_manager::{self, Registration};
use crate::external::ibm::{ApiRequest, Crn};

const TO_AUTHORIZE: &str = "the role Administrator on Event Notifications, which may grant authorizations";
const TO_REGISTER: &str = "the service role Manager on Secrets Manager";
/// How long a new authorization and a new source take to be known everywhere.
const SETTLES: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_secs(2);

impl Run<'_> {
    /// Whether it was made just now.
    pub async fn authorization(&mut self, source: &Crn, target: &Crn) -> Result<bool, String> {
        self.progress.begin("authorization of Secrets Manager for Event Notifications");
        let policies = self.authorizations(&source.account).await?;
        if policies.iter().any(|policy| policy.authorizes(source, target)) {
            self.progress.kept("an authorization that is enough");
            return Ok(false);
        }
        let request = iam::authorize(source, target, &self.names.mark);
        let made: Policy = self.parsed(&request, || json!({"id": "{policy}"}), TO_AUTHORIZE).await?;
        self.progress.made(format_args!("policy {}", made.id.unwrap_or_default()));
        Ok(true)
    }

    pub async fn authorizations(&mut self, account: &str) -> Result<Vec<Policy>, String> {
        let (mut policies, mut start) = (Vec::new(), None::<String>);
        for _ in 0..MAX_PAGES {
            let request = iam::list_authorizations(account, start.as_deref());
            let list: PolicyList = self.parsed(&request, || json!({"policies": []}), TO_AUTHORIZE).await?;
            policies.extend(list.policies);
            start = list.next.and_then(|page| page.start);
            if start.is_none() {
                break;
            }
        }
        Ok(policies)
    }

    /// `is_new`: whether the authorization was made just now, and may not be known everywhere.
    pub async fn registration(
        &mut self,
        source: &Crn,
        target: &Crn,
        instance: &str,
        is_new: bool,
    ) -> Result<(), String> {
        self.progress.begin("registration of Secrets Manager with Event Notifications");
        match self.registered().await? {
            Some(crn) if crn == target.as_str() => {
                self.progress.kept(format_args!("source {}", source.as_str()))
            }
            Some(crn) => {
                return Err(self.progress.failed(
                    format_args!(
                        "{} is registered with another Event Notifications instance, {crn}",
                        source.as_str()
                    ),
                    "name that instance with --event-notifications, or remove the registration",
                ));
            }
            None => {
                self.register(target, is_new).await?;
                self.progress.made(format_args!("source {}", source.as_str()));
            }
        }
        self.wait_for_source(source, instance).await
    }

    /// The CRN of the Event Notifications instance that Secrets Manager sends its events to.
    pub async fn registered(&mut self) -> Result<Option<String>, String> {
        if self.api.is_dry() {
            let request = secrets_manager::registration();
            self.call(&request, || json!({}), TO_REGISTER).await?;
            return Ok(None);
        }
        let found = self.api.find(&secrets_manager::registration(), || json!({})).await;
        let found = found.and_then(|answer| answer.map(|answer| answer.parse::<Registration>()).transpose());
        let found = found.map_err(|error| self.progress.refused(&error, TO_REGISTER))?;
        Ok(found.map(|registration| registration.event_notifications_instance_crn))
    }

    async fn register(&mut self, target: &Crn, is_new: bool) -> Result<(), String> {
        let begin = Instant::now();
        let request = secrets_manager::register(target.as_str(), &self.names.source, &self.names.mark);
        loop {
            let error = match self.api.call(&request, || json!({})).await {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            let may_settle =
                is_new && matches!(error.status().map(|status| status.as_u16()), Some(400 | 403));
            if !may_settle || begin.elapsed() > SETTLES.min(self.timeout) {
                return Err(self.progress.refused(&error, TO_REGISTER));
            }
            self.progress.waits("the authorization is not known yet", begin.elapsed());
            tokio::time::sleep(self.poll(POLL * 5)).await;
        }
    }

    /// A topic can name a source when Event Notifications lists it.
    async fn wait_for_source(&mut self, source: &Crn, instance: &str) -> Result<(), String> {
        let begin = Instant::now();
        while self.source(source.as_str(), instance).await?.is_none() {
            if begin.elapsed() > SETTLES.min(self.timeout) {
                return Err(self.progress.failed(
                    "Event Notifications does not list Secrets Manager as a source",
                    "look at the sources of the instance in the console of IBM Cloud",
                ));
            }
            tokio::time::sleep(self.poll(POLL)).await;
        }
        Ok(())
    }

    pub async fn source(&mut self, crn: &str, instance: &str) -> Result<Option<Item>, String> {
        let assumed = json!({"sources": [{"id": crn, "name": self.names.source}]});
        let items = self.items(Collection::Sources, instance, None, assumed).await?;
        Ok(items.into_iter().find(|item| item.id == crn))
    }

    pub async fn topic(
        &mut self,
        instance: &str,
        source: &Crn,
        selected: &BTreeSet<Event>,
    ) -> Result<String, String> {
        let names = self.names;
        self.progress.begin(format!("topic {}", names.topic));
        let types: Vec<_> = selected.iter().flat_map(|event| event.types()).copied().collect();
        if let Some(found) = self.named(Collection::Topics, instance, &names.topic).await? {
            let request = Collection::Topics.get(instance, &found.id);
            let topic: Topic = self.parsed(&request, || json!({}), TO_NOTIFY).await?;
            if let Some(difference) = topic.difference(source.as_str(), &types) {
                self.progress.differs(difference);
            }
            self.progress.kept(&found.id);
            return Ok(found.id);
        }
        let request = events::create_topic(instance, &names.topic, &names.mark, source.as_str(), &types);
        self.create(&request, "{topic}", &names.topic).await
    }

    pub async fn destination(&mut self, instance: &str, url: &str, files: &Files) -> Result<String, String> {
        let names = self.names;
        self.progress.begin(format!("destination {}", names.destination));
        if let Some(found) = self.named(Collection::Destinations, instance, &names.destination).await? {
            let request = Collection::Destinations.get(instance, &found.id);
            let destination: Destination = self.parsed(&request, || json!({}), TO_NOTIFY).await?;
            if let Some(difference) = destination.difference(&Webhook { url, header: HEADER, value: "" }) {
                self.progress.differs(difference);
            }
            if !files.has_token() {
                return Err(self.progress.failed(
                    format_args!(
                        "it exists, and {} with the token that it sends does not; it cannot be read back",
                        files.token_path()
                    ),
                    "put the file back, or delete the destination",
                ));
            }
            self.progress.kept(&found.id);
            return Ok(found.id);
        }
        let token = if self.api.is_dry() { Files::no_token() } else { files.token()? };
        let webhook = Webhook { url, header: HEADER, value: &token };
        let request = events::create_destination(instance, &names.destination, &names.mark, &webhook);
        self.create(&request, "{destination}", &names.destination).await
    }

    pub async fn subscription(
        &mut self,
        instance: &str,
        destination: &str,
        topic: &str,
    ) -> Result<(), String> {
        let names = self.names;
        self.progress.begin(format!("subscription {}", names.subscription));
        if let Some(found) = self.named(Collection::Subscriptions, instance, &names.subscription).await? {
            if found.destination_id != destination || found.topic_id != topic {
                self.progress.differs("it joins another topic or destination");
            }
            self.progress.kept(&found.id);
            return Ok(());
        }
        let request =
            events::create_subscription(instance, &names.subscription, &names.mark, destination, topic);
        self.create(&request, "{subscription}", &names.subscription).await.map(drop)
    }

    async fn create(
        &mut self,
        request: &ApiRequest,
        placeholder: &str,
        name: &str,
    ) -> Result<String, String> {
        let made: Item = self.parsed(request, || json!({"id": placeholder, "name": name}), TO_NOTIFY).await?;
        self.progress.made(&made.id);
        Ok(made.id)
    }
}
