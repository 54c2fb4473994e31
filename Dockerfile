# Two images of one application: `serve` (the default) answers requests, `full` also trains and runs the loop.
# Not here: how a base is made where no registry answers, and the checks (deploy/container). Guide: docs/container.md.
#
#     docker build -t homeostat .                   docker build --target full -t homeostat:full .
#
# Behind a private index or a proxy with its own CA, add `--secret id=pip.conf,src=...` and `--secret id=ca.pem,src=...`:
# both are seen by pip alone and leave nothing in the image. A normal machine needs neither.

FROM python:3.11-slim-bookworm AS python
# Bytecode is written once, at build time: a read-only root keeps none, and each start would compile again.
ENV PATH=/opt/homeostat/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1

# Tools that the images never see: pip, and the builder of our own wheel. Every download is held to its digest.
FROM python AS tools
WORKDIR /build
COPY deploy/container/requirements-build.lock ./
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=ca.pem,target=/run/secrets/ca.pem \
    python3 -m venv /tools \
    && /tools/bin/pip install --no-cache-dir --require-hashes -r requirements-build.lock \
    && python3 -m venv --without-pip /opt/homeostat

FROM tools AS build-serve
COPY deploy/container/requirements-serve.lock ./
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=ca.pem,target=/run/secrets/ca.pem \
    /tools/bin/pip --python /opt/homeostat/bin/python install --no-cache-dir --require-hashes -r requirements-serve.lock
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN /tools/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /tools/bin/pip --python /opt/homeostat/bin/python install --no-cache-dir --no-deps --no-index /wheels/*.whl \
    && find /opt/homeostat -depth -type d -name tests -exec rm -r {} +

FROM tools AS build-full
COPY deploy/container/requirements-full.lock ./
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=ca.pem,target=/run/secrets/ca.pem \
    /tools/bin/pip --python /opt/homeostat/bin/python install --no-cache-dir --require-hashes -r requirements-full.lock
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN /tools/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /tools/bin/pip --python /opt/homeostat/bin/python install --no-cache-dir --no-deps --no-index /wheels/*.whl \
    && find /opt/homeostat -depth -type d -name tests -exec rm -r {} +

# What both images are: a user of their own, one writable folder, no installer.
FROM python AS application
RUN rm -rf /usr/local/lib/python3*/site-packages/* /usr/local/lib/python3*/ensurepip /usr/local/bin/pip* \
        /usr/lib/python3*/ensurepip /usr/share/python-wheels \
    && useradd --uid 10001 --user-group --no-create-home --home-dir /data --shell /usr/sbin/nologin homeostat \
    && install --directory --owner=homeostat --group=homeostat /data
# The project folder. As the working directory it is also where every command looks for `homeostat.toml`.
WORKDIR /data
USER 10001:10001
# ONNX Runtime's Linux wheels report usage to their maker, and write a device id, unless they are told not to.
ENV HOMEOSTAT_SERVING__HOST=0.0.0.0 \
    HOMEOSTAT_SERVING__PORT=8000 \
    ORT_DISABLE_TELEMETRY=1
EXPOSE 8000
# Healthy means ready: a release passed its golden rows and the log can be written.
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s \
    CMD ["python3", "-I", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['HOMEOSTAT_SERVING__PORT'] + '/readyz')"]
ENTRYPOINT ["homeostat"]

FROM application AS full
# LightGBM's wheel needs the OpenMP runtime of the system.
USER 0
# No version: Debian keeps only the newest of a release on its mirrors, and a pinned one soon installs no more.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build-full /opt/homeostat /opt/homeostat
USER 10001:10001
CMD ["up", "--project", "/data"]

FROM application AS serve
COPY --from=build-serve /opt/homeostat /opt/homeostat
CMD ["serve", "--project", "/data"]
