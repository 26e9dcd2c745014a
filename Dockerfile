# The auditor, with its locked dependencies and no compiler; `docker run IMAGE demo` shows it without any other server.
FROM python:3.11-slim AS build
WORKDIR /src
COPY requirements/demo.txt requirements/
RUN python -m venv /opt/auditor \
 && /opt/auditor/bin/pip install --no-cache-dir --require-hashes --only-binary :all: --requirement requirements/demo.txt
COPY pyproject.toml LICENSE ./
COPY auditor auditor
COPY samplers samplers
COPY comparators comparators
COPY orchestrator orchestrator
RUN /opt/auditor/bin/pip install --no-cache-dir --no-deps --no-build-isolation --no-index .

FROM python:3.11-slim
RUN useradd --system --uid 10001 --home-dir /var/lib/auditor auditor \
 && install -d -o auditor -g auditor -m 0700 /var/lib/auditor
COPY --from=build /opt/auditor /opt/auditor
USER auditor
WORKDIR /var/lib/auditor
VOLUME /var/lib/auditor
EXPOSE 8432
ENV PATH=/opt/auditor/bin:$PATH PYTHONUNBUFFERED=1
STOPSIGNAL SIGTERM
ENTRYPOINT ["auditor"]
CMD ["--help"]
