# facesweep: commands, Prefect workers and, if wanted, the Prefect server. deployments/README.md says how to run it.
#   docker build -t facesweep .
FROM python:3.11-slim AS build
WORKDIR /opt/facesweep
COPY deployments/build.sh deployments/
COPY requirements.lock ./
RUN sh deployments/build.sh dependencies
COPY pyproject.toml README.md ./
COPY domain domain
COPY tasks tasks
COPY flows flows
COPY emulators emulators
COPY data data
COPY deployments deployments
RUN sh deployments/build.sh package

FROM python:3.11-slim
# An ordinary user, who can write to /data alone: homes, working copies, Prefect's files.
RUN useradd --uid 10001 --create-home --home-dir /data facesweep
COPY --from=build /opt/facesweep /opt/facesweep
ENV PATH=/opt/facesweep/.venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PREFECT_HOME=/data/prefect \
    FACESWEEP_STATE=/data/state
USER facesweep
WORKDIR /data
VOLUME /data
CMD ["facesweep", "--help"]
