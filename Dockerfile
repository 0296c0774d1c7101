# The same install as `make install`, without the tools for development.
# Not built where it was written (no registry could be reached there). Linted with dockerfilelint, whose one complaint is
# `--start-period`, which it is too old to know. A build that fails is a bug, please report it.
FROM python:3.11-slim

RUN apt-get update \
    && apt-get install --yes --no-install-recommends make \
    && rm -rf /var/lib/apt/lists/*

RUN useradd --create-home --uid 10001 ustri \
    && install --directory --owner=ustri --group=ustri /srv/ustri /data
USER ustri
WORKDIR /srv/ustri

# PyTorch's CPU builds; build with --build-arg TORCH_INDEX= for PyPI's, which bring CUDA.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY --chown=ustri . .
RUN PIP_EXTRA_INDEX_URL="$TORCH_INDEX" PIP_NO_CACHE_DIR=1 make install EXTRAS=ml,dicom

# An address that others can reach needs a key: docker run -e USTRI_API_KEY=… or the start is refused.
ENV USTRI_HOST=0.0.0.0 USTRI_PORT=8000 USTRI_DATA_DIR=/data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s \
    CMD /srv/ustri/.venv/bin/python -c "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"
CMD ["/srv/ustri/.venv/bin/ustri", "serve"]
