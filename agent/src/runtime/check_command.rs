//! `hotcert-agent check DIR`: the reload path up to the point of publishing, to validate an identity before a
//! pod uses it.

use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use hotcert_log::outln;
use humantime::format_rfc3339_seconds as date;
use serde_json::{Value, json};

use crate::config::args::IdentityArgs;
use crate::config::settings::layout;
use hotcert_tls::identity::{Fault, Identity, Policy, Rejection, RevocationList, Trust, Validation};
use hotcert_tls::{read_directory, trial_handshake};

const SUB_PATH_NOTICE: &str =
    "the directory has no ..data; if it is a subPath mount of a Secret, Kubernetes never updates it";

/// Prints the result; the exit code tells whether the identity would be served.
pub fn run(directory: &Path, args: &IdentityArgs, policy: &Policy, as_json: bool) -> ExitCode {
    let now = SystemTime::now();
    let credential = read_directory(directory, &layout(args));
    let mut validation = Identity::parse(&credential, policy, None, now);
    if let Some(identity) = validation.merge(None)
        && let Err(rejection) = trial_handshake(&identity, args.client_auth, now)
    {
        validation.refuse_leaf(rejection);
    }
    let notices = notices(&validation, !credential.atomic && directory.is_dir());
    let served = validation.leaf.is_ok() && validation.trust.is_ok();
    if as_json {
        let mut report = report(directory, &validation, &notices, served);
        report["faults"] = validation.faults.iter().map(|fault| fault_json(fault, directory, args)).collect();
        outln!("{report:#}");
    } else {
        print(directory, args, &validation, &notices, served);
    }
    if served { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What is no reason to refuse the identity, and should be mended.
fn notices(validation: &Validation, is_sub_path: bool) -> Vec<&str> {
    let trust = validation.trust.as_ref().ok().and_then(Option::as_ref);
    let passed_over = trust.into_iter().flat_map(|trust| &trust.passed_over).map(String::as_str);
    is_sub_path.then_some(SUB_PATH_NOTICE).into_iter().chain(passed_over).collect()
}

fn report(directory: &Path, validation: &Validation, notices: &[&str], served: bool) -> Value {
    json!({
        "directory": directory.display().to_string(),
        "would_serve": served,
        "leaf": match &validation.leaf {
            Ok(leaf) => json!({
                "accepted": true,
                "serial": leaf.serial,
                "sha256": leaf.sha256,
                "subject": leaf.subject,
                "issuer": leaf.issuer,
                "names": leaf.names.labels(),
                "not_before": date(leaf.not_before).to_string(),
                "not_after": date(leaf.not_after).to_string(),
                "roles": leaf.roles.labels(),
            }),
            Err(rejection) => refused(rejection),
        },
        "trust": match &validation.trust {
            Ok(trust) => json!({
                "accepted": true,
                "sha256": trust.as_ref().map(|trust| &trust.sha256),
                "roots": roots(trust.as_deref()).map(|root| json!({
                    "sha256": root.sha256,
                    "subject": root.subject,
                    "not_before": date(root.not_before).to_string(),
                    "not_after": date(root.not_after).to_string(),
                })).collect::<Vec<_>>(),
                "revocation_lists": revocation_lists(trust.as_deref()).map(|list| json!({
                    "issuer": list.issuer,
                    "number": list.number,
                    "this_update": date(list.this_update).to_string(),
                    "next_update": date(list.next_update).to_string(),
                    "revoked": list.revoked,
                })).collect::<Vec<_>>(),
            }),
            Err(rejection) => refused(rejection),
        },
        "notices": notices,
    })
}

fn refused(rejection: &Rejection) -> Value {
    json!({ "accepted": false, "reason": rejection.reason().as_str(), "detail": rejection.to_string() })
}

fn fault_json(fault: &Fault, directory: &Path, args: &IdentityArgs) -> Value {
    json!({
        "part": fault.part.as_str(),
        "reason": fault.rejection.reason().as_str(),
        "detail": describe(&fault.rejection, directory, args),
    })
}

fn print(directory: &Path, args: &IdentityArgs, validation: &Validation, notices: &[&str], served: bool) {
    let result = if served { "would be served" } else { "would not be served" };
    outln!("{}: {result}", directory.display());
    for Fault { part, rejection, .. } in &validation.faults {
        let text = describe(rejection, directory, args);
        outln!("  {:<7} refused ({}): {text}", part.as_str(), rejection.reason().as_str());
    }
    match &validation.leaf {
        Ok(leaf) => {
            outln!("  leaf    {}", leaf.names);
            outln!("          serial {}, issued by {}", leaf.serial, leaf.issuer);
            outln!("          valid from {} to {}", date(leaf.not_before), date(leaf.not_after));
            outln!("          valid as {}", leaf.roles.labels().join(" and "));
        }
        Err(_) if validation.trust.is_err() => {
            outln!("  Whether peers would trust the leaf cannot be told without a usable trust bundle.");
        }
        Err(_) => {}
    }
    match &validation.trust {
        Ok(None) => outln!("  trust   none: no mTLS, neither inbound nor outbound"),
        Ok(Some(trust)) => {
            for root in roots(Some(trust)) {
                outln!("  root    {}, until {}", root.subject, date(root.not_after));
            }
            for list in revocation_lists(Some(trust)) {
                let number = list.number.as_ref().map_or(String::new(), |number| format!(" number {number}"));
                let next = date(list.next_update);
                outln!("  crl     {}:{number} revokes {}, the next is due {next}", list.issuer, list.revoked);
            }
        }
        Err(_) => {}
    }
    if validation.trust.is_ok() && validation.leaf.is_err() {
        outln!("  A running agent would use this trust bundle and continue with its last valid leaf.");
    }
    for notice in notices {
        outln!("  notice  {notice}");
    }
}

/// With the names of the files, and their paths in commands.
fn describe(rejection: &Rejection, directory: &Path, args: &IdentityArgs) -> String {
    let message = match rejection {
        Rejection::MissingFile { file } => {
            return format!("there is no file {file} in {}", directory.display());
        }
        rejection => rejection.to_string(),
    };
    let files = [
        ("the certificate file", Some(&args.cert_file)),
        ("the key file", Some(&args.key_file)),
        ("the credential bundle", args.bundle_file.as_ref()),
        ("the trust bundle", Some(&args.ca_file)),
        ("the file of revocation lists", Some(&args.crl_file)),
    ];
    for (what, name) in files {
        if let (Some(rest), Some(name)) = (message.strip_prefix(what), name) {
            let path = directory.join(name).display().to_string();
            return format!("{what} {name}{}", rest.replace("FILE", &path));
        }
    }
    message
}

fn revocation_lists(trust: Option<&Trust>) -> impl Iterator<Item = &RevocationList> {
    trust.into_iter().flat_map(|trust| &trust.revocation).flat_map(|revocation| &revocation.lists)
}

fn roots(trust: Option<&Trust>) -> impl Iterator<Item = &hotcert_tls::identity::Root> {
    trust.into_iter().flat_map(|trust| &trust.roots)
}
