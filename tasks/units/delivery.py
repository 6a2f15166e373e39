"""How a run's media reach a provider, and what is read of them on the way, as its spec says."""

import asyncio

from domain.errors import UsageError
from domain.verdicts import Provider
from tasks.buckets.bucket import Bucket
from tasks.media.limits import ProviderLimits
from tasks.media.signals import can_verify_manifests
from tasks.media.workers import MediaWorkers
from tasks.providers.aliyun.client import AliyunDetector
from tasks.providers.detector import Detector
from tasks.settings import Spec, no_url_for
from tasks.shard.by_url import ByUrl
from tasks.shard.looking import Looking


def by_url_of(spec: Spec, bucket: Bucket, limits: ProviderLimits, detector: Detector) -> ByUrl | None:
    """How objects go by url; None where they all go by base64."""
    aliyun = spec.providers.aliyun
    if aliyun is None or not isinstance(detector, AliyunDetector) or not may_go_by_url(spec, Provider.ALIYUN):
        return None
    return ByUrl(bucket, limits, detector.compose_url, is_wanted=aliyun.delivery == "url")


def may_go_by_url(spec: Spec, provider: Provider) -> bool:
    """Whether any object may go to the provider by url."""
    aliyun = spec.providers.aliyun
    if provider is not Provider.ALIYUN or aliyun is None or aliyun.delivery == "base64":
        return False
    return no_url_for(spec.source, aliyun) is None


def check_libraries(spec: Spec) -> None:
    """Raises UsageError where the spec asks for what is not installed here."""
    if spec.signals.verify_c2pa and not can_verify_manifests():
        raise UsageError(
            "signals.verify_c2pa needs the library of C2PA: install facesweep[c2pa], or remove the key"
        )


def looking_of(spec: Spec, workers: MediaWorkers) -> Looking:
    """What is read of an object's own bytes.

    Raises: UsageError: as `check_libraries`: a run may be gone on with on another machine.
    """
    check_libraries(spec)
    signals = spec.signals
    return Looking(
        perceptual_hash=signals.perceptual_hash,
        verify_c2pa=signals.verify_c2pa,
        skip_labelled=signals.skip_labelled,
        turns=asyncio.Semaphore(workers.processes),
    )
