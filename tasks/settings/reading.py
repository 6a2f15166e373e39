"""Reading a spec file: what is wrong with it in one sentence, or a spec."""

import difflib
import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from domain.errors import UsageError
from domain.verdicts import Provider
from tasks.settings.reach import no_url_for
from tasks.settings.spec import Spec

_PEM_MARK = "-----BEGIN"
_MOST_KEY_BYTES = 16 * 1024  # a public key in PEM has some hundreds


def read_spec(path: Path) -> Spec:
    """Read and check a spec file; relative paths in it are taken from its own folder.

    Raises:
        UsageError: the file cannot be read or is not a valid spec; names the file, the key and the remedy.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors on Windows write a byte order mark
    except FileNotFoundError:
        raise UsageError(f"{path}: no such spec file; see `facesweep audit --help` for an example") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: is not UTF-8: save it as UTF-8") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: not valid TOML: {error}") from None
    return _anchored(spec_of(data, str(path)), path.resolve().parent, str(path))


def spec_of(data: dict[str, Any], origin: str) -> Spec:
    """Check a spec given as plain data, from a spec file or a run record; `origin` names it in errors.

    Raises:
        UsageError: it is not a valid spec.
    """
    try:
        spec = Spec.model_validate(data)
    except ValidationError as error:
        raise UsageError(f"{origin}: {_sentence(error)}") from None
    if not spec.asked:
        raise UsageError(
            f"{origin}: [providers] asks nobody: add [providers.tencent] or [providers.aliyun] (or both)"
        )
    _check_strategy(spec, origin)
    _check_delivery(spec, origin)
    if spec.budget.money is not None and (unpriced := unpriced_keys(spec)):
        raise UsageError(
            f"{origin}: budget.money: {unpriced[0]} is missing: money cannot be counted without it"
        )
    after, before = spec.source.modified_after, spec.source.modified_before
    if after and before and after >= before:
        raise UsageError(f"{origin}: source.modified_after is not before source.modified_before")
    if spec.source.max_bytes is not None and spec.source.max_bytes < spec.source.min_bytes:
        raise UsageError(f"{origin}: source.max_bytes is smaller than source.min_bytes")
    if spec.source.allocation and not spec.source.strata:
        raise UsageError(f"{origin}: source.allocation shares a sample among strata: add source.strata")
    for key in ("columns", "inventory_endpoint_url", "inventory_region"):
        if spec.source.inventory is None and getattr(spec.source, key) is not None:
            raise UsageError(f"{origin}: source.{key} says how to read an inventory: add source.inventory")
    return spec


def with_sample(spec: Spec, sample: int | str) -> Spec:
    """The spec with another sample than its own; a share such as `1%`, or a count.

    Raises:
        UsageError: it is neither.
    """
    data = spec.as_json()
    return spec_of({**data, "source": {**data["source"], "sample": sample}}, "the sample given")


def _check_strategy(spec: Spec, origin: str) -> None:
    """Raises UsageError unless the strategy's keys fit each other and the providers asked."""
    strategy = spec.strategy
    if strategy.kind != "all" and len(spec.asked) < len(Provider):
        raise UsageError(
            f"{origin}: strategy.kind {strategy.kind!r} is about two providers: give [providers.tencent] and "
            "[providers.aliyun], or remove [strategy]"
        )
    if strategy.first is not None and strategy.kind not in ("cascade", "failover"):
        raise UsageError(f"{origin}: strategy.first means something for 'cascade' and 'failover' only")
    if strategy.low_fraction and strategy.kind != "cascade":
        raise UsageError(f"{origin}: strategy.low_share means something for 'cascade' only")


