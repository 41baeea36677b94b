# The image of every part of Snorri: `engine`, `jobs`, `serve` and the tools differ by their command.
FROM python:3.12-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/snorri
COPY requirements.txt /src/requirements.txt
RUN /opt/snorri/bin/pip install --require-hashes -r /src/requirements.txt
COPY pyproject.toml README.md LICENSE CHANGELOG.md /src/
COPY sagas /src/sagas
COPY store /src/store
COPY jobs /src/jobs
COPY ui /src/ui
COPY server /src/server
RUN /opt/snorri/bin/pip install --no-deps --no-build-isolation /src

FROM python:3.12-slim
RUN groupadd --gid 10001 snorri \
 && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin snorri \
 && install -d -o snorri -g snorri /data
COPY --from=build /opt/snorri /opt/snorri
ENV PATH=/opt/snorri/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    SNORRI_DATA=/data \
    SNORRI_LOG_FORMAT=json
USER snorri
WORKDIR /data
VOLUME /data
EXPOSE 8092
STOPSIGNAL SIGTERM
# For `serve`, the default command; parts without HTTP switch it off in their compose entry.
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --retries=3 CMD \
  ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8092/health/ready', timeout=2)"]
ENTRYPOINT ["snorri"]
CMD ["serve"]
