# syntax=docker/dockerfile:1
# cronsched: one image for the web server and the scheduler; `command` says which (compose.yaml).
# The first stage compiles mysqlclient, so that compiler and headers stay out of what runs.
ARG PYTHON=3.13
# Another registry's, or one of your own: it needs `python` with venv, and Debian's apt-get.
ARG BASE=python:${PYTHON}-slim-bookworm

FROM ${BASE} AS build
# Which requirements-*.txt beside the first: "mysql postgres celery" for SEND_BACKEND=celery.
ARG EXTRAS="mysql postgres"
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libmariadb-dev pkg-config \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY constraints.txt requirements*.txt ./
RUN python -m venv /opt/venv \
    && for extra in ${EXTRAS}; do set -- "$@" -r "requirements-$extra.txt"; done \
    && /opt/venv/bin/pip install --no-cache-dir -r requirements.txt "$@"

FROM ${BASE}
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libmariadb3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --home-dir /app --shell /usr/sbin/nologin cronsched
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOST=0.0.0.0 \
    PORT=5001
WORKDIR /app
COPY --from=build /opt/venv /opt/venv
COPY manage.py ./
COPY templates ./templates
COPY cronsched ./cronsched
COPY accounts ./accounts
COPY taxonomy ./taxonomy
COPY jobs ./jobs
COPY notifications ./notifications
# Static files belong to the version, so they are collected into the image; the secret is used for nothing.
# instance/ is for SQLite, where somebody mounts a volume there.
RUN SECRET_KEY=only-to-collect-static-files-0123456789abcdef python manage.py collectstatic --noinput --verbosity 0 \
    && mkdir instance \
    && chown cronsched:cronsched instance
USER 10001:10001
EXPOSE 5001
# gunicorn waits 30 s for what it answers, the scheduler as long for what it sends.
STOPSIGNAL SIGTERM
# The web server's; compose.yaml gives the scheduler its own.
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-m", "cronsched.probe"]
CMD ["gunicorn", "-c", "python:cronsched.gunicorn_conf", "cronsched.wsgi"]
