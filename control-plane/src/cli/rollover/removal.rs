//! What removing a root at once would disrupt.

use crate::api::resource::{AuthorityStatus, ServiceCertificate};
use crate::cli::arguments::short_root;
use crate::cli::backend::Backend;
use crate::cli::session::{CommandError, Session};

/// As text. `root` is the beginning of its SHA-256.
pub(super) async fn impact<B: Backend>(
    session: &Session<B>,
    name: &str,
    root: &str,
    status: &AuthorityStatus,
) -> Result<String, CommandError> {
    let mut roots: Vec<_> = status.root.iter().map(|root| &root.sha256).collect();
    roots.extend(status.rollover.iter().flat_map(|rollover| [&rollover.from, &rollover.to]));
    let Some(known) = roots.iter().find(|known| known.starts_with(root)) else {
        let mut roots: Vec<_> = roots.iter().map(|root| short_root(root)).collect();
        roots.sort_unstable();
        roots.dedup();
        let roots = if roots.is_empty() {
            "it has none yet".to_owned()
        } else {
            format!("it has {}", roots.join(" and "))
        };
        return Err(CommandError::Failed(format!("{name} has no root {}: {roots}", short_root(root))));
    };
    let shown = short_root(known);
    let certificates: Vec<_> = session.backend.certificates(None).await?;
    let of = |certificate: &&ServiceCertificate| certificate.spec.authority == name;
    let members: Vec<_> = certificates.iter().filter(of).collect();
    let under = members.iter().filter(|certificate| {
        certificate
            .status
            .as_ref()
            .and_then(|status| status.root.as_ref())
            .is_some_and(|own| own.starts_with(root))
    });
    let under = under.count();
    let pods: i64 = members
        .iter()
        .filter_map(|certificate| certificate.status.as_ref()?.served.as_ref())
        .map(|served| served.pods)
        .sum();
    let signs = status.root.as_ref().is_some_and(|own| own.sha256.starts_with(root));
    Ok(format!(
        "Removing the root {shown} of {name} at once:\n\
         - {} certificates are published again, {under} of them with a new leaf{};\n\
         - about {pods} pods are affected: until a pod has loaded the new Secret, it and the pods that have loaded it\n  \
         reject each other's certificates. {};\n\
         - connections under the removed root are closed.\n\
         Nothing was done. Run it again with --yes to do it.",
        members.len(),
        if signs { " under a new root" } else { "" },
        session.backend.delivery(),
    ))
}
