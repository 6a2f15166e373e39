"""Aliyun's two kinds of refusal, its verdicts as JSON, and the memory of used nonces."""

import json
from collections import deque
from typing import Any

from emulators import verdicts
from emulators.calls import Call
from emulators.listening import Reply
from emulators.trouble import Trouble

NONCE_KEPT_S = 900
RESULTS = {"low": "0", "mid": "2", "high": "1"}  # 2 is suspicious, 1 is high: not in order

# The tag is spelled SuspectWarterMark, its score SuspectWaterMark.
SCORE_NAMES = {"SuspectWarterMark": "SuspectWaterMark"}
ALWAYS_SCORED = ("SuspectPSFace", "SuspectRemake", "SuspectDeepForgery")


class GatewayRefusal(Exception):
    """The gateway refuses: an HTTP status and a named code; the service never saw the call."""

    def __init__(
        self, code: str, message: str, http_status: int = 400, retry_after_ms: int | None = None
    ) -> None:
        super().__init__(code, message, http_status, retry_after_ms)
        self.code, self.message = code, message
        self.http_status, self.retry_after_ms = http_status, retry_after_ms


class BusinessRefusal(Exception):
    """The service gives no verdict: HTTP 200 and a number as Code in the body."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code, self.message = code, message


class Nonces:
    """Nonces used within 15 minutes."""

    def __init__(self) -> None:
        self._used: set[str] = set()
        self._in_order: deque[tuple[float, str]] = deque()

    def take(self, nonce: str, now: float) -> bool:
        """Whether the nonce is fresh; from now on it is not. `now` in seconds."""
        while self._in_order and self._in_order[0][0] < now - NONCE_KEPT_S:
            self._used.discard(self._in_order.popleft()[1])
        if nonce in self._used:
            return False
        self._used.add(nonce)
        self._in_order.append((now, nonce))
        return True


def refused(call: Call, refusal: GatewayRefusal | BusinessRefusal, host: str) -> Reply:
    """The reply for a refusal; none is billed (inferred)."""
    call.code = refusal.code
    if isinstance(refusal, BusinessRefusal):
        return _reply(
            200,
            {"RequestId": call.request_id, "Code": refusal.code, "Message": refusal.message},
            call,
        )
    call.throttled = refusal.code.startswith("Throttling")
    body = {
        "RequestId": call.request_id,
        "HostId": host,
        "Code": refusal.code,
        "Message": refusal.message,
        "Recommend": f"https://api.aliyun.com/troubleshoot?q={refusal.code}",
    }
    reply = _reply(refusal.http_status, body, call)
    if refusal.retry_after_ms is not None:
        reply.headers["x-acs-retry-after"] = str(refusal.retry_after_ms)
    return reply


def scored(call: Call, trouble: Trouble | None) -> Reply:
    """The reply with a verdict, billed. Raises BusinessRefusal where none is possible."""
    finding = verdicts.find(call.label, call.media_sha256)
    if isinstance(finding, verdicts.NoVerdict):
        raise BusinessRefusal(finding.aliyun_code, "no verdict is possible for this media")
    call.code, call.verdict, call.billed = "200", finding.aliyun, True
    fault = trouble.fault if trouble is not None else ""
    scores: Any = _scores(finding, call.media_sha256)
    if fault == "odd_risk_score" and trouble is not None:
        scores = odd_form(scores, trouble.form)
    result: dict[str, Any] | None = {
        "Result": RESULTS[finding.aliyun],
        "RiskTag": ",".join(finding.aliyun_tags),
        "RiskScore": scores,
    }
    answer: dict[str, Any] = {"RequestId": call.request_id, "Code": "200", "Message": "success"}
    if result is not None and fault == "missing_risk_tag":
        del result["RiskTag"]
    if result is not None and fault == "result_as_int":
        answer["Code"], result["Result"] = 200, int(RESULTS[finding.aliyun])
    if fault == "null_result_object":
        result = None
    return _reply(200, {**answer, "ResultObject": result}, call)


def odd_form(scores: dict[str, str], form: str) -> Any:
    """The scores in a form the documents also show: map, json_string or keyed_json_string."""
    if form == "json_string":
        return json.dumps(scores)
    if form == "keyed_json_string":
        return {"key": json.dumps(scores)}
    return scores


def _scores(finding: verdicts.Finding, media_sha256: str) -> dict[str, str]:
    tags = [SCORE_NAMES.get(tag, tag) for tag in finding.aliyun_tags]
    low, width = {"low": (0.0, 0.1), "mid": (0.5, 0.2), "high": (0.9, 0.1)}[finding.aliyun]
    scores = {}
    for name in dict.fromkeys((*ALWAYS_SCORED, *tags)):
        drawn = verdicts.share(media_sha256, name)
        scores[name] = f"{low + width * drawn if name in tags else 0.1 * drawn:.4f}"
    return scores


def _reply(status: int, body: dict[str, Any], call: Call) -> Reply:
    text = json.dumps(body, separators=(",", ":")).encode()
    headers = {"x-acs-request-id": call.request_id}
    return Reply(status, text, "application/json;charset=utf-8", headers)
