# One build, three images, each a single static program: --target agent, control-plane or demo-service.
ARG BUILDER=docker.io/library/rust:1-bookworm
ARG BASE=scratch

FROM ${BUILDER} AS build
ARG PROFILE=release
WORKDIR /src
ENV RUSTFLAGS="-C target-feature=+crt-static"

# Crates before sources: a builder that keeps layers but has no cache mounts fetches again only when these files change.
COPY .cargo .cargo
COPY Cargo.toml Cargo.lock ./
COPY tls/Cargo.toml tls/
COPY log/Cargo.toml log/
COPY agent/Cargo.toml agent/
COPY control-plane/Cargo.toml control-plane/
COPY demo-service/Cargo.toml demo-service/
COPY tests/Cargo.toml tests/
RUN --mount=type=cache,id=hotcert-registry,target=/usr/local/cargo/registry \
    for crate in tls log agent control-plane demo-service; do mkdir $crate/src && touch $crate/src/lib.rs; done \
    && cargo fetch --locked --target "$(rustc --print host-tuple)"

COPY tls tls
COPY log log
COPY agent agent
COPY control-plane control-plane
COPY demo-service demo-service
# Naming the target keeps RUSTFLAGS off procedural macros, which cannot be static. Cargo tells a changed source by its
# time, and a checkout may be older than what the cache mount holds: touched, ours are always compiled.
RUN --mount=type=cache,id=hotcert-registry,target=/usr/local/cargo/registry \
    --mount=type=cache,id=hotcert-target,target=/src/target,sharing=locked \
    target=$(rustc --print host-tuple) \
    && find tls log agent control-plane demo-service -name '*.rs' -exec touch {} + \
    && cargo build --locked --profile "$PROFILE" --target "$target" \
        --bin hotcert-agent --bin hotcert --bin demo-service \
    && mkdir /out && cd "target/$target/$PROFILE" && cp hotcert-agent hotcert demo-service /out/

FROM ${BASE} AS agent
ARG VERSION=0.2.0
LABEL org.opencontainers.image.title="hotcert-agent" \
    org.opencontainers.image.description="Sidecar that terminates and originates TLS, and rotates certificates without a restart" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /out/hotcert-agent /hotcert-agent
USER 65532:65532
ENTRYPOINT ["/hotcert-agent"]

FROM ${BASE} AS control-plane
ARG VERSION=0.2.0
LABEL org.opencontainers.image.title="hotcert" \
    org.opencontainers.image.description="Control plane of hotcert: injects agents" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.licenses="Apache-2.0"
# It calls out to servers that are not the cluster's own.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/hotcert /hotcert
USER 65532:65532
ENTRYPOINT ["/hotcert"]

FROM ${BASE} AS demo-service
ARG VERSION=0.2.0
LABEL org.opencontainers.image.title="hotcert-demo" \
    org.opencontainers.image.description="A microservice that speaks plain HTTP and knows nothing of TLS" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /out/demo-service /demo-service
USER 65532:65532
ENTRYPOINT ["/demo-service"]
