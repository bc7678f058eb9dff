//! A transition of an authority: the keyring is read, changed and written as a whole, over the one that the
//! transition was planned on.

use std::time::SystemTime;

use tracing::{info, warn};

use super::Applier;
use super::error::ApplyError;
use crate::api::condition::EventReason;
use crate::api::request::{self, RequestOutcome, reason_text};
use crate::api::settings::AuthoritySettings;
use crate::pki::authority::{Authority, AuthorityError, AuthorityRequest};
use crate::pki::keyring::{Keyring, Override, Phase, Rollover, RootId};
use crate::planner::Transition;
use crate::planner::observed::ResourceVersion;
use crate::runtime::apply::kubernetes_event::{event, is_warning};
use crate::store::{ObjectRef, Store, StoreError};

/// The longest common name that X.509 allows.
const COMMON_NAME_MAX: usize = 64;

impl<S: Store> Applier<S> {
    pub(super) async fn transition(
        &self,
        authority: &str,
        transition: &Transition,
        expected: Option<&ResourceVersion>,
        now: SystemTime,
    ) -> Result<(), ApplyError> {
        let conflict = || StoreError::Conflict(format!("the keyring of {authority}"));
        let keyring = match transition {
            Transition::CreateRoot { settings } => Keyring::new(self.new_root(settings, now).await?),
            _ => {
                let (mut keyring, version) = self.store.keyring(authority).await?.ok_or_else(conflict)?;
                if expected != Some(&version) || !self.change(&mut keyring, transition, now).await? {
                    return Err(conflict().into());
                }
                keyring.tidy();
                keyring
            }
        };
        self.store.put_keyring(authority, &keyring, expected).await?;
        self.keyrings.remove(authority);
        let Some((reason, message)) = describe(transition, &keyring) else { return Ok(()) };
        if is_warning(reason) {
            warn!(authority, reason = reason.as_str(), "{message}");
        } else {
            info!(authority, reason = reason.as_str(), "{message}");
        }
        let object = ObjectRef::Authority(authority.to_owned());
        self.store.record_event(&event(object, reason, message)).await;
        Ok(())
    }

    /// `false` if the keyring does not allow the transition in its present state.
    async fn change(
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
                    keyring.state.record_handled(verb, id, RequestOutcome::Begun, now);
                }
                keyring.state.begin(to, why.clone(), now)
            }
            Transition::AdvanceRollover { out_of } => keyring.state.advance(*out_of, now),
            Transition::ReverseRollover { why, request } => {
                keyring.state.record_handled(request::REVERSE, request, RequestOutcome::Reversed, now);
                keyring.state.reverse(why.clone(), now)
            }
            Transition::OverrideBlockers { pods, moves, reason, request } => {
                keyring.state.record_handled(request::OVERRIDE, request, RequestOutcome::Overridden, now);
                keyring.state.override_moves(moves.iter().map(|(_, secret)| secret.clone()));
                keyring.state.add_overrides(pods.iter().map(|(pod, uid)| Override {
                    pod: pod.clone(),
                    uid: uid.clone(),
                    reason: reason.clone(),
                    at: now,
                })) || !moves.is_empty()
            }
            Transition::RemoveRoot { settings, root, why, request } => {
                let new = match keyring.state.survivor(root) {
                    None => Some(self.successor(keyring, settings, now).await?),
                    Some(_) => None,
                };
                keyring.state.record_handled(request::REMOVE_ROOT, request, RequestOutcome::Removed, now);
                keyring.state.remove(root, new, why.clone(), now)
            }
            Transition::ChangeLedger(change) => {
                keyring.state.change_ledger(change);
                true
            }
            Transition::ReportUnknownRoot(unknown) => {
                keyring.state.unknown_root = Some(unknown.clone());
                true
            }
            Transition::DisregardUnknownRoot { request, .. } => {
                keyring.state.record_handled(request::ACCEPT_KEYRING, request, RequestOutcome::Accepted, now);
                keyring.state.disregard_unknown_root(now)
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

    /// The root in the Secret that the spec imports, or a generated one.
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
            common_name: unique_name(&settings.common_name)?,
            algorithm: settings.algorithm,
            lifetime: settings.lifetime,
            permitted_dns_domains: settings.permitted_dns_domains.clone(),
        };
        let made = tokio::task::spawn_blocking(move || Authority::create(&request, now)).await;
        Ok(made.map_err(|error| ApplyError::Panicked(error.to_string()))??)
    }
}

