"""Alibaba's error codes and what they mean: the service's own, then the gateway's before it.

The two layers cannot be confused: the service's codes are numbers, the gateway's are names. HTTP
statuses are not looked at, published pages disagree about them. Sources: the service's "error code"
page and its English copy; the gateway's common codes.
"""

from tasks.providers.failures import CodeTable, Meaning

_OUR_REQUEST = "the request itself is refused: check the endpoints in the spec"

SERVICE_CODES = CodeTable(
    exact={
        "400": Meaning.DENIED,  # a parameter is empty: our bug, it would fail for every object
        "401": Meaning.SUSPECT,
        "402": Meaning.UPSTREAM,
        "403": Meaning.REPEATED,
        "405": Meaning.REFUSED,
        "406": Meaning.REFUSED,
        "410": Meaning.DENIED,
        "411": Meaning.DENIED,
        "412": Meaning.DENIED,
        "419": Meaning.DENIED,
        "420": Meaning.REFUSED,
        "421": Meaning.REFUSED,
        "440": Meaning.UNAVAILABLE,  # listed for sibling APIs, not expected here
        "500": Meaning.UNAVAILABLE,
    },
    families=(),
    advice=(
        ("402", "a source behind the service failed, or the account may not call it"),
        ("406", "no face was found"),
        ("410", "activate the service in the console, then resume"),
        ("411", "grant the RAM user AliyunYundunCloudAuthFullAccess, then resume"),
        ("412", "settle the account's balance, then resume"),
    ),
    withheld=(),
)

# The international product's names are kept: one of its hosts may be somebody's endpoint.
GATEWAY_CODES = CodeTable(
    exact={
        "SignatureNonceUsed": Meaning.RETRY,
        "InvalidTimeStamp.Expired": Meaning.CLOCK,
        "MissingSecurityToken": Meaning.TOKEN,
        "NoPermission": Meaning.DENIED,
        "UnqualifiedPhoto": Meaning.REFUSED,
        "ToolargeImage": Meaning.REFUSED,
        "NoFaceDetected": Meaning.REFUSED,
        "TransactionIdInvalid": Meaning.DENIED,
        "Forbidden.ExceptionRepeatedInvoke": Meaning.REPEATED,
        "DataDuplication": Meaning.RETRY,
        "DownloadTimeout": Meaning.RETRY,
        "ProcessNotCompleted": Meaning.RETRY,
        "SuspiciousActivity": Meaning.RETRY,
        "ServiceUnavailable": Meaning.UNAVAILABLE,
        "InternalError": Meaning.UNAVAILABLE,
    },
    families=(
        ("Throttling", Meaning.THROTTLED),
        ("InvalidSecurityToken", Meaning.TOKEN),
        ("ServiceUnavailable", Meaning.UNAVAILABLE),
        ("InternalError", Meaning.UNAVAILABLE),
        ("Signature", Meaning.DENIED),
        ("IncompleteSignature", Meaning.DENIED),
        ("Forbidden", Meaning.DENIED),
        ("NoPermission", Meaning.DENIED),
        ("Missing", Meaning.DENIED),
        ("Invalid", Meaning.DENIED),
        ("Unsupported", Meaning.DENIED),
    ),
    advice=(
        ("InvalidTimeStamp", "the signature's time is over 15 minutes off"),
        ("InvalidSecurityToken", "the temporary keys have expired or do not belong together"),
        ("MissingSecurityToken", "these are temporary keys: set ALIBABA_CLOUD_SECURITY_TOKEN too"),
        ("InvalidAccessKeyId.Inactive", "activate the access key in the console, then resume"),
        ("InvalidAccessKeyId", "no such access key: check ALIBABA_CLOUD_ACCESS_KEY_ID"),
        ("SignatureNonceUsed", "the request arrived twice"),
        ("SignatureDoesNotMatch", "check ALIBABA_CLOUD_ACCESS_KEY_SECRET"),
        ("Signature", _OUR_REQUEST),
        ("IncompleteSignature", _OUR_REQUEST),
        ("Forbidden.ExceptionRepeatedInvoke", ""),
        ("Forbidden", "grant the RAM user AliyunYundunCloudAuthFullAccess, then resume"),
        ("NoPermission", "grant the RAM user AliyunYundunCloudAuthFullAccess, then resume"),
        ("InvalidApi", _OUR_REQUEST),
        ("InvalidProduct", _OUR_REQUEST),
        ("InvalidProtocol", "the endpoints in the spec must begin with https://"),
    ),
    withheld=(
        "Signature",
        "IncompleteSignature",
        "InvalidSignature",
        "InvalidAccessKeyId",
        "InvalidSecurityToken",
        "MissingSecurityToken",
        "InvalidTimeStamp",
    ),
)
