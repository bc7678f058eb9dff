//! The Cloud Resource Name of an instance: `crn:v1:bluemix:public:SERVICE:REGION:a/ACCOUNT:GUID::`.

use std::str::FromStr;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crn {
    pub service: String,
    pub region: String,
    pub account: String,
    pub instance: String,
    text: String,
}

impl Crn {
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for Crn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(':').collect();
        let ["crn", "v1", _, _, service, region, scope, instance, _, _] = parts[..] else {
            return Err(format!("{text:?} is not the CRN of an instance"));
        };
        let account = scope.strip_prefix("a/").filter(|account| !account.is_empty() && !instance.is_empty());
        let account = account.ok_or_else(|| format!("{text:?} has no account or no instance"))?;
        Ok(Self {
            service: service.to_owned(),
            region: region.to_owned(),
            account: account.to_owned(),
            instance: instance.to_owned(),
            text: text.to_owned(),
        })
    }
}
