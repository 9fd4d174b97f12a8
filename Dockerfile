# ERPO Server on a CPU: serves the embedded aligned model, prepared when the image is built.
#   docker build -t erpo-server . && docker run -p 8000:8000 erpo-server
ARG BASE=python:3.11-slim
FROM ${BASE}

# The CPU wheel of torch is not on PyPI. Empty: only the indexes that pip is set up with.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PATH=/opt/erpo/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 ERPO_CACHE=/opt/erpo/models

# vLLM's CPU build loads libnuma.
RUN apt-get update && apt-get install -y --no-install-recommends libnuma1 && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/erpo
COPY requirements/cpu.lock /tmp/cpu.lock
RUN pip install --no-deps ${TORCH_INDEX:+--extra-index-url $TORCH_INDEX --retries 2} $(grep '^torch==' /tmp/cpu.lock) \
 && pip install --no-deps -r /tmp/cpu.lock
COPY . /tmp/erpo
RUN pip install --no-deps --no-build-isolation /tmp/erpo && rm -rf /tmp/erpo /tmp/cpu.lock \
 && erpo model prepare && chmod -R a+rX /opt/erpo/models && useradd --create-home erpo

USER erpo
EXPOSE 8000
HEALTHCHECK --start-period=120s --interval=15s CMD ["python3", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health', timeout=5)"]
ENTRYPOINT ["erpo", "serve", "--host", "0.0.0.0"]
