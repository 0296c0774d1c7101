# Three images of one code: `web` serves without PyTorch; `worker` and `worker-gpu` run the networks; `single` is both, over SQLite.
# Not built where it was written (there is no Docker daemon and no registry there); a build that fails is a bug, please report it. Linted with
# dockerfilelint, which only misses a tag at the names of earlier stages.
FROM python:3.11-slim AS base
RUN apt-get update \
    && apt-get install --yes --no-install-recommends make \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 10001 ustri \
    && install --directory --owner=ustri --group=ustri /srv/ustri /data
USER ustri
WORKDIR /srv/ustri
COPY --chown=ustri . .
ENV USTRI_DATA_DIR=/data PYTHONDONTWRITEBYTECODE=1
VOLUME /data

FROM base AS web
RUN PIP_NO_CACHE_DIR=1 make install EXTRAS=ocr,dicom,queue
# An address that others can reach needs a key (USTRI_API_KEY or USTRI_API_KEY_FILE), or the start is refused.
ENV USTRI_HOST=0.0.0.0 USTRI_PORT=8000 USTRI_WORKER_THREADS=0
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --retries=4 \
    CMD ["/srv/ustri/.venv/bin/python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["/srv/ustri/.venv/bin/ustri", "serve"]

FROM base AS worker
RUN PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu PIP_NO_CACHE_DIR=1 make install EXTRAS=ml,dicom,queue
HEALTHCHECK --interval=15s --timeout=10s --retries=8 \
    CMD ["/srv/ustri/.venv/bin/ustri", "worker", "--check"]
CMD ["/srv/ustri/.venv/bin/ustri", "worker"]

# PyPI's builds of PyTorch bring CUDA; the host brings the driver (NVIDIA Container Toolkit).
FROM base AS worker-gpu
RUN PIP_NO_CACHE_DIR=1 make install EXTRAS=ml,dicom,queue
ENV USTRI_DEVICE=cuda
HEALTHCHECK --interval=15s --timeout=10s --retries=8 \
    CMD ["/srv/ustri/.venv/bin/ustri", "worker", "--check"]
CMD ["/srv/ustri/.venv/bin/ustri", "worker"]

FROM base AS single
RUN PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu PIP_NO_CACHE_DIR=1 make install EXTRAS=ml,ocr,dicom
ENV USTRI_HOST=0.0.0.0 USTRI_PORT=8000
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --retries=6 \
    CMD ["/srv/ustri/.venv/bin/python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
CMD ["/srv/ustri/.venv/bin/ustri", "serve"]
