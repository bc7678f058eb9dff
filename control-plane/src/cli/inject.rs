//! `hotcert inject`: adds the agent to workloads in YAML, standard input to standard output.

use std::io::{ErrorKind, IsTerminal, Read, Write, stderr, stdin, stdout};
use std::process::ExitCode;

use clap::Args;
use hotcert_log::errln;

use crate::inject::AGENT_IMAGE;
use crate::inject::documents::MAX_BYTES;
use crate::inject::sidecar_kind::SidecarKind;
use crate::inject::stream::{self, Options, Rbac};

const EXAMPLE: &str = "\
Puts the agent into every pod that asks for it by the label hotcert.dev/inject: enabled, on its
template or on its Namespace in the same stream: Pods, Deployments, StatefulSets, DaemonSets,
ReplicaSets, Jobs, CronJobs, and Lists of them.

Example: in a Deployment whose app listens on 127.0.0.1:8080, write

  spec:
    template:
      metadata:
        labels:
          hotcert.dev/inject: enabled
        annotations:
          hotcert.dev/secret: payments-tls         # tls.crt, tls.key, ca.crt
          hotcert.dev/inbound: http:8443=8080      # mTLS on 8443, plain to the app; h2c: for gRPC
          hotcert.dev/outbound: http:9001=orders.shop.svc:8443
          hotcert.dev/allow: spiffe://cluster.local/ns/shop/sa/storefront
      spec:
        serviceAccountName: payments             # its own, because it may read the Secret
        automountServiceAccountToken: false      # the agent has a token of its own

and apply it with its agent, and with permission for the agent to watch that Secret:

  hotcert inject --rbac --namespace shop < payments.yaml | kubectl apply -f -

Further annotations: http-proxy, expect-name, client-auth (require|none), api (enabled|disabled),
sidecar (native|container), cpu-request, memory-request, cpu-limit, memory-limit, log. Documents
that ask for nothing pass byte for byte; a mistake stops everything, and nothing is printed.";

#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct InjectArgs {
    /// No file is read; the error says what to write instead
    #[arg(hide = true, value_name = "FILE", value_parser = no_file)]
    pub file: Option<String>,
    /// The agent's image
    #[arg(long, env = "HOTCERT_AGENT_IMAGE", default_value = AGENT_IMAGE, value_name = "IMAGE")]
    pub agent_image: String,
    /// `native` needs Kubernetes 1.29 or newer, else the pod never starts; the annotation wins
    #[arg(long, default_value = "native", value_name = "KIND")]
    pub sidecar: SidecarKind,
    /// The namespace of documents that name none; --rbac needs it for them
    #[arg(long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
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

fn no_file(file: &str) -> Result<String, String> {
    Err(format!("inject reads standard input: write hotcert inject < {file}"))
}

pub(super) fn run(args: &InjectArgs) -> ExitCode {
    if stdin().is_terminal() {
        errln!("error: give YAML on standard input: hotcert inject < deployment.yaml");
        return ExitCode::FAILURE;
    }
    match convert(stdin(), stdout().lock(), stderr().lock(), args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // Nobody reads on, as in `hotcert inject < pod.yaml | head`.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            errln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether it succeeded; if not, nothing was written to `out`, and the errors are in `log`.
fn convert(
    input: impl Read,
    mut out: impl Write,
    mut log: impl Write,
    args: &InjectArgs,
) -> std::io::Result<bool> {
    let InjectArgs { agent_image, sidecar, namespace, rbac, file: _ } = args.clone();
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX);
    input.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    match stream::inject_stream(&bytes, &Options { agent_image, sidecar, namespace, rbac }) {
        Ok(injected) => {
            for warning in &injected.warnings {
                let _ = writeln!(log, "warning: {warning}");
            }
            out.write_all(injected.yaml.as_bytes())?;
            out.flush()?;
            Ok(true)
        }
        Err(errors) => {
            for error in errors {
                let _ = writeln!(log, "error: {error}");
            }
            Ok(false)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        inject: InjectArgs,
    }

    fn args(args: &[&str]) -> InjectArgs {
        Cli::try_parse_from([&["inject"], args].concat()).unwrap().inject
    }

    /// Standard output, standard error, and whether it succeeded.
    fn converted(input: &str, flags: &[&str]) -> (String, String, bool) {
        let (mut out, mut log) = (Vec::new(), Vec::new());
        let ok = convert(input.as_bytes(), &mut out, &mut log, &args(flags)).unwrap();
        (String::from_utf8(out).unwrap(), String::from_utf8(log).unwrap(), ok)
    }

    fn pod(inbound: &str) -> String {
        format!(
            "apiVersion: v1
kind: Pod
metadata:
  name: payments
  labels: {{hotcert.dev/inject: enabled}}
  annotations: {{hotcert.dev/secret: payments-tls, hotcert.dev/inbound: {inbound}}}
spec:
  containers: [{{name: app}}]
"
        )
    }

    #[test]
    fn an_invalid_document_prints_nothing_but_its_location() {
        let (out, log, ok) = converted(&format!("a: 1\n---\n{}", pod("8443")), &[]);
        assert_eq!((out.as_str(), ok), ("", false));
        assert!(log.starts_with("error: document 2 (Pod default/payments):"), "{log}");
    }

    #[test]
    fn warnings_go_to_standard_error_and_the_result_to_standard_output() {
        let (out, log, ok) =
            converted(&pod("443=8080"), &["--agent-image", "agent:2", "--sidecar", "container"]);
        assert!(ok && out.contains("image: agent:2\n") && out.contains("injected: container\n"), "{out}");
        assert!(log.starts_with("warning: document 1 (Pod default/payments): port 443"), "{log}");
        assert!(!out.contains("kind: Role\n"));
    }

    #[test]
    fn rbac_is_appended_or_alone() {
        assert_eq!(args(&[]).rbac, Rbac::Without);
        let (with, _, _) = converted(&pod("8443=8080"), &["--rbac", "--namespace", "shop"]);
        assert!(
            with.contains("kind: Pod\n")
                && with.contains("kind: Role\n")
                && with.contains("namespace: shop\n")
        );
        let (only, _, _) = converted(&pod("8443=8080"), &["--rbac=only", "--namespace=shop"]);
        assert!(!only.contains("kind: Pod\n") && only.contains("kind: RoleBinding\n"), "{only}");
    }

    #[test]
    fn a_file_is_refused_with_the_way_to_read_it() {
        let error = Cli::try_parse_from(["inject", "payments.yaml"]).err().unwrap().to_string();
        assert!(error.contains("hotcert inject < payments.yaml"), "{error}");
        let help = <Cli as clap::CommandFactory>::command().render_help().to_string();
        assert!(!help.contains("FILE"), "{help}");
    }

    #[test]
    fn the_default_image_is_this_version() {
        assert_eq!(args(&[]).agent_image, concat!("hotcert-agent:", env!("CARGO_PKG_VERSION")));
    }

    #[test]
    fn the_example_of_the_help_works() {
        let start = EXAMPLE.find("  spec:\n").unwrap();
        let end = EXAMPLE.find("\n\nand apply").unwrap();
        let spec: String = EXAMPLE[start..end].lines().map(|line| format!("{}\n", &line[2..])).collect();
        let deployment = format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: payments}}\n{spec}      containers: [{{name: app}}]\n"
        );
        let (out, log, ok) = converted(&deployment, &["--rbac", "--namespace", "shop"]);
        assert!(ok && log.is_empty(), "{log}");
        assert!(out.contains("value: http:[::]:8443=127.0.0.1:8080\n"), "{out}");
    }
}
