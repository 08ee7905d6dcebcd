# syntax=docker/dockerfile:1

# Where a bill of materials is asked for (`--sbom=true`), it lists the crates of Cargo.lock as well.
ARG BUILDKIT_SBOM_SCAN_CONTEXT=true

# A release replaces the two base images by the same tag with its digest (.github/workflows/release.yml).
FROM rust:1.95-bookworm AS build
WORKDIR /src
# `--build-arg CARGO_FLAGS=--no-default-features` leaves the vendors' simulators out.
ARG CARGO_FLAGS=""
ENV CARGO_TERM_PROGRESS_WHEN=never

# The dependencies, in a layer that is built again only after a change of Cargo.toml or Cargo.lock. The sections [[test]]
# and [[example]] are removed from the manifest: their files are not in the image, and cargo refuses a target without a
# file.
COPY Cargo.toml Cargo.lock ./
COPY simulator/Cargo.toml simulator/Cargo.toml
RUN awk '/^\[/ { keep = !/^\[\[(test|example)\]\]/ } keep' Cargo.toml > /manifest \
    && mv /manifest Cargo.toml \
    && mkdir src simulator/src \
    && echo 'fn main() {}' > src/main.rs \
    && touch src/lib.rs simulator/src/lib.rs \
    && cargo build --profile dist --locked -p tidegate $CARGO_FLAGS \
    && rm -r src simulator/src

COPY build.rs ./
COPY .sqlx ./.sqlx
COPY config ./config
COPY migrations ./migrations
COPY simulator ./simulator
COPY src ./src
# Cargo goes by times, and what was copied may be older than the stand-ins above.
RUN touch src/main.rs src/lib.rs simulator/src/lib.rs && cargo build --profile dist --locked -p tidegate $CARGO_FLAGS
COPY .ci/licenses ./.ci/
COPY .ci/license-texts ./.ci/license-texts
RUN .ci/licenses /licenses

FROM debian:bookworm-slim
# The system's certificates are what vendors' hosts are checked against.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 tidegate \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/tidegate --shell /usr/sbin/nologin tidegate \
    && install --directory --owner=10001 --group=10001 --mode=750 /var/lib/tidegate \
    && install --directory /etc/tidegate
COPY --from=build /src/target/dist/tidegate /usr/local/bin/tidegate
COPY LICENSE NOTICE /usr/share/doc/tidegate/
COPY --from=build /licenses /usr/share/doc/tidegate/

# Mount a folder with tidegate.yaml and jobs/*.yaml here. The status port listens on every interface of the container.
ENV TIDEGATE_CONFIG=/etc/tidegate TIDEGATE__SERVER__LISTEN=0.0.0.0:8080
EXPOSE 8080
WORKDIR /var/lib/tidegate
USER 10001:10001
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 CMD ["/usr/local/bin/tidegate", "health"]
ENTRYPOINT ["/usr/local/bin/tidegate"]
CMD ["run"]
