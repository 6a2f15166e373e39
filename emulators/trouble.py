"""Scripted faults: what goes wrong, for which calls, how often.

A fault meets only calls the service would otherwise have examined (well signed, within the quota,
well formed), so that a script is spent on exactly the calls it was meant for.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from emulators.calls import Call

# fault -> (providers it makes sense for, what it does)
FAULTS: Mapping[str, tuple[frozenset[str], str]] = {
    name: (frozenset(providers.split()), meaning)
    for name, providers, meaning in (
        ("throttled", "tencent aliyun", "refused for pace; code, http_status, retry_after_ms"),
        ("slow", "tencent aliyun", "served after latency_ms"),
        ("http_error", "tencent aliyun", "http_status (502) with a body that is html or empty"),
        ("cut_before_reply", "tencent aliyun", "not served; the connection is cut"),
        ("cut_mid_reply", "tencent aliyun", "served and billed; cut after half of the reply"),
        ("answers_lost", "tencent aliyun", "served and billed; cut before the first byte"),
        ("malformed_json", "tencent aliyun", "served and billed; the reply is broken JSON"),
        ("code", "tencent aliyun", "refused with code; Aliyun: digits mean a body code"),
        ("null_detail_list", "tencent", "served; AttackRiskDetailList is null"),
        ("missing_detail_list", "tencent", "served; AttackRiskDetailList is absent"),
        ("odd_risk_score", "aliyun", "served; RiskScore in form json_string | keyed_json_string"),
        ("result_as_int", "aliyun", "served; Code and Result are numbers"),
        ("null_result_object", "aliyun", "served; Code 200 with ResultObject null"),
        ("missing_risk_tag", "aliyun", "served; RiskTag is absent"),
    )
}


@dataclass(slots=True)
class Trouble:
    """One rule of a script. The first rule that matches a call meets it; only one does."""

    fault: str
    times: int | None = 1  # how many matching calls it meets; None: until reset
    after: int = 0  # matching calls that pass unharmed first
    media_sha256: str = ""  # only calls with this media
    label: str = ""  # only calls whose media carry this sample label
    code: str = ""
    message: str = "scripted by the emulator"
    http_status: int = 0  # 0: the code's usual status
    body: str = "html"  # of http_error: html | empty
    form: str = "json_string"  # of odd_risk_score
    latency_ms: float | None = None  # reply this long after arrival
    retry_after_ms: int | None = None  # sent as x-acs-retry-after by Aliyun's throttled
    met: int = 0  # calls this rule has met so far


class Script:
    """The rules of one service, in the order they were given."""

    def __init__(self, provider: str) -> None:
        self.provider = provider
        self.rules: list[Trouble] = []

    def add(self, rule: Mapping[str, Any]) -> Trouble:
        """Append a rule given as JSON. Raises ValueError with a sentence on anything unknown."""
        known = {field.name for field in fields(Trouble)} - {"met"}
        if unknown := sorted(set(rule) - known):
            raise ValueError(f"unknown field {unknown[0]}; a rule has {', '.join(sorted(known))}")
        fault = rule.get("fault", "")
        if fault not in FAULTS or self.provider not in FAULTS[fault][0]:
            possible = sorted(name for name, (who, _) in FAULTS.items() if self.provider in who)
            raise ValueError(f"no fault {fault!r} here; {self.provider} has {', '.join(possible)}")
        if fault == "code" and not rule.get("code"):
            raise ValueError("the fault 'code' needs a code")
        if fault == "slow" and rule.get("latency_ms") is None:
            raise ValueError("the fault 'slow' needs latency_ms")
        trouble = Trouble(**rule)
        self.rules.append(trouble)
        return trouble

    def meet(self, call: Call) -> Trouble | None:
        """The rule that meets this call, now spent once more; None when the call passes."""
        for rule in self.rules:
            if rule.media_sha256 and rule.media_sha256 != call.media_sha256:
                continue
            if rule.label and rule.label != call.label:
                continue
            if rule.times is not None and rule.met >= rule.times:
                continue
            if rule.after > 0:
                rule.after -= 1
                continue
            rule.met += 1
            call.trouble = rule.fault
            return rule
        return None

    def listed(self) -> list[dict[str, Any]]:
        return [asdict(rule) for rule in self.rules]

    def reset(self) -> None:
        self.rules.clear()
