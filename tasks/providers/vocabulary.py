"""One vocabulary for the tags of both providers."""

from collections.abc import Iterable

MAPPING_VERSION = 1  # stored with each verdict; raised whenever a line below changes

# Misspelt forms are the providers' own: they were seen in their documents or SDKs.
_TAGS = {
    "SuspectedSynthesisImage": "synthesis",
    "SuspectedSynthesisVideo": "synthesis",
    "SuspectDeepForgery": "synthesis",
    "SuspectAIGCFace": "synthesis",
    "SuspectAIGC Face": "synthesis",
    "SuspectPSFace": "composite",
    "SuspectedBlackIndustry": "template",
    "SuspectTemple": "template",
    "SuspectedSpoofingAttack": "recapture",
    "SuspectRemake": "recapture",
    "SuspectedWatermark": "watermark",
    "SuspectWarterMark": "watermark",
    "SuspectWaterMark": "watermark",
    "SuspectedAdversarialAttack": "adversarial",
    "SuspectedAnomalyAttack": "anomaly",
    "SuspectedeAnomalyAttack": "anomaly",
}


def tag_of(raw_tag: str) -> str:
    """Our word for a provider's tag; a tag nobody has described becomes `other:<raw>`."""
    return _TAGS.get(raw_tag, f"other:{raw_tag}")


def tags_of(raw_tags: Iterable[str]) -> tuple[str, ...]:
    """Our words for a reply's tags, each once, in the order of their first mention."""
    return tuple(dict.fromkeys(map(tag_of, raw_tags)))