def _check_delivery(spec: Spec, origin: str) -> None:
    """Raises UsageError unless media can reach the providers the way the spec wants."""
    tencent, aliyun = spec.providers.tencent, spec.providers.aliyun
    if aliyun is not None and aliyun.delivery == "url":
        sentence = no_url_for(spec.source, aliyun)
        if sentence is not None:
            raise UsageError(
                f"{origin}: providers.aliyun.delivery 'url': {sentence}; give 'auto' or 'base64'"
            )
    if tencent is None:
        return
    if (tencent.encryption == "none") != (tencent.public_key is None):
        raise UsageError(
            f"{origin}: providers.tencent: encryption and public_key go together: encryption is "
            "'AES-256-CBC' or 'SM4-GCM', public_key the PEM of the console's key or its path"
        )
    if tencent.public_key is not None and tencent.public_key.lstrip().startswith(_PEM_MARK):
        try:
            _ = tencent.cipher
        except UsageError as error:
            raise UsageError(f"{origin}: providers.tencent.{error}") from None


def unpriced_keys(spec: Spec) -> list[str]:
    """The price keys a budget of money needs and the spec does not have."""
    return [f"providers.{provider}.price_per_call" for provider in spec.asked if provider not in spec.prices]


def _anchored(spec: Spec, folder: Path, origin: str) -> Spec:
    """The spec with its relative folders made absolute, so that a resume from elsewhere finds them.

    A public key's file is read and put in its place, so that who goes on with the run needs no file.
    """

    def anchor(location: str) -> str:
        if "://" in location:
            return location
        return str((folder / Path(location).expanduser()).resolve())

    home, inventory = spec.audit.home, spec.source.inventory
    source = {"url": anchor(spec.source.url), "inventory": anchor(inventory) if inventory else None}
    update: dict[str, Any] = {
        "audit": spec.audit.model_copy(update={"home": anchor(home or spec.home)}),
        "source": spec.source.model_copy(update=source),
    }
    tencent = spec.providers.tencent
    if tencent is not None and tencent.public_key is not None:
        tencent = tencent.model_copy(update={"public_key": _pem(tencent.public_key, folder, origin)})
        update["providers"] = spec.providers.model_copy(update={"tencent": tencent})
    anchored = spec.model_copy(update=update)
    _check_delivery(anchored, origin)
    return anchored


def _pem(public_key: str, folder: Path, origin: str) -> str:
    """A public key's text: as it is, or what the file of that path holds. Raises: UsageError."""
    if public_key.lstrip().startswith(_PEM_MARK):
        return public_key
    path = folder / Path(public_key).expanduser()
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_KEY_BYTES).decode("ascii")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no text"
        raise UsageError(f"{origin}: providers.tencent.public_key: {path} cannot be read: {reason}") from None
    if "PRIVATE KEY" in text:
        raise UsageError(
            f"{origin}: providers.tencent.public_key: {path} holds a private key, which belongs nowhere near "
            "a spec: give the provider's public key"
        )
    if not text.lstrip().startswith(_PEM_MARK):
        raise UsageError(f"{origin}: providers.tencent.public_key: {path} holds no key in PEM")
    return text.strip()


def _dotted(keys: tuple[int | str, ...]) -> str:
    return ".".join(str(key) for key in keys)


def _sentence(error: ValidationError) -> str:
    """The first fault of a spec, as one sentence that names the key."""
    faults = error.errors(include_url=False, include_input=False)
    # A misspelled required key is both unknown and missing: the first says what to do.
    fault = next((each for each in faults if each["type"] == "extra_forbidden"), faults[0])
    where = fault["loc"]
    if fault["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(where[-1]), _known_keys(where[:-1]), n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"{_dotted(where)}: unknown key{hint}"
    if fault["type"] == "missing":
        return f"{_dotted(where)}: this key is required"
    if where[0] == "processing_record":  # of every type a value may have there is a fault
        return f"{_dotted(where[:2])}: must be a text, a number, true or false"
    message = fault["msg"].removeprefix("Value error, ").replace("valid tuple", 'list, such as ["*.jpg"]')
    message = message.removesuffix(" after validation, not 0").replace("Tuple", "List")
    more = error.error_count() - 1
    return f"{_dotted(where)}: {message[0].lower()}{message[1:]}" + (f" (and {more} more)" if more else "")


def _known_keys(section: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = Spec
    for name in section:
        annotation = model.model_fields[str(name)].annotation
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        model = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return list(model.model_fields)
