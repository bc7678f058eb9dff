//! The steps up to the two instances: the token, the resource group, the plans, the instances themselves, until they are
//! active.

use std::time::{Duration, Instant};

use serde_json::json;

use super::steps::{Run, Wanted};
use crate::external::ibm::Crn;
use crate::external::ibm::global_catalog::{self, Entries};
use crate::external::ibm::resource_controller::{self, Groups, Instance, Instances, NewInstance};

const PERMISSION: &str = "the platform role Editor on Secrets Manager and Event Notifications, and Viewer on the \
                          resource group";
const ACTIVE: &str = "active";
const POLL: Duration = Duration::from_secs(5);
/// How often the wait is spoken of.
const REPORT: Duration = Duration::from_secs(30);

impl Run<'_> {
    pub async fn resource_group(&mut self, name: Option<&str>) -> Result<String, String> {
        self.progress.begin("token and resource group");
        if self.api.is_dry() {
            let request = self.api.client().token_request();
            self.call(&request, || json!({}), PERMISSION).await?;
        }
        let request = resource_controller::resource_group(name);
        let assumed =
            || json!({"resources": [{"id": "{resource-group}", "name": name.unwrap_or("Default")}]});
        let groups: Groups = self.parsed(&request, assumed, PERMISSION).await?;
        let Some(group) =
            groups.resources.into_iter().find(|group| name.is_none_or(|name| group.name == name))
        else {
            let cause = match name {
                Some(name) => format!("there is no resource group {name} that the API key can see"),
                None => "the account has no default resource group that the API key can see".into(),
            };
            return Err(self.progress.failed(cause, "name one with --resource-group"));
        };
        self.progress.done(format_args!("resource group {}", group.name));
        Ok(group.id)
    }

    /// The id of a plan. An id is taken as it is.
    pub async fn plan(&mut self, service: &str, plan: &str) -> Result<String, String> {
        self.progress.begin(format!("plan {plan} of {service}"));
        if is_uuid(plan) {
            self.progress.done("it is an id");
            return Ok(plan.to_owned());
        }
        let assumed = || json!({"resources": [{"id": service, "name": service, "kind": "service"}]});
        let entries: Entries =
            self.parsed(&global_catalog::find_service(service), assumed, PERMISSION).await?;
        let found =
            entries.resources.into_iter().find(|entry| entry.name == service && entry.kind == "service");
        let Some(found) = found else {
            return Err(self.progress.failed(
                format_args!("the catalog has no service {service}"),
                "give the id of the plan in place of its name",
            ));
        };
        let assumed =
            || json!({"resources": [{"id": format!("{{plan-{plan}-of-{service}}}"), "name": plan}]});
        let plans: Entries = self.parsed(&global_catalog::plans(&found.id), assumed, PERMISSION).await?;
        if let Some(entry) = plans.resources.iter().find(|entry| entry.name == plan) {
            self.progress.done(format_args!("its id is {}", entry.id));
            return Ok(entry.id.clone());
        }
        let known: Vec<_> = plans.resources.iter().map(|entry| entry.name.as_str()).collect();
        let cause = format!("{service} has no plan {plan}; it has {}", known.join(", "));
        Err(self.progress.failed(cause, "name one of them"))
    }

    /// Finds the instance or makes it, without a wait.
    pub async fn instance(&mut self, wanted: &Wanted<'_>) -> Result<Instance, String> {
        let Wanted { service, name, plan, plan_name, resource_group } = wanted;
        self.progress.begin(format!("{service} instance {name}"));
        if let Some(found) = self.find_instance(service, name).await? {
            if found.resource_plan_id != *plan {
                self.progress
                    .differs(format_args!("its plan is {}, not {plan_name}", found.resource_plan_id));
            }
            self.progress.kept(&found.crn);
            return Ok(found);
        }
        let region = self.region;
        let new = NewInstance { name, region, resource_group, plan, tag: &self.names.tag };
        let crn = format!("crn:v1:bluemix:public:{service}:{region}:a/{{account}}:{{{service}}}::");
        let assumed = || json!({"crn": crn, "guid": format!("{{{service}}}"), "state": "provisioning"});
        let made: Instance = self.parsed(&resource_controller::create(&new), assumed, PERMISSION).await?;
        self.progress.made(&made.crn);
        Ok(made)
    }

    /// By its name, of this service and in this region.
    pub async fn find_instance(&mut self, service: &str, name: &str) -> Result<Option<Instance>, String> {
        let request = resource_controller::find(name);
        let list: Instances = self.parsed(&request, || json!({"resources": []}), PERMISSION).await?;
        let region = self.region;
        let mut found = list.resources.into_iter().filter(|instance| {
            let crn = instance.crn.parse::<Crn>();
            instance.name == name && crn.is_ok_and(|crn| crn.service == service && crn.region == region)
        });
        let first = found.next();
        if found.next().is_some() {
            return Err(self.progress.failed(
                format_args!("there is more than one {service} instance named {name} in {region}"),
                "rename all but one of them",
            ));
        }
        Ok(first)
    }

    /// Waits until the instance can be used.
    pub async fn active(&mut self, instance: Instance, name: &str) -> Result<(Crn, String), String> {
        let begin = Instant::now();
        let mut reported = begin;
        self.progress.begin(format!("{name} active"));
        let request = resource_controller::instance(&instance.guid);
        let mut now = instance;
        while now.state != ACTIVE {
            if now.state == "failed" || now.last_operation.as_ref().is_some_and(|last| last.state == "failed")
            {
                let cause = now.last_operation.map(|last| last.description).unwrap_or_default();
                return Err(self.progress.failed(
                    format_args!("IBM Cloud could not make it: {cause}"),
                    "remove the instance, and choose another plan or region if that is the cause",
                ));
            }
            if begin.elapsed() > self.timeout {
                return Err(self.progress.failed(
                    format_args!("it is still {}", now.state),
                    "give it more time with --timeout, or look at the instance in the console of IBM Cloud",
                ));
            }
            let assumed = || json!({"crn": now.crn, "guid": now.guid, "state": ACTIVE});
            now = self.parsed(&request, assumed, PERMISSION).await?;
            if now.state != ACTIVE {
                if begin == reported || reported.elapsed() > REPORT {
                    self.progress.waits(&now.state, begin.elapsed());
                    reported = Instant::now();
                }
                tokio::time::sleep(self.poll(POLL)).await;
            }
        }
        self.progress.done("active");
        let crn = now.crn.parse().map_err(|error: String| self.progress.failed(error, "report this"))?;
        Ok((crn, now.guid))
    }
}

fn is_uuid(text: &str) -> bool {
    text.split('-').map(str::len).eq([8, 4, 4, 4, 12])
        && text.chars().all(|c| c == '-' || c.is_ascii_hexdigit())
}
