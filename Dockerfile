# medcli in a container. On the CPU, and with CUDA for NVIDIA cards:
#
#     docker build --tag medcli .
#     docker build --tag medcli:cuda --build-arg TORCH=cu126 .
#
#     docker run --rm --volume "$PWD:/work" --user "$(id -u):$(id -g)" medcli info
#     docker run --rm --volume "$PWD:/work" --user "$(id -u):$(id -g)" --gpus all --ipc host medcli:cuda train seg
#
# TORCH is what uv calls the backend of PyTorch: cpu, or cu126, cu128, …. The wheels bring the CUDA libraries; the host
# needs the driver and the NVIDIA Container Toolkit.

FROM python:3.12-slim-bookworm AS build
ARG TORCH=cpu
RUN python -m pip install --no-cache-dir "uv>=0.8"
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY medcli ./medcli
RUN uv venv --python /usr/local/bin/python /opt/medcli \
    && uv pip install --no-cache --compile-bytecode --torch-backend "${TORCH}" --python /opt/medcli/bin/python ".[onnx,dicom]"

FROM python:3.12-slim-bookworm
COPY --from=build /opt/medcli /opt/medcli
# Any user may run it: results belong to the user of --user, caches go below the temporary folder.
RUN useradd --create-home --uid 1000 medcli && mkdir /work && chown medcli /work
USER 1000
ENV PATH="/opt/medcli/bin:${PATH}"
WORKDIR /work
ENTRYPOINT ["medcli"]
CMD ["--help"]
