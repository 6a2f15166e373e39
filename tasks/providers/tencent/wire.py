"""DetectAIFakeFaces on the wire: bodies out, replies in. Pure functions."""

import pybase64

from domain.errors import Unfit
from domain.media import PreparedMedia
from domain.objects import MediaKind
from domain.verdicts import Answer, Risk
from tasks.providers.exchange import Reply, broken_service
from tasks.providers.failures import Failure, Meaning, unreadable
from tasks.providers.replies import field_of, list_in, number_in, object_in, text_in
from tasks.providers.tencent.codes import CODES
from tasks.providers.tencent.encryption import BodyCipher
from tasks.providers.vocabulary import tags_of

ACTION = "DetectAIFakeFaces"
VERSION = "2018-03-01"
CONTENT_TYPE = "application/json"
# "POST with TC3: 10 MB for the whole request"; whether a MB is 10^6 or 2^20 bytes is not said. The
# headers count too: about 700 bytes, and a token of up to 4 KB.
MAX_BODY_BYTES = 10_000_000 - 10_000

_INPUT_TYPES = {MediaKind.IMAGE: b"1", MediaKind.VIDEO: b"2"}
_RISKS = {"low": Risk.LOW, "mid": Risk.MID, "high": Risk.HIGH}


def body_of(media: PreparedMedia, cipher: BodyCipher | None = None) -> bytes:
    """The JSON body for `media`, as `json.dumps` would write it at a hundredth of its time.

    Base64 holds nothing that JSON escapes, so joining bytes is exact. With `cipher` that body is what is
    encrypted, and the one that is sent says no more than how.

    Raises: Unfit: neither image nor video, or over `MAX_BODY_BYTES` (7.49 MB of media, 5.6 MB encrypted).
    """
    input_type = _INPUT_TYPES.get(media.kind)
    if input_type is None:
        raise Unfit("unsupported_media", f"Tencent takes images and videos, not {media.kind}")
    face = pybase64.b64encode(media.content)
    body = b"".join((b'{"FaceInput": "', face, b'", "FaceInputType": ', input_type, b"}"))
    if cipher is not None:
        body = cipher.encrypt(body)
    if len(body) > MAX_BODY_BYTES:
        raise Unfit("too_large", f"a request of {len(body)} bytes, Tencent takes {MAX_BODY_BYTES}")
    return body


def read_reply(reply: Reply, endpoint: str) -> Answer | Failure:
    """What a reply says; never raises, and never guesses a level it does not know."""
    raw = reply.text
    response = field_of(object_in(raw), "Response")
    request_id = text_in(field_of(response, "RequestId"))
    if reply.status != 200:
        return broken_service(reply, raw)
    if response is None:
        return unreadable("malformed_reply", "the reply is not the API's JSON", raw=raw)
    error = field_of(response, "Error")
    if error is not None:
        code = text_in(field_of(error, "Code"))
        if not code:
            return unreadable("malformed_reply", "an error without a code", request_id, raw)
        return CODES.failure(code, text_in(field_of(error, "Message")), request_id, raw)
    return _answer(response, request_id, endpoint, reply)


def _answer(response: object, request_id: str, endpoint: str, reply: Reply) -> Answer | Failure:
    level = text_in(field_of(response, "AttackRiskLevel"))
    risk = _RISKS.get(level.lower())
    if risk is None:
        message = f"AttackRiskLevel is {level[:40]!r}, known are Low, Mid and High"
        return unreadable("unreadable_reply", message, request_id, reply.text)
    details = list_in(field_of(response, "AttackRiskDetailList"))
    tags_raw = tuple(filter(None, (text_in(field_of(detail, "Type")) for detail in details)))
    hits = list_in(field_of(response, "ExtraInfo", "RetrievalLivenessExtraInfo"))
    best = hits[0] if hits else None
    return Answer(
        risk=risk,
        risk_raw=level,
        request_id=request_id,
        endpoint=endpoint,
        raw=reply.text,
        tags=tags_of(tags_raw),
        tags_raw=tags_raw,
        template_group=text_in(field_of(best, "HitGroup")) or None,
        template_similarity=number_in(field_of(best, "SimilarityScore")),
        simulated=reply.simulated,
    )


def probe_shows(outcome: Answer | Failure) -> tuple[bool | None, bool]:
    """Of a request with an empty body: was the key accepted (None: not told), and is all well?

    Parameters are looked at after the key, so a complaint about them is the good answer.
    """
    if isinstance(outcome, Answer):
        return True, True
    if outcome.meaning in (Meaning.CLOCK, Meaning.THROTTLED):
        return None, False
    if outcome.code.startswith("AuthFailure"):
        return False, False
    if outcome.code.startswith("UnauthorizedOperation"):
        return True, False
    is_about_parameters = outcome.code.startswith(("MissingParameter", "InvalidParameter"))
    return (True, True) if is_about_parameters else (None, False)
