"""DeepfakeDetect on the wire: queries and bodies out, replies in. Pure functions."""

import pybase64

from domain.errors import Unfit
from domain.media import PreparedMedia
from domain.objects import MediaKind
from domain.verdicts import Answer, Risk
from tasks.providers.aliyun.codes import GATEWAY_CODES, SERVICE_CODES
from tasks.providers.exchange import Reply, broken_service
from tasks.providers.failures import Failure, Meaning, unreadable
from tasks.providers.replies import field_of, number_in, object_in, text_in
from tasks.providers.vocabulary import tags_of

ACTION = "DeepfakeDetect"
VERSION = "2019-03-07"
CONTENT_TYPE = "application/x-www-form-urlencoded"
REPEATED_CALLS_WAIT_S = 30.0  # ours, for "too many duplicate calls": "long back-off" in the sources
_MAX_WAIT_S = 300.0  # ours: a header may not put a run to sleep

_INPUT_TYPES = {MediaKind.IMAGE: "IMAGE", MediaKind.VIDEO: "VIDEO"}
_RISKS = {"0": Risk.LOW, "2": Risk.MID, "1": Risk.HIGH}  # severity runs 0 < 2 < 1


def query_parameters(kind: MediaKind, order_no: str, face_url: str = "") -> dict[str, str]:
    """What goes into the query; the body holds nothing but FaceBase64, or is empty with a URL.

    Raises: Unfit: neither image nor video.
    """
    input_type = _INPUT_TYPES.get(kind)
    if input_type is None:
        raise Unfit("unsupported_media", f"Alibaba takes images and videos, not {kind}")
    parameters = {"FaceInputType": input_type, "OuterOrderNo": order_no}
    if face_url:
        parameters["FaceUrl"] = face_url
    return parameters


def body_of(media: PreparedMedia) -> bytes:
    """The form body for `media`.

    Of base64's characters only + / = are escaped in a form: three replacements are 40 times as fast
    as `urllib.parse.quote`.
    """
    face = pybase64.b64encode(media.content)
    for plain, escaped in ((b"+", b"%2B"), (b"/", b"%2F"), (b"=", b"%3D")):
        face = face.replace(plain, escaped)
    return b"FaceBase64=" + face


def read_reply(reply: Reply, endpoint: str) -> Answer | Failure:
    """What a reply says, service and gateway alike; never raises, never guesses a level."""
    raw = reply.text
    content = object_in(raw)
    code = text_in(field_of(content, "Code"))
    request_id = text_in(field_of(content, "RequestId"))
    if not code:
        if reply.status != 200:
            return broken_service(reply, raw)
        return unreadable("malformed_reply", "the reply is not the API's JSON", request_id, raw)
    if code == "200":
        return _answer(content, request_id, endpoint, reply)
    message = text_in(field_of(content, "Message"))
    table = SERVICE_CODES if code.isdecimal() else GATEWAY_CODES
    is_repeated = table.meaning(code) is Meaning.REPEATED
    wait_s = REPEATED_CALLS_WAIT_S if is_repeated else _wait_s(reply)
    return table.failure(code, message, request_id, raw, wait_s)


def probe_shows(outcome: Answer | Failure) -> tuple[bool | None, bool]:
    """Of a request without media: was the key accepted (None: not told), and is all well?

    The gateway checks the key before the service sees anything, so any numeric code proves the key,
    and the complaint about a missing or illegal parameter is the good answer.
    """
    if isinstance(outcome, Answer):
        return True, True
    if outcome.code.isdecimal():
        is_about_parameters = outcome.code == "400" or outcome.meaning in (
            Meaning.SUSPECT,
            Meaning.REFUSED,
        )
        return True, is_about_parameters
    if outcome.meaning in (Meaning.DENIED, Meaning.TOKEN) and outcome.code.startswith(GATEWAY_CODES.withheld):
        return False, False
    return None, False


def _wait_s(reply: Reply) -> float:
    """The pause a throttled reply asks for, in seconds; the header counts milliseconds."""
    wait_ms = number_in(reply.headers.get("x-acs-retry-after"))
    if wait_ms is None or wait_ms <= 0:
        return 1.0
    return min(wait_ms / 1000, _MAX_WAIT_S)


def _answer(content: object, request_id: str, endpoint: str, reply: Reply) -> Answer | Failure:
    result = object_in(field_of(content, "ResultObject"))
    level = text_in(field_of(result, "Result"))
    risk = _RISKS.get(level)
    if risk is None:
        message = f"Result is {level[:40]!r}, known are 0, 1 and 2"
        return unreadable("unreadable_reply", message, request_id, reply.text)
    tags_raw = _tags_in(field_of(result, "RiskTag"))
    return Answer(
        risk=risk,
        risk_raw=level,
        request_id=request_id,
        endpoint=endpoint,
        raw=reply.text,
        tags=tags_of(tags_raw),
        tags_raw=tags_raw,
        scores=_scores_in(field_of(result, "RiskScore")),
        simulated=reply.simulated,
    )


def _tags_in(value: object) -> tuple[str, ...]:
    """Tags from "a,b", "a, b", a list, an empty string or nothing."""
    parts = value if isinstance(value, list) else text_in(value).split(",")
    return tuple(filter(None, map(text_in, parts)))


def _scores_in(value: object) -> dict[str, float]:
    """Scores from a map, a map as JSON text, or the documents' {"key": "{…}"}; others left out."""
    scores: dict[str, float] = {}
    for name, given in (object_in(value) or {}).items():
        inner = object_in(given)
        for tag, number in inner.items() if inner is not None else ((name, given),):
            score = number_in(number)
            if score is not None:
                scores[text_in(tag)] = score
    return scores
