//! The APIs as a run uses them: requests are sent, or, in a dry run, printed and answered as an empty account would.

use hotcert_log::outln;
use serde_json::Value;

use crate::external::ibm::{Answer, ApiRequest, Client, IbmError, Service};

pub enum Api {
    Live(Client),
    /// The client sends nothing; it knows the addresses.
    Dry(Client),
}

impl Api {
    /// `assumed`: what a dry run goes on with.
    pub async fn call(
        &mut self,
        request: &ApiRequest,
        assumed: impl FnOnce() -> Value,
    ) -> Result<Answer, IbmError> {
        match self {
            Self::Live(client) => client.send(request).await,
            Self::Dry(client) => {
                outln!("{}\n", request.describe(&client.base(request.service)));
                Ok(Answer::assumed(request.service, assumed()))
            }
        }
    }

    /// What it answers, or `None` for 404.
    pub async fn find(
        &mut self,
        request: &ApiRequest,
        assumed: impl FnOnce() -> Value,
    ) -> Result<Option<Answer>, IbmError> {
        match self.call(request, assumed).await {
            Err(error) if error.is_not_found() => Ok(None),
            answer => answer.map(Some),
        }
    }

    pub fn is_dry(&self) -> bool {
        matches!(self, Self::Dry(_))
    }

    pub fn client(&mut self) -> &mut Client {
        match self {
            Self::Live(client) | Self::Dry(client) => client,
        }
    }

    pub fn secrets_manager_url(&mut self) -> String {
        self.client().base(Service::SecretsManager)
    }
}
