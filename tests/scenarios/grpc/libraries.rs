//! The client and the server of each library, as programs.

use std::path::Path;
use std::process::Command;

use kit::agent::program;
use kit::client::command;
use kit::installed;
use kit::pipe::Pipe;

#[derive(Clone, Copy, Debug)]
pub enum Library {
    Grpcio,
    GrpcJs,
    Tonic,
}

impl Library {
    /// With mutual TLS of its own if it has a directory.
    pub fn server(self, directory: Option<&Path>) -> Pipe {
        let mut command = self.program("server");
        command.args(directory);
        Pipe::program(command)
    }

    /// Makes calls to the target without pause. With mutual TLS of its own if it has a directory, through a proxy if
    /// there is one.
    pub fn client(
        self,
        target: &str,
        behaviour: &str,
        directory: Option<&Path>,
        proxy: Option<String>,
    ) -> Pipe {
        let mut command = self.program("client");
        command.args([target, behaviour]).args(directory);
        for name in ["grpc_proxy", "https_proxy", "http_proxy", "no_grpc_proxy", "no_proxy"] {
            command.env_remove(name);
        }
        if let Some(proxy) = proxy {
            command.env("grpc_proxy", proxy);
        }
        Pipe::program(command)
    }

    fn program(self, end: &str) -> Command {
        match self {
            Self::Grpcio => installed::python(&format!("grpc/{end}.py")),
            Self::GrpcJs => installed::node(&format!("grpc/{end}.js")),
            Self::Tonic => {
                let mut tonic = command(program("tonic"));
                tonic.arg(end);
                tonic
            }
        }
    }
}
