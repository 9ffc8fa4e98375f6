# Two images: `broker` for production, without a line of the sandbox in it, and `sandbox` to try it out.
#
#   docker build -t embed-broker .
#   docker build -t embed-broker:sandbox --target sandbox .
#
# Base images are arguments, so that a digest, a mirror or a distroless image can take their place: the final stages
# run no command of theirs. BASE_IMAGE needs the glibc of RUST_IMAGE or a newer one, and libgcc.

ARG RUST_IMAGE=docker.io/library/rust:1.95.0-bookworm
ARG BASE_IMAGE=docker.io/library/debian:bookworm-20260202-slim

FROM ${RUST_IMAGE} AS source
WORKDIR /build
COPY . .
# The cache may hold an older build of this crate; its files' times decide nothing.
RUN touch src/lib.rs src/main.rs

FROM source AS build-broker
# The empty folder is made here because the final stages may have no shell to make it with.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/build/target,sharing=locked \
    cargo build --release --locked --no-default-features \
    && mkdir -p /out/empty \
    && cp target/release/embed-broker /out/

FROM source AS build-sandbox
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/build/target,sharing=locked \
    cargo build --release --locked \
    && mkdir -p /out/empty \
    && cp target/release/embed-broker /out/

FROM ${BASE_IMAGE} AS base
LABEL org.opencontainers.image.title="embed-broker" \
      org.opencontainers.image.description="Mints Power BI embed tokens with the effective identity that policy gives" \
      org.opencontainers.image.licenses="MIT"
# Without a trust store no TLS connection can be made; `tls.extra_ca_file` adds to it.
COPY --from=source /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY LICENSE /usr/share/doc/embed-broker/
WORKDIR /etc/embed-broker
# Nobody in particular: a number, so that `runAsNonRoot` can tell.
USER 65532:65532
# Nothing is written to the root file system: run it read-only.
ENTRYPOINT ["/usr/local/bin/embed-broker", "--config", "/etc/embed-broker/broker.yaml"]
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 \
    CMD ["/usr/local/bin/embed-broker", "--config", "/etc/embed-broker/broker.yaml", "probe"]

FROM base AS sandbox
COPY --from=build-sandbox /out/embed-broker /usr/local/bin/
# For the files that the sandbox writes: a volume mounted here takes over the owner.
COPY --from=build-sandbox --chown=65532:65532 /out/empty /var/lib/embed-broker
EXPOSE 8080 8090
CMD ["sandbox", "--bind", "0.0.0.0", "--folder", "/var/lib/embed-broker"]

# The last stage is built when no target is named: production.
FROM base AS broker
COPY --from=build-broker /out/embed-broker /usr/local/bin/
# For an audit file: a volume mounted here takes over the owner.
COPY --from=build-broker --chown=65532:65532 /out/empty /var/log/embed-broker
# The operators' listener is for the orchestrator and Prometheus; never publish it.
ENV EMBED_BROKER__SERVER__OPS_LISTEN=0.0.0.0:9090
EXPOSE 8080 9090
CMD ["serve"]
