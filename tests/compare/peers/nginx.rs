//! nginx: the stream module for bytes, the http module for requests; and the stream module without TLS, which
//! is what a proxy costs that encrypts nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Mode, Peer, Programs, Site};

pub struct Nginx {
    pub tls: bool,
}

impl Peer for Nginx {
    fn name(&self) -> &'static str {
        if self.tls { "nginx" } else { "no TLS" }
    }

    fn program(&self, _: &Programs) -> PathBuf {
        "nginx".into()
    }

    fn version(&self) -> &'static [&'static str] {
        &["-v"]
    }

    fn modes(&self) -> &'static [Mode] {
        if self.tls { &[Mode::Tcp, Mode::Http, Mode::LoggedHttp, Mode::Grpc] } else { &[Mode::Tcp] }
    }

    fn is_floor(&self) -> bool {
        !self.tls
    }

    fn command(&self, program: &Path, site: &Site) -> anyhow::Result<Command> {
        let config = site.write("nginx.conf", &self.config(site))?;
        let mut command = Command::new(program);
        command.arg("-p").arg(&site.directory).arg("-c").arg(config).args(["-e", "stderr"]);
        Ok(command)
    }
}

impl Nginx {
    fn config(&self, site: &Site) -> String {
        let (listen, app) = (site.listen, site.app);
        let file = |name: &str| site.file(name).display().to_string();
        let (ssl, tls) = match self.tls {
            true => (
                "ssl",
                format!(
                    "ssl_certificate {}; ssl_certificate_key {}; ssl_client_certificate {}; ssl_verify_client on;
        ssl_protocols TLSv1.3; ssl_session_tickets off; ssl_session_cache off;",
                    file("tls.crt"),
                    file("tls.key"),
                    file("ca.crt")
                ),
            ),
            false => ("", String::new()),
        };
        let (http2, pass) = match site.mode {
            Mode::Grpc => ("http2", "grpc_pass app; grpc_set_header X-Client-Certificate $ssl_client_s_dn;"),
            _ => (
                "",
                "proxy_pass http://app; proxy_http_version 1.1;
            proxy_set_header Connection \"\"; proxy_set_header X-Client-Certificate $ssl_client_s_dn;",
            ),
        };
        let log = match site.mode {
            Mode::LoggedHttp => "/dev/stdout combined",
            _ => "off",
        };
        let body = match site.mode {
            Mode::Tcp => format!(
                "stream {{
    server {{
        listen {listen} {ssl}; {tls}
        proxy_pass {app}; proxy_timeout 1h;
    }}
}}"
            ),
            Mode::Http | Mode::LoggedHttp | Mode::Grpc => format!(
                "http {{
    access_log {log}; keepalive_timeout 1h; keepalive_requests 1000000000;
    upstream app {{ server {app}; keepalive 64; keepalive_requests 1000000000; }}
    server {{
        listen {listen} {ssl} {http2}; {tls}
        location / {{
            {pass}
        }}
    }}
}}"
            ),
        };
        format!(
            "load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off; worker_processes 1; worker_rlimit_nofile 20000; pid {pid}; error_log stderr crit;
events {{ worker_connections 19000; }}
{body}
",
            pid = file("pid")
        )
    }
}
