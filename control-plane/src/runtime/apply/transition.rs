//! A step of an authority: the keyring is read, changed as a whole and written over the one that the
//! step was planned on.

use std::time::SystemTime;

use tracing::{info, warn};

use super::{Applier, ApplyError};
use crate::api::condition::EventReason;
use crate::api::settings::AuthoritySettings;
use crate::pki::authority::{Authority, AuthorityError, AuthorityRequest};
use crate::pki::keyring::{Keyring, Override, Rollover, RootId};
use crate::planner::Transition;
use crate::planner::observed::ResourceVersion;
use crate::store::{ObjectRef, Store, StoreError};

/// Of a subject's common name.
const COMMON_NAME_MAX: usize = 64;

impl<S: Store> Applier<S> {
    pub(super) async fn transition(
        &self,
        authority: &str,
        transition: &Transition,
        over: Option<&ResourceVersion>,
        now: SystemTime,
    ) -> Result<(), ApplyError> {
        let conflict = || StoreError::Conflict(format!("the keyring of {authority}"));
        let keyring = match transition {
            Transition::CreateRoot { settings } => Keyring::new(self.new_root(settings, now).await?),
            _ => {
                let (mut keyring, resource_version) =
                    self.store.keyring(authority).await?.ok_or_else(conflict)?;
                if over != Some(&resource_version) || !self.take(&mut keyring, transition, now).await? {
                    return Err(conflict().into());
                }
                keyring.tidy();
                keyring
            }
        };
        self.store.put_keyring(authority, &keyring, over).await?;
        self.remembered().remove(authority);
        let (warning, reason, message) = said(transition, &keyring);
        if warning {
            warn!(authority, reason = reason.as_str(), "{message}");
        } else {
            info!(authority, reason = reason.as_str(), "{message}");
        }
        self.tell(ObjectRef::Authority(authority.to_owned()), warning, reason, message).await;
        Ok(())
    }

    /// `false` if the step does not lead on from where the keyring is.
    async fn take(
        &self,
        keyring: &mut Keyring,
        transition: &Transition,
        now: SystemTime,
    ) -> Result<bool, ApplyError> {
        Ok(match transition {
            Transition::CreateRoot { .. } => false,
            Transition::BeginRollover { settings, why, request } => {
                let to = self.successor(keyring, settings, now).await?;
                if let Some((verb, id)) = request {
                    keyring.state.record_handled(verb, id, "begun", now);
                }
                keyring.state.begin(to, why.clone(), now)
            }
            Transition::AdvanceRollover { out_of } => keyring.state.advance(*out_of, now),
            Transition::ReverseRollover { why, request } => {
                keyring.state.record_handled("reverse", request, "reversed", now);
                keyring.state.reverse(why.clone(), now)
            }
            Transition::OverrideBlockers { pods, reason, request } => {
                keyring.state.record_handled("override", request, "the rollover goes on without them", now);
                keyring.state.add_overrides(pods.iter().map(|(pod, uid)| Override {
                    pod: pod.clone(),
                    uid: uid.clone(),
                    reason: reason.clone(),
                    at: now,
                }))
            }
            Transition::RemoveRoot { settings, root, why, request } => {
                let new = match keyring.state.survivor(root) {
                    None => Some(self.successor(keyring, settings, now).await?),
                    Some(_) => None,
                };
                keyring.state.record_handled("remove-root", request, "removed", now);
                keyring.state.remove(root, new, why.clone(), now)
            }
            Transition::CloseRequest { verb, request, outcome } => {
                keyring.state.record_handled(verb, request, outcome.clone(), now);
                true
            }
        })
    }

    async fn successor(
        &self,
        keyring: &mut Keyring,
        settings: &AuthoritySettings,
        now: SystemTime,
    ) -> Result<RootId, ApplyError> {
        let root = self.new_root(settings, now).await?;
        if keyring.roots.contains_key(&RootId::of(&root)) {
            let cause = "it is the one that is to be replaced: put another one there";
            return Err(AuthorityError::NotImported(cause.into()).into());
        }
        Ok(keyring.add(root))
    }

    /// The one that is there to be imported, or a new one.
    async fn new_root(&self, settings: &AuthoritySettings, now: SystemTime) -> Result<Authority, ApplyError> {
        if let Some(secret) = &settings.import {
            let pem = self.store.import(secret).await?;
            let root = Authority::import(&pem.certificate, &pem.key)?;
            return if now < root.not_after() && root.not_before() <= now {
                Ok(root)
            } else {
                Err(AuthorityError::NotImported("it is not valid at this time".into()).into())
            };
        }
        let request = AuthorityRequest {
            common_name: distinct(&settings.common_name)?,
            algorithm: settings.algorithm,
            lifetime: settings.lifetime,
        };
        let made = tokio::task::spawn_blocking(move || Authority::create(&request, now)).await;
        Ok(made.map_err(|error| ApplyError::Broken(error.to_string()))??)
    }
}

/// Roots of one authority have names of their own, so that people can tell them apart.
fn distinct(common_name: &str) -> Result<String, AuthorityError> {
    let mut random = [0; 3];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| AuthorityError::NoRandomness)?;
    let suffix = hotcert_agent::tls::hex::hex(&random);
    let name: String = common_name.chars().take(COMMON_NAME_MAX - suffix.len() - 1).collect();
    Ok(format!("{name} {suffix}"))
}

/// What it was done on.
fn by(rollover: &Rollover) -> String {
    match (rollover.forced, rollover.overrides.len()) {
        (true, _) => "by force: pods were not waited for".into(),
        (false, 0) => "on proof from every pod".into(),
        (false, many) => format!("on proof from every pod but {many} that a person has let go"),
    }
}

/// For the log and for an Event: whether it is a warning, a word, and a sentence.
fn said(transition: &Transition, keyring: &Keyring) -> (bool, EventReason, String) {
    let signing = keyring.state.signing();
    match transition {
        Transition::CreateRoot { settings } if settings.import.is_some() => {
            (false, EventReason::RootImported, format!("the root {signing} was imported"))
        }
        Transition::CreateRoot { .. } => {
            (false, EventReason::RootCreated, format!("the root {signing} was made"))
        }
        Transition::BeginRollover { why, .. } => {
            let to = keyring.state.rollover().map(|rollover| rollover.to.to_string()).unwrap_or_default();
            (false, EventReason::RolloverStarted, format!("from the root {signing} to {to}: {why}"))
        }
        Transition::AdvanceRollover { .. } => match keyring.state.rollover() {
            Some(rollover) => {
                let message = format!("to {}, {}", rollover.phase.as_str(), by(rollover));
                (false, EventReason::RolloverAdvanced, message)
            }
            None => {
                let by =
                    keyring.state.rollover_history.last().map(|past| by(&past.rollover)).unwrap_or_default();
                (false, EventReason::RolloverEnded, format!("{signing} is the only root, {by}"))
            }
        },
        Transition::ReverseRollover { why, .. } => {
            (true, EventReason::RolloverReversed, format!("back to {signing}: {why}"))
        }
        Transition::OverrideBlockers { pods, reason, .. } => {
            let pods: Vec<_> = pods.iter().map(|(pod, _)| pod.as_str()).collect();
            (
                true,
                EventReason::Overridden,
                format!("the rollover goes on without {}: {reason}", pods.join(", ")),
            )
        }
        Transition::RemoveRoot { root, why, .. } => {
            (true, EventReason::RootRemoved, format!("{root}: {why}; {signing} signs from now on"))
        }
        Transition::CloseRequest { verb, outcome, .. } => {
            (true, EventReason::RequestHandled, format!("{verb}: {outcome}"))
        }
    }
}
