# Built in one image, run in another that holds the program, its licence and nothing to log in with.

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src ./src
COPY console ./console
COPY benches ./benches
COPY tests ./tests
# Laid out by a profile of load, which is played here: needs two cores and a quarter of an hour.
RUN benches/profile_guided.sh

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /src/target/pgo/keygate /usr/local/bin/keygate
COPY LICENSE /usr/share/doc/keygate/LICENSE
# Mount the folder that holds keygate.yaml; mount the folder, not the file, so that changes are seen.
WORKDIR /etc/keygate
ENV KEYGATE_CONFIG=/etc/keygate/keygate.yaml
EXPOSE 8080 9100
USER nonroot
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s CMD ["/usr/local/bin/keygate", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/keygate"]
CMD ["serve"]
