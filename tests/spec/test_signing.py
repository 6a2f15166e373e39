"""Signatures equal those of the official SDKs, whose requests were captured as golden vectors."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from domain.media import PreparedMedia
from domain.objects import MediaKind
from tasks.providers.aliyun import signing as acs3
from tasks.providers.aliyun import wire as aliyun
from tasks.providers.credentials import Keys
from tasks.providers.tencent import signing as tc3
from tasks.providers.tencent import wire as tencent

VECTORS = Path(__file__).parents[1] / "vectors"
TENCENT = [
    "tencent_1_image_basic",
    "tencent_2_video_sts_region",
    "tencent_3_encrypted_body_aes",
    "tencent_4_unsigned_payload",
    "tencent_6_tc3_get",
]
ALIYUN = [
    "aliyun_1_v3_image_base64",
    "aliyun_2_v3_video_url_sts",
    "aliyun_3_v3_video_base64_sts_async",
    "aliyun_4_v3_video_url_async",
]
KINDS = {1: MediaKind.IMAGE, 2: MediaKind.VIDEO, "IMAGE": MediaKind.IMAGE, "VIDEO": MediaKind.VIDEO}


def vector(name: str) -> dict[str, Any]:
    """One captured request; its headers under lower-case names."""
    content: dict[str, Any] = json.loads((VECTORS / f"{name}.json").read_text("utf-8"))
    content["headers"] = {key.lower(): value for key, value in content["wire"]["headers"]}
    return content


def media(face: str, kind: MediaKind) -> PreparedMedia:
    return PreparedMedia(base64.b64decode(face), kind, "", "", "untouched")


@pytest.mark.parametrize("name", TENCENT)
def test_tc3_equals_the_golden_vector(name: str) -> None:
    """From key, time and payload hash to the very Authorization header the SDK sent."""
    seen = vector(name)
    headers, inputs = seen["headers"], seen["inputs"]
    unsigned = headers.get("x-tc-content-sha256") == tc3.UNSIGNED_PAYLOAD
    method, target, _ = seen["wire"]["request_line"].split()
    assert (
        tc3.authorization(
            Keys(inputs["secret_id"], inputs["secret_key"]),
            inputs["timestamp"],
            headers["host"],
            headers["content-type"],
            hashlib.sha256(b"UNSIGNED-PAYLOAD").hexdigest() if unsigned else seen["wire"]["body_sha256"],
            method,
            target.partition("?")[2],
        )
        == headers["authorization"]
    )


@pytest.mark.parametrize("name", ALIYUN)
def test_acs3_equals_the_golden_vector(name: str) -> None:
    """From key, headers, decoded query and body hash to the Authorization header the SDK sent."""
    seen = vector(name)
    headers, inputs = seen["headers"], seen["inputs"]
    signed = headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    assert (
        acs3.authorization(
            Keys(inputs["access_key_id"], inputs["access_key_secret"]),
            {name: headers[name] for name in signed},
            acs3.canonical_query(dict(seen["wire"]["query_decoded"])),
            seen["wire"]["body_sha256"],
        )
        == headers["authorization"]
    )


@pytest.mark.parametrize("name", TENCENT[:2])
def test_tencent_bodies_are_the_bytes_the_sdk_sends(name: str) -> None:
    """Joined from parts instead of serialised, and yet the same bytes."""
    seen = vector(name)
    parameters = seen["inputs"]["params"]
    face, kind = parameters["FaceInput"], KINDS[parameters["FaceInputType"]]
    assert tencent.body_of(media(face, kind)) == seen["wire"]["body_utf8"].encode()


@pytest.mark.parametrize("name", [ALIYUN[0], ALIYUN[2]])
def test_aliyun_bodies_and_queries_are_what_the_sdk_sends(name: str) -> None:
    """Three replacements instead of urllib's quoting, and yet the same bytes."""
    seen = vector(name)
    parameters = seen["inputs"]["params"]
    kind = KINDS[parameters["FaceInputType"]]
    assert aliyun.body_of(media(parameters["FaceBase64"], kind)) == seen["wire"]["body_utf8"].encode()
    query = acs3.canonical_query(aliyun.query_parameters(kind, parameters["OuterOrderNo"]))
    assert f"POST /?{query} HTTP/1.1" == seen["wire"]["request_line"]


def test_a_face_url_of_hard_characters_is_escaped_by_rfc_3986() -> None:
    """Space is %20 and never +, and nothing but A-Za-z0-9-_.~ stays bare."""
    parameters = aliyun.query_parameters(MediaKind.VIDEO, "fs1", "https://h/a b/人~(1)*'!?x=%7E+&y")
    assert acs3.canonical_query(parameters) == (
        "FaceInputType=VIDEO"
        "&FaceUrl=https%3A%2F%2Fh%2Fa%20b%2F%E4%BA%BA~%281%29%2A%27%21%3Fx%3D%257E%2B%26y"
        "&OuterOrderNo=fs1"
    )


def test_the_tc3_date_is_that_of_the_timestamp() -> None:
    """One second apart across midnight in UTC, two days in the scope, whatever the local time is."""
    keys = Keys("id", "secret")
    before, after = (
        tc3.authorization(keys, at, "h", "application/json", "0" * 64) for at in (1735689599, 1735689600)
    )
    assert "Credential=id/2024-12-31/faceid/tc3_request" in before
    assert "Credential=id/2025-01-01/faceid/tc3_request" in after
