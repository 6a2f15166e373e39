"""Settings: the spec file of an audit, and the only reader of the environment.

spec    its keys                           reading       from file to spec
reach   whether a provider can fetch       environment   what the machine gives
"""

from tasks.settings.environment import (
    MetricsAddress,
    decoder_environment,
    environment_with,
    has_proxy,
    metrics_address,
    quiet_prefect,
    read_metrics_address,
    spare_this_machine,
    state_folder,
    tencent_session_token,
)
from tasks.settings.reach import no_url_for
from tasks.settings.reading import read_spec, spec_of, unpriced_keys, with_sample
from tasks.settings.spec import Aliyun, Source, Spec, Tencent

__all__ = [
    "Aliyun",
    "MetricsAddress",
    "Source",
    "Spec",
    "Tencent",
    "decoder_environment",
    "environment_with",
    "has_proxy",
    "metrics_address",
    "no_url_for",
    "quiet_prefect",
    "read_metrics_address",
    "read_spec",
    "spare_this_machine",
    "spec_of",
    "state_folder",
    "tencent_session_token",
    "unpriced_keys",
    "with_sample",
]
