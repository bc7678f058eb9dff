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
use hotcert_tls::identity::{Identity, Policy, Rejection, RevocationList, Trust, Validation};
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
        validation.leaf = Err(rejection);
    }
    let notices = notices(&validation, !credential.atomic && directory.is_dir());
    let served = validation.leaf.is_ok() && validation.trust.is_ok();
    if as_json {
        outln!("{:#}", report(directory, &validation, &notices, served));
    } else {
        print(directory, args, &validation, &notices, served);
    }
    if served { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What is no reason to refuse the identity, and should be mended.
fn notices(validation: &Validation, is_sub_path: bool) -> Vec<&str> {
    let trust = validation.trust.as_ref().ok().and_then(Option::as_ref);
    let passed_over = trust.into_iter().flat_map(|trust| &trust.passed_over);
    let lists = trust.and_then(|trust| trust.revocation.as_ref());
    let of_lists = lists.into_iter().flat_map(|lists| &lists.notices);
    let of_trust = passed_over.chain(of_lists).map(String::as_str);
    is_sub_path.then_some(SUB_PATH_NOTICE).into_iter().chain(of_trust).collect()
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
                "revocation_lists": lists(trust.as_deref()).map(|list| json!({
                    "issuer": list.issuer,
                    "number": list.number,
                    "next_update": date(list.next_update).to_string(),
                    "usable_until": date(list.usable_until()).to_string(),
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

fn print(directory: &Path, args: &IdentityArgs, validation: &Validation, notices: &[&str], served: bool) {
    let result = if served { "would be served" } else { "would not be served" };
    outln!("{}: {result}", directory.display());
    if let Err(missing @ Rejection::MissingDirectory(_)) = &validation.trust {
        outln!("  refused ({}): {missing}", missing.reason().as_str());
        return;
    }
    let refusal = |rejection: &Rejection| {
        format!("refused ({}): {}", rejection.reason().as_str(), describe(rejection, directory, args))
    };
    match &validation.leaf {
        Ok(leaf) => {
            outln!("  leaf    {}", leaf.names);
            outln!("          serial {}, issued by {}", leaf.serial, leaf.issuer);
            outln!("          valid from {} to {}", date(leaf.not_before), date(leaf.not_after));
            outln!("          valid as {}", leaf.roles.labels().join(" and "));
        }
        Err(_) if validation.leaf.as_ref().err() == validation.trust.as_ref().err() => {
            outln!("  leaf    not validated, because there is no trust bundle");
        }
        Err(rejection) => outln!("  leaf    {}", refusal(rejection)),
    }
    match &validation.trust {
        Ok(None) => outln!("  trust   none: no mTLS, neither inbound nor outbound"),
        Ok(Some(trust)) => {
            for root in roots(Some(trust)) {
                outln!("  root    {}, until {}", root.subject, date(root.not_after));
            }
            for list in lists(Some(trust)) {
                let until = date(list.usable_until());
                outln!("  list    of {}: {} revoked, until {until}", list.issuer, list.revoked);
            }
        }
        Err(rejection) => outln!("  trust   {}", refusal(rejection)),
    }
    if validation.trust.is_ok() && validation.leaf.is_err() {
        outln!("  A running agent would use this trust bundle and continue with its last valid leaf.");
    }
    for notice in notices {
        outln!("  notice  {notice}");
    }
}

/// With the names of the files.
fn describe(rejection: &Rejection, directory: &Path, args: &IdentityArgs) -> String {
    match rejection {
        Rejection::MissingFile { file } => format!("there is no file {file} in {}", directory.display()),
        rejection => name_file(&rejection.to_string(), args),
    }
}

/// A message that begins with what a file is for, with the name of the file.
fn name_file(message: &str, args: &IdentityArgs) -> String {
    let files = [
        ("the certificate file", &args.cert_file),
        ("the key file", &args.key_file),
        ("the trust bundle", &args.ca_file),
        ("the file of revocation lists", &args.crl_file),
    ];
    for (what, name) in files {
        if let Some(rest) = message.strip_prefix(what) {
            return format!("{what} {name}{rest}");
        }
    }
    message.to_owned()
}

fn roots(trust: Option<&Trust>) -> impl Iterator<Item = &hotcert_tls::identity::Root> {
    trust.into_iter().flat_map(|trust| &trust.roots)
}

fn lists(trust: Option<&Trust>) -> impl Iterator<Item = &RevocationList> {
    let lists = trust.and_then(|trust| trust.revocation.as_ref());
    lists.into_iter().flat_map(|lists| &lists.lists).map(AsRef::as_ref)
}
