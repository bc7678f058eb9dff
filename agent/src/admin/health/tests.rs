//! What makes the agent unready, at any time that the clock may show.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use super::*;
use crate::proxy_fixture::{context, identity_of, leaf_from, publish, root};

const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test]
async fn leaf_that_is_not_valid_at_the_time_of_the_clock_makes_the_agent_unready() {
    let (now, root) = (SystemTime::now(), root("root"));
    let (mut publisher, context) = context();
    let leaf = leaf_from(&root, now - DAY, now + DAY);
    let snapshot = publish(&mut publisher, &identity_of(&leaf, &[&root]));
    let status = AgentStatus::new();
    status.update(|report| {
        report.self_check = Some(SelfCheck { generation: snapshot.generation, at: now, result: Ok(None) });
    });
    let health = Health { context: Arc::clone(&context), status };
    assert_eq!(health.unready(now), None);
    let set_back = health.unready(now - 3 * DAY).unwrap();
    assert!(
        set_back.starts_with("the served certificate or its chain is not valid before ")
            && set_back.ends_with(": set the clock of this machine"),
        "{set_back}"
    );
    assert_eq!(health.json(now - 3 * DAY)["ready"], false);
    let expired = health.unready(now + 3 * DAY).unwrap();
    assert!(expired.starts_with("the served certificate or its chain expired at "), "{expired}");
    assert_eq!(health.unready(now), None);
}
