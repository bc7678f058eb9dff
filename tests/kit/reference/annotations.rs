//! Labels and annotations of pods, from the table that injection reads them by; and the requests about objects, which
//! are annotations too.

use std::fmt::Write as _;

use hotcert::api::request;
use hotcert::inject::annotations::{ANNOTATIONS, INJECT_LABEL, PREFIX};

use super::cell;

const ABOUT: &str = "The control plane's webhook and `hotcert inject` read them on pods and pod templates. Lists are \
     separated by commas, 64 items and 4 KiB at most. A pod with an unknown annotation or an invalid value is rejected, \
     and the message names all of them.";

const REQUESTS: &str = "The commands write them on the objects; `kubectl annotate` and other tools may. The value is an ID and, \
     after a space, the arguments: 64 bytes and 8 KiB at most. A request with another ID is another request, and each is handled \
     once: `status.handledRequests` has its ID and, of an authority, the outcome. With `--dir` they are in a file that the \
     commands write.";

/// Each verb with the object, the arguments and the meaning.
const VERBS: [(&str, &str, &str, &str); 8] = [
    (request::ROTATE, "ServiceCertificate", "", "A new leaf now."),
    (
        request::ROLLBACK,
        "ServiceCertificate",
        "[to=N]",
        "The version N again. Default: the one before the published.",
    ),
    (
        request::ROLLOVER,
        "CertificateAuthority",
        "[REASON]",
        "A new root. Refused while a rollover is under way.",
    ),
    (request::REVERSE, "CertificateAuthority", "[REASON]", "The old root again, on the same proofs."),
    (
        request::OVERRIDE,
        "CertificateAuthority",
        "NAMESPACE/NAME[,…] REASON",
        "The rollover goes on without these pods, certificates and namespaces (`NAMESPACE/*`).",
    ),
    (
        request::REMOVE_ROOT,
        "CertificateAuthority",
        "ROOT REASON",
        "This root out of every bundle at once. ROOT: at least 8 digits of its SHA-256.",
    ),
    (
        request::ACCEPT_KEYRING,
        "CertificateAuthority",
        "REASON",
        "The keyring counts although a root is in use that it does not know (`KeyringOutdated`).",
    ),
    (
        request::RENEWAL_HINT,
        "both",
        "what was announced",
        "Written by the receiver of notifications: the certificate expires or must not be used.",
    ),
];

pub fn page() -> String {
    let mut text = format!("# Labels and annotations\n\n## Of pods\n\n{ABOUT}\n\n");
    let _ = writeln!(
        text,
        "The label `{INJECT_LABEL}: enabled` on a pod or its namespace asks for the agent; `disabled` on either wins.\n"
    );
    let _ = writeln!(text, "| annotation | value | meaning |\n|---|---|---|");
    for annotation in &ANNOTATIONS {
        let (name, value, meaning) = (annotation.name, cell(annotation.value), cell(annotation.meaning));
        let _ = writeln!(text, "| `{PREFIX}{name}` | {value} | {meaning} |");
    }
    let _ = writeln!(text, "\n## Requests about authorities and certificates\n\n{REQUESTS}\n");
    let _ = writeln!(text, "| annotation | of | arguments | meaning |\n|---|---|---|---|");
    assert_eq!(VERBS.map(|(verb, ..)| verb), request::VERBS, "every verb is documented");
    for (verb, object, arguments, meaning) in VERBS {
        let (name, arguments) = (request::annotation(verb), cell(arguments));
        let _ = writeln!(text, "| `{name}` | {object} | {arguments} | {meaning} |");
    }
    text
}
