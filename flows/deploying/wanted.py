"""What `deployments/prefect.yaml` asks for, with the paths of this machine in it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from domain.errors import UsageError

CLONE = Path(__file__).resolve().parents[2]
"""The folder with `flows/` and `deployments/`: where workers find the flows."""

PREFECT_YAML = CLONE / "deployments" / "prefect.yaml"

_VARIABLE = re.compile(r"{{\s*\$(\w+)\s*}}")
_OF_A_SPEC = "FACESWEEP_SPEC"


class Queue(BaseModel):
    """A queue of a work pool; 1 is taken from first."""

    model_config = ConfigDict(extra="forbid")
    name: str
    priority: int = Field(ge=1)
    concurrency_limit: int | None = Field(default=None, ge=1)
    description: str = ""


class Pool(BaseModel):
    """A work pool, whose workers all run on machines with a clone and keys."""

    model_config = ConfigDict(extra="forbid")
    name: str
    type: str
    description: str = ""
    concurrency_limit: int | None = Field(default=None, ge=1)
    queues: tuple[Queue, ...] = ()


class Schedule(BaseModel):
    """When; a cron line means nothing without its zone."""

    model_config = ConfigDict(extra="forbid")
    cron: str
    timezone: str
    active: bool = True


class WorkPool(BaseModel):
    """Where a deployment's runs go."""

    model_config = ConfigDict(extra="forbid")
    name: str
    work_queue_name: str = "default"
    job_variables: dict[str, Any] = {}


class ConcurrencyLimit(BaseModel):
    """How many runs of a deployment at once, and what becomes of one more."""

    model_config = ConfigDict(extra="forbid")
    limit: int = Field(ge=1)
    collision_strategy: str


class Deployment(BaseModel):
    """A flow, ready to be run by a worker."""

    model_config = ConfigDict(extra="forbid")
    name: str
    description: str
    entrypoint: str = Field(pattern=r"^flows/\w+\.py:\w+$")
    parameters: dict[str, Any] = {}
    tags: tuple[str, ...] = ()
    work_pool: WorkPool
    concurrency_limit: ConcurrencyLimit | None = None
    schedules: tuple[Schedule, ...] = ()

    @property
    def module(self) -> str:
        """Of its flow, as Python imports it."""
        return self.entrypoint.partition(":")[0].removesuffix(".py").replace("/", ".")

    @property
    def function(self) -> str:
        return self.entrypoint.partition(":")[2]


@dataclass(frozen=True, slots=True)
class SpecFile:
    """A spec that deployments are made for."""

    path: Path  # absolute, as workers find it
    audit: str  # the name the spec gives its audit


@dataclass(frozen=True, slots=True)
class Wanted:
    """Everything of the file, ready for a server."""

    pools: tuple[Pool, ...]
    deployments: tuple[Deployment, ...]
    pull: list[dict[str, Any]]  # what a worker does before it runs a flow


def read_wanted(specs: Sequence[SpecFile], path: Path = PREFECT_YAML, clone: Path = CLONE) -> Wanted:
    """What the file asks for. Deployments that name the spec are there once for each spec.

    They are called as in the file where there is one spec, and `nightly-<audit>` where there are several.

    Raises:
        UsageError: the file is missing or wrong, two specs name the same audit, or a variable of the file is
            none of ours.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        pools = tuple(Pool.model_validate(each) for each in document["work_pools"])
        templates = tuple(Deployment.model_validate(each) for each in document["deployments"])
        pull = document["pull"]
    except FileNotFoundError:
        raise UsageError(f"{path} is not there: run `facesweep deploy` from a clone or the image") from None
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise UsageError(f"{path} cannot be read: {error!r}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UsageError(f"{path}: {error.title.lower()}: {where}: {first['msg']}") from None
    names = [spec.audit for spec in specs]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(
            f"two of the specs name their audit {twice}: deployments are told apart by that name"
        )
    values = {"FACESWEEP_CLONE": str(clone)}
    deployments: list[Deployment] = []
    for template in templates:
        if _names_spec(template.parameters):
            deployments += [_made_for(spec, template, values, path, len(specs) > 1) for spec in specs]
        else:
            filled = _filled(template.parameters, values, path)
            deployments.append(template.model_copy(update={"parameters": filled}))
    return Wanted(pools, tuple(deployments), _filled(pull, values, path))


def _made_for(
    spec: SpecFile, template: Deployment, values: Mapping[str, str], path: Path, is_one_of_several: bool
) -> Deployment:
    return template.model_copy(
        update={
            "name": f"{template.name}-{spec.audit}" if is_one_of_several else template.name,
            "parameters": _filled(template.parameters, {**values, _OF_A_SPEC: str(spec.path)}, path),
        }
    )


def _names_spec(value: Any) -> bool:
    return any(_OF_A_SPEC in text for text in _texts(value))


def _texts(value: Any) -> list[str]:
    match value:
        case str():
            return [value]
        case dict():
            return [text for each in value.values() for text in _texts(each)]
        case list():
            return [text for each in value for text in _texts(each)]
    return []


def _filled(value: Any, values: Mapping[str, str], path: Path) -> Any:
    """The value with each `{{ $NAME }}` replaced."""
    match value:
        case str():
            for name in _VARIABLE.findall(value):
                if name not in values:
                    known = ", ".join(sorted(values))
                    raise UsageError(f"{path}: ${name} is not one of the variables known here: {known}")
            return _VARIABLE.sub(lambda found: values[found[1]], value)
        case dict():
            return {name: _filled(each, values, path) for name, each in value.items()}
        case list():
            return [_filled(each, values, path) for each in value]
    return value