/// Roots of one authority have different names, so that people can tell them apart.
fn unique_name(common_name: &str) -> Result<String, AuthorityError> {
    let mut random = [0; 3];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| AuthorityError::NoRandomness)?;
    let suffix = hex::encode(random);
    let name: String = common_name.chars().take(COMMON_NAME_MAX - suffix.len() - 1).collect();
    Ok(format!("{name} {suffix}"))
}

/// Why the phase before could end. A client under a root that has expired is accepted nowhere, so that no pod can
/// prove anything about it.
fn grounds(rollover: &Rollover, keyring: &Keyring) -> String {
    let from = keyring.roots.get(&rollover.from);
    let is_expired = from.is_some_and(|from| from.not_after() <= rollover.phase_started_at);
    if rollover.phase == Phase::Reissuing && !rollover.forced && is_expired {
        return "not proved, because the old root has expired".into();
    }
    rollover.grounds()
}

/// For the log and an Event, if it is worth one. `keyring` is as the transition left it.
fn describe(transition: &Transition, keyring: &Keyring) -> Option<(EventReason, String)> {
    let signing = keyring.state.signing();
    Some(match transition {
        // There is one for each certificate that is created.
        Transition::ChangeLedger(_) => return None,
        Transition::ReportUnknownRoot(unknown) => {
            (EventReason::KeyringOutdated, format!("{unknown}: nothing is issued, and no root is retired"))
        }
        Transition::DisregardUnknownRoot { why, .. } => {
            (EventReason::KeyringAccepted, format!("the keyring counts again: {}", reason_text(why)))
        }
        Transition::CreateRoot { settings } if settings.import.is_some() => {
            (EventReason::RootImported, format!("the root {signing} was imported"))
        }
        Transition::CreateRoot { .. } => {
            (EventReason::RootCreated, format!("the root {signing} was created"))
        }
        Transition::BeginRollover { why, .. } => {
            let to = keyring.state.rollover().map(|rollover| rollover.to.to_string()).unwrap_or_default();
            (
                EventReason::RolloverStarted,
                format!("rollover started from root {signing} to {to}, {}", reason_text(why)),
            )
        }
        Transition::AdvanceRollover { .. } => match keyring.state.rollover() {
            Some(rollover) => {
                let message = format!("phase {}: {}", rollover.phase.as_str(), grounds(rollover, keyring));
                (EventReason::RolloverAdvanced, message)
            }
            None => {
                let grounds = keyring
                    .state
                    .rollover_history
                    .last()
                    .map(|past| past.rollover.grounds())
                    .unwrap_or_default();
                (EventReason::RolloverEnded, format!("rollover ended, {signing} is the only root: {grounds}"))
            }
        },
        Transition::ReverseRollover { why, .. } => (
            EventReason::RolloverReversed,
            format!("rollover reversed to root {signing}: {}", reason_text(why)),
        ),
        Transition::OverrideBlockers { pods, moves, reason, .. } => {
            let moves = moves.iter().map(|(certificate, _)| certificate.as_str());
            let pods: Vec<_> = pods.iter().map(|(pod, _)| pod.as_str()).chain(moves).collect();
            (EventReason::Overridden, format!("the rollover continues without {}: {reason}", pods.join(", ")))
        }
        Transition::RemoveRoot { root, why, .. } => (
            EventReason::RootRemoved,
            format!(
                "root {root} removed without waiting for pods: {}; root {signing} signs from now on",
                reason_text(why)
            ),
        ),
        Transition::CloseRequest { verb, outcome, .. } => {
            (EventReason::RequestHandled, format!("{verb}: {}", outcome.text()))
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_step_past_an_expired_root_is_not_called_proved() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let root = |name: &str, lifetime: u64| {
            let lifetime = Duration::from_secs(lifetime);
            let common_name = name.to_owned();
            Authority::create(&AuthorityRequest { common_name, lifetime, ..Default::default() }, now).unwrap()
        };
        let mut keyring = Keyring::new(root("old", 60));
        let to = keyring.add(root("new", 3600));
        assert!(keyring.state.begin(to, "why".into(), now));
        for (seconds, expected) in
            [(10, "proved by every pod"), (60, "not proved, because the old root has expired")]
        {
            let mut state = keyring.state.clone();
            assert!(state.advance(Phase::Distributing, now + Duration::from_secs(seconds)));
            assert_eq!(grounds(state.rollover().unwrap(), &keyring), expected, "after {seconds} s");
        }
    }
}
