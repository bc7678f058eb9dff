//! Requests of a step, with errors that say which step it is; and lists, page by page.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::steps::Run;
use crate::external::ibm::event_notifications::{Collection, Item, List};
use crate::external::ibm::{Answer, ApiRequest, IbmError};

pub const TO_NOTIFY: &str = "the service role Manager on Event Notifications";
/// Of a list that is longer than any that is expected.
pub const MAX_PAGES: usize = 100;

impl Run<'_> {
    pub async fn parsed<T: DeserializeOwned>(
        &mut self,
        request: &ApiRequest,
        assumed: impl FnOnce() -> Value,
        permission: &str,
    ) -> Result<T, String> {
        let answer = self.call(request, assumed, permission).await?;
        answer.parse().map_err(|error| self.progress.refused(&error, permission))
    }

    pub async fn call(
        &mut self,
        request: &ApiRequest,
        assumed: impl FnOnce() -> Value,
        permission: &str,
    ) -> Result<Answer, String> {
        let answer = self.api.call(request, assumed).await;
        answer.map_err(|error| self.progress.refused(&error, permission))
    }

    pub async fn named(
        &mut self,
        collection: Collection,
        instance: &str,
        name: &str,
    ) -> Result<Option<Item>, String> {
        let items = self.items(collection, instance, Some(name), json!({})).await?;
        Ok(items.into_iter().find(|item| item.name == name))
    }

    /// All pages of a list.
    pub async fn items(
        &mut self,
        collection: Collection,
        instance: &str,
        search: Option<&str>,
        assumed: Value,
    ) -> Result<Vec<Item>, String> {
        let mut items: Vec<Item> = Vec::new();
        for _ in 0..MAX_PAGES {
            let mut request = collection.list(instance, search);
            if !items.is_empty() {
                request = request.query("offset", items.len().to_string());
            }
            let list: List = self.parsed(&request, || assumed.clone(), TO_NOTIFY).await?;
            let is_last = list.items.is_empty();
            items.extend(list.items);
            if is_last || items.len() as u64 >= list.total_count {
                break;
            }
        }
        Ok(items)
    }

    /// Errors of requests that find nothing to remove are none.
    pub async fn remove(&mut self, request: &ApiRequest, permission: &str) -> Result<(), String> {
        match self.api.call(request, || json!({})).await {
            Err(error) if !is_gone(&error) => Err(self.progress.refused(&error, permission)),
            _ => Ok(()),
        }
    }
}

fn is_gone(error: &IbmError) -> bool {
    matches!(error.status().map(|status| status.as_u16()), Some(404 | 410))
}
