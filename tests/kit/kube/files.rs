//! What a control plane is given on disk: its root, the API server's certificate, the key that signs
//! tokens, and the admin's kubeconfig.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use rcgen::{DnType, KeyPair, SanType};
use serde_json::{Value, json};

use super::process::{Process, program};
use crate::forge::Forge;
use crate::pki::write;

/// The first address of the range for Services, which is the API server's own.
const SERVICE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

pub struct Files {
    directory: PathBuf,
    pub ca: PathBuf,
    /// The admin's kubeconfig.
    pub admin: PathBuf,
}

impl Files {
    pub fn write(directory: &Path, address: SocketAddr) -> Self {
        let forge = Forge::root("cluster root");
        let save = |name: &str, content: &str| write(&directory.join(name), content);
        let ca = save("ca.crt", &forge.cert);
        let server = forge.leaf_with("kube-apiserver", |params| {
            let names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc"];
            let names = names.map(|name| SanType::DnsName(name.try_into().unwrap()));
            params.subject_alt_names = names.into();
            params.subject_alt_names.extend([address.ip(), SERVICE].map(SanType::IpAddress));
        });
        save("server.crt", &server.cert);
        save("server.key", &server.key);
        let admin = forge.leaf_with("admin", |params| {
            params.distinguished_name.push(DnType::OrganizationName, "system:masters");
        });
        let user = json!({
            "client-certificate": save("admin.crt", &admin.cert),
            "client-key": save("admin.key", &admin.key),
        });
        let tokens = KeyPair::generate().unwrap();
        save("tokens.key", &tokens.serialize_pem());
        save("tokens.pub", &tokens.public_key_pem());
        let admin = kubeconfig(&directory.join("admin.kubeconfig"), address, &ca, user);
        Self { directory: directory.into(), ca, admin }
    }

    /// The API server itself.
    pub fn server(&self, address: SocketAddr, etcd: SocketAddr) -> Process {
        let mut server = Command::new(program("kube-apiserver"));
        server.args([
            format!("--etcd-servers=http://{etcd}"),
            format!("--bind-address={}", address.ip()),
            format!("--advertise-address={}", address.ip()),
            format!("--secure-port={}", address.port()),
        ]);
        server.args([
            "--endpoint-reconciler-type=none",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            "--service-account-issuer=https://kubernetes.default.svc",
        ]);
        for (flag, name) in [
            ("client-ca-file", "ca.crt"),
            ("tls-cert-file", "server.crt"),
            ("tls-private-key-file", "server.key"),
            ("service-account-key-file", "tokens.pub"),
            ("service-account-signing-key-file", "tokens.key"),
            ("cert-dir", "made"),
        ] {
            server.arg(format!("--{flag}={}", self.directory.join(name).display()));
        }
        Process::start(server, &self.directory, "kube-apiserver")
    }
}

/// Writes a kubeconfig for one user and returns its path. JSON is YAML.
pub fn kubeconfig(path: &Path, address: SocketAddr, ca: &Path, user: Value) -> PathBuf {
    let cluster = json!({"server": format!("https://{address}"), "certificate-authority": ca});
    let content = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "test", "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "current-context": "test",
    });
    write(path, content.to_string())
}
