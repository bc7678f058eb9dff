//! The admission webhook shares its server with the receiver, and pods that ask for the agent are not created while it
//! does not answer. Its controller needs a real API server.

use std::sync::Arc;

use kit::agent::Launch;
use kit::dialer::{Dialer, Group};
use kit::kube::{ApiServer, SYSTEM};
use serde_json::json;

use super::Row;
use super::receiver::{anonymous, head, slow_uploads, without_last_byte};
use crate::Times;
use crate::attacker::Attacker;
use crate::compared::{BESIDE_WORK, compare};
use crate::figures::Line;
use crate::honest::{Ask, Plan};

pub const ROW: Row = Row {
    name: "webhook",
    attack: "strangers hold 1,100 connections to the admission webhook, or 1,000 slow uploads, or 100 uploads without \
             their last byte",
    measure,
    attacks: &[
        ("webhook-anonymous", anonymous),
        ("webhook-slow-upload", |target| slow_uploads(target, PATH, BODY)),
        ("webhook-last-byte", |target| without_last_byte(target, PATH, BODY)),
    ],
};

const KINDS: [(&str, usize); 3] =
    [("webhook-anonymous", 1100), ("webhook-slow-upload", 1000), ("webhook-last-byte", 100)];
/// 64 MiB of bodies, and 80 KiB of buffers for each of 1,024 connections, whose heads may have 64 KiB.
const MOST_MIB: u64 = 144;
/// The largest review that is taken.
const BODY: usize = 4 << 20;
const PATH: &str = "/mutate/pods";

fn measure(times: Times) -> anyhow::Result<Vec<Line>> {
    let server = ApiServer::start();
    server.namespace(SYSTEM);
    let account = server.service_account(SYSTEM, "hotcert-controller");
    for manifest in ["base/crds.yaml", "base/rbac.yaml", "base/webhook.yaml"] {
        server.apply(manifest);
    }
    let controller = Launch::controller(&account.kubeconfig).args(["--namespace", SYSTEM]).ready();
    let address = controller.address("webhook");
    let tls = Dialer::anonymous(Group::X25519)?.config();
    let review = review();
    let (mut lines, mut rest) = (Vec::new(), None);
    for (kind, connections) in KINDS {
        // An API server keeps its connections, and opens one when none is free.
        let visits = Plan::visits(address, tls.clone(), Arc::clone(&review));
        let plans = vec![Plan { kept: (4, 40), ..visits }];
        let compared = compare(times.each(), controller.id(), plans, || {
            Ok(vec![Attacker::start(kind, address, connections, None)?])
        })?;
        let kind = format!("{}: ", kind.trim_start_matches("webhook-"));
        lines.extend(compared.honest(&kind, BESIDE_WORK));
        // What an attack leaves behind must not excuse the next.
        let rest = *rest.get_or_insert(compared.kib.0);
        lines.push(compared.memory(&kind, rest, MOST_MIB));
    }
    Ok(lines)
}

/// Of a pod that asks for nothing.
fn review() -> Ask {
    let pod = json!({ "kind": "Pod", "metadata": { "name": "a" }, "spec": { "containers": [] } });
    let kind = json!({ "group": "", "version": "v1", "kind": "Pod" });
    let request = json!({ "uid": "1", "kind": kind, "namespace": "shop", "object": pod });
    let review =
        json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request });
    let body = review.to_string();
    let request = format!("{}content-type: application/json\r\n\r\n{body}", head(PATH, body.len()));
    Arc::new(move || request.clone().into_bytes())
}
