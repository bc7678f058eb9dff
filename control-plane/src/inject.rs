//! Injection: a pod with the agent in it, for the webhook and for `hotcert inject`.
//!
//! [`pod`] is the pure function that both call. Around it: what the annotations ask for
//! (`settings`, `resources`), what is added (`container`), what is rewritten (`probes`), refused
//! (`ports`) or warned about (`warnings`). The command finds pods in a [`stream`] of YAML
//! (`documents`, `yaml`, `workload`), looks at the Services beside them (`services`) and writes the
//! permissions their agents need (`rbac`).

mod container;
mod documents;
mod nearest;
pub mod pod;
mod ports;
mod probes;
mod rbac;
mod resources;
mod services;
mod settings;
pub mod stream;
mod warnings;
mod workload;
mod yaml;

use std::io::{IsTerminal, Read, Write, stdin, stdout};
use std::process::ExitCode;

use clap::Args;

use documents::MOST_BYTES;
use pod::SidecarKind;
use stream::{Options, Rbac};

/// The agent of this very version.
pub const AGENT_IMAGE: &str = concat!("hotcert-agent:", env!("CARGO_PKG_VERSION"));

const EXAMPLE: &str = "\
Example: in a Deployment whose app listens on 127.0.0.1:8080, write

  spec:
    template:
      metadata:
        labels:
          hotcert.dev/inject: enabled
        annotations:
          hotcert.dev/secret: payments-tls         # tls.crt, tls.key, ca.crt
          hotcert.dev/inbound: http:8443=8080      # mTLS on 8443, plain to the app
          hotcert.dev/outbound: http:9001=orders.shop.svc:8443
          hotcert.dev/allow: spiffe://shop/ns/shop/sa/storefront

and apply it with its agent, and with leave for the agent to watch that Secret:

  hotcert inject --rbac < payments.yaml | kubectl apply -f -

Further annotations: http-proxy, expect-name, client-auth (require|none), api (enabled|disabled),
sidecar (native|container), cpu-request, memory-request, cpu-limit, memory-limit, log. Documents
that ask for nothing pass byte for byte; a mistake stops everything, and nothing is printed.";

/// Reads YAML (Pods, Deployments, StatefulSets, DaemonSets, ReplicaSets, Jobs, CronJobs, and Lists
/// of them) from standard input and prints it with the agent in every pod that asks for it, by the
/// label hotcert.dev/inject: enabled on its template or on its Namespace in the same stream.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct InjectArgs {
    /// The agent's image
    #[arg(long, env = "HOTCERT_AGENT_IMAGE", default_value = AGENT_IMAGE, value_name = "IMAGE")]
    pub agent_image: String,
    /// `native` needs Kubernetes 1.29 or newer, else the pod never starts; the annotation wins
    #[arg(long, default_value = "native", value_name = "KIND")]
    pub sidecar: SidecarKind,
    /// The namespace of documents that name none
    #[arg(long, default_value = "default", value_name = "NAMESPACE")]
    pub namespace: String,
    /// Print the Roles and RoleBindings that the agents need to read their Secrets through the API
    #[arg(
        long,
        num_args = 0..=1,
        require_equals = true,
        default_value = "without",
        default_missing_value = "with",
        value_name = "WHERE"
    )]
    pub rbac: Rbac,
}

pub fn main(args: &InjectArgs) -> ExitCode {
    let options = Options {
        agent_image: args.agent_image.clone(),
        sidecar: args.sidecar,
        namespace: args.namespace.clone(),
        rbac: args.rbac,
    };
    if stdin().is_terminal() {
        return fail("give YAML on standard input: hotcert inject < deployment.yaml");
    }
    let mut bytes = Vec::new();
    let most = u64::try_from(MOST_BYTES).unwrap_or(u64::MAX);
    if let Err(error) = stdin().take(most.saturating_add(1)).read_to_end(&mut bytes) {
        return fail(format!("standard input cannot be read: {error}"));
    }
    match stream::run(&bytes, &options) {
        Ok(injected) => {
            for note in &injected.notes {
                eprintln!("warning: {note}");
            }
            let mut out = stdout().lock();
            match out.write_all(injected.yaml.as_bytes()).and_then(|()| out.flush()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => fail(format!("standard output cannot be written: {error}")),
            }
        }
        Err(errors) => {
            for error in errors {
                eprintln!("error: {error}");
            }
            ExitCode::FAILURE
        }
    }
}

fn fail(why: impl std::fmt::Display) -> ExitCode {
    eprintln!("error: {why}");
    ExitCode::FAILURE
}
