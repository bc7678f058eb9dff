//! gRPC of libraries that nobody adapted, through agents whose certificates are replaced while the calls go on: each
//! library on each path in each way in which gRPC is called, through twenty leaf swaps of every agent and one whole
//! root rollover. What each client and server does is written in `tests/clients/grpc/README.md`.

pub mod libraries;
mod rollover;

use libraries::Library;
use rollover::{Path, holds_a_stream, passes};

/// A test for each behaviour; its name is what the client is told.
macro_rules! behaviours {
    ($library:ident, $path:ident) => {
        behaviours! { $library, $path:
            unary client_stream server_stream bidirectional large_messages
            metadata error_status deadline cancellation health_and_reflection
        }
    };
    ($library:ident, $path:ident: $($behaviour:ident)+) => {
        use super::super::{Library, Path, passes};
        $(
            #[test]
            fn $behaviour() {
                passes(Library::$library, Path::$path, stringify!($behaviour));
            }
        )+
    };
}

macro_rules! paths {
    ($module:ident, $library:ident) => {
        mod $module {
            mod inbound {
                behaviours! { $library, Inbound }
            }
            mod both {
                behaviours! { $library, Both }
            }
            mod outbound {
                behaviours! { $library, Outbound }
            }
        }
    };
}

paths! { grpcio, Grpcio }
paths! { grpc_js, GrpcJs }
paths! { tonic, Tonic }

/// One stream open all the time.
macro_rules! streams {
    ($($module:ident, $library:ident;)+) => {
        $(
            mod $module {
                use super::super::{Library, Path, holds_a_stream};

                #[test]
                fn inbound() {
                    holds_a_stream(Library::$library, Path::Inbound);
                }

                #[test]
                fn both() {
                    holds_a_stream(Library::$library, Path::Both);
                }

                #[test]
                fn outbound() {
                    holds_a_stream(Library::$library, Path::Outbound);
                }
            }
        )+
    };
}

mod streams {
    streams! {
        grpcio, Grpcio;
        grpc_js, GrpcJs;
        tonic, Tonic;
    }
}

/// The libraries that use a proxy when the environment names one. tonic does not.
mod connect {
    mod grpcio {
        behaviours! { Grpcio, Connect: unary bidirectional large_messages cancellation health_and_reflection }
    }
    mod grpc_js {
        behaviours! { GrpcJs, Connect: unary bidirectional large_messages cancellation health_and_reflection }
    }
}
