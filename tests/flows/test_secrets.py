"""Invariant 8: what a run leaves behind holds no credential, no signature and no picture."""

from base64 import b64encode
from pathlib import Path

import pytest

from tests.flows.faces import face
from tests.flows.facesweep_process import SECRETS
from tests.flows.once import Telling
from tests.flows.test_again import again  # noqa: F401
from tests.flows.test_bucket_audits import (
    oss,  # noqa: F401
    s3,  # noqa: F401
)
from tests.flows.test_troubles import troubles  # noqa: F401

SIGNED = ("X-Amz-Signature", "X-Amz-Credential", "Signature=", "x-oss-signature", "TC3-HMAC-SHA256")
PICTURE = face(0)[200:260]

STORIES = ("s3", "oss", "again", "troubles")

FORBIDDEN = {
    **{f"secret {secret[:6]}…": secret.encode() for secret in SECRETS},
    **{f"signature {text}": text.encode() for text in SIGNED},
    "picture": PICTURE,
    "picture in base64": b64encode(face(0))[240:320],
}


def files_with(folder: Path, text: bytes) -> list[str]:
    """Files of the folder that hold the text; sources and specs of the test's own making are left out."""
    return [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and "source" not in path.relative_to(folder).parts and text in path.read_bytes()
    ]


@pytest.mark.parametrize("what", FORBIDDEN)
@pytest.mark.parametrize("name", STORIES)
def test_invariant_8_no_file_and_no_output_of_a_run_holds_a(
    what: str, name: str, request: pytest.FixtureRequest
) -> None:
    """Home, journal, state folder and everything printed, searched byte by byte."""
    story: Telling = request.getfixturevalue(name)
    assert list(story.folder.rglob("stderr"))
    assert files_with(story.folder, FORBIDDEN[what]) == []


@pytest.mark.parametrize("what", FORBIDDEN)
def test_invariant_8_prefects_database_holds_no(
    what: str, shared: Path, request: pytest.FixtureRequest
) -> None:
    """Parameters, states, logs and artifacts of every run of these tests, searched byte by byte."""
    for name in STORIES:
        request.getfixturevalue(name)
    database = shared / "server"
    assert files_with(database, b"spec_path")
    assert files_with(database, FORBIDDEN[what]) == []
