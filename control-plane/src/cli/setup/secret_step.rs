//! The secret: found by its name, or imported.

use serde_json::json;

use super::certificate::Certificate;
use super::files::Files;
use super::steps::Run;
use crate::external::ibm::secrets_manager::{self, Metadata, NewCertificate, Secrets};

const TO_IMPORT: &str = "the service role Manager or Writer on Secrets Manager";

impl Run<'_> {
    pub async fn secret(&mut self, certificate: &Certificate, files: &Files) -> Result<(), String> {
        let names = self.names;
        self.progress.begin(format!("secret {}", names.secret));
        if let Some(found) = self.find_secret().await? {
            self.progress.kept(&found.id);
            return Ok(());
        }
        let pem =
            if self.api.is_dry() { certificate.placeholder() } else { certificate.pem(&names.secret)? };
        let new = NewCertificate {
            certificate: &pem.certificate,
            intermediate: pem.intermediate.as_deref(),
            private_key: &pem.private_key,
        };
        let request = secrets_manager::import(&names.secret, &names.mark, &names.label, &new);
        // Before the secret: its root is nowhere else.
        if let Some(root) = pem.root.as_ref().filter(|_| !self.api.is_dry()) {
            files.write_root(root)?;
        }
        let assumed = || json!({"id": "{secret}", "name": names.secret});
        let made: Metadata = self.parsed(&request, assumed, TO_IMPORT).await?;
        self.progress.made(&made.id);
        Ok(())
    }

    pub async fn find_secret(&mut self) -> Result<Option<Metadata>, String> {
        let name = &self.names.secret;
        let request = secrets_manager::find(name);
        let found: Secrets = self.parsed(&request, || json!({"secrets": []}), TO_IMPORT).await?;
        Ok(found.secrets.into_iter().find(|secret| secret.name == *name))
    }
}
