"""Settings: the spec file of an audit, and the only reader of the environment.

spec    its keys                           reading       from file to spec
reach   whether a provider can fetch       environment   what the machine gives
"""

from tasks.settings.environment import (
    decoder_environment,
    environment_with,
    has_proxy,
    quiet_prefect,
    state_folder,
    tencent_session_token,
)
from tasks.settings.reach import no_url_for
from tasks.settings.reading import read_spec, spec_of, unpriced_keys
from tasks.settings.spec import Aliyun, Source, Spec, Tencent

__all__ = [
    "Aliyun",
    "Source",
    "Spec",
    "Tencent",
    "decoder_environment",
    "environment_with",
    "has_proxy",
    "no_url_for",
    "quiet_prefect",
    "read_spec",
    "spec_of",
    "state_folder",
    "tencent_session_token",
    "unpriced_keys",
]
