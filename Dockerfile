# simmim in a container: the binary alone, on the cores or, with the host's driver, on a GPU.
#
#   docker build -t simmim .
#   docker run --rm -v "$PWD":/data -w /data simmim pretrain photos/ --out runs/first
#   docker run --rm --gpus all -v "$PWD":/data -w /data simmim pretrain photos/ --out runs/first
FROM rust:1.95-slim-bookworm AS build
WORKDIR /simmim
COPY . .
RUN cargo build --release --locked --package simmim && strip target/release/simmim

FROM debian:bookworm-slim
COPY --from=build /simmim/target/release/simmim /usr/local/bin/simmim
COPY LICENSE-MIT LICENSE-APACHE /usr/share/doc/simmim/
# What the NVIDIA container runtime brings in where there is a GPU: the driver, and nothing of CUDA's own.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /data
ENTRYPOINT ["simmim"]
CMD ["--help"]
