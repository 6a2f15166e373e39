"""Tencent's error codes and what they mean. No error is billed; all come with HTTP status 200.

Source: the action's own list, the product's `errorcodes.py` and the platform's common codes, as of
tencentcloud-sdk-python-faceid 3.1.179.
"""

from tasks.providers.failures import CodeTable, Meaning

_REFUSED = (
    "FailedOperation.CoveredFace",
    "FailedOperation.ImageDecodeFailed",
    "FailedOperation.IncompleteFace",
    "FailedOperation.PoorImageQuality",
    "FailedOperation.VideoDecodeFailed",
    "FailedOperation.VideoDurationExceeded",
    "RequestSizeLimitExceeded",
)
_SUSPECT = ("InvalidParameter", "InvalidParameterValue")
_THROTTLED = (
    "RequestLimitExceeded",
    "RequestLimitExceeded.UinLimitExceeded",
    "RequestLimitExceeded.IPLimitExceeded",
    "RequestLimitExceeded.GlobalRegionUinLimitExceeded",
    "FailedOperation.RequestLimitExceeded",
)
_UNAVAILABLE = (
    "FailedOperation",
    "FailedOperation.DetectEngineSystemError",
    "FailedOperation.UnKnown",
    "InternalError",
    "InternalError.UnKnown",
    "ServiceUnavailable",
    "ResourceUnavailable",
    "ResourceInsufficient",
    "ResourceInUse",
)
_DENIED = (
    "ActionOffline",
    "AuthFailure.InvalidAuthorization",
    "AuthFailure.InvalidSecretId",
    "AuthFailure.MFAFailure",
    "AuthFailure.SecretIdNotFound",
    "AuthFailure.SignatureFailure",
    "AuthFailure.UnauthorizedOperation",
    "DryRunOperation",
    "FailedOperation.DecryptSystemError",
    "InvalidAction",
    "InvalidParameter.UnsupportEncryptField",
    "InvalidRequest",
    "IpInBlacklist",
    "IpNotInWhitelist",
    "LimitExceeded",
    "MissingParameter",
    "NoSuchProduct",
    "NoSuchVersion",
    "ResourceNotFound",
    "ResponseSizeLimitExceeded",
    "UnauthorizedOperation",
    "UnauthorizedOperation.ActivateError",
    "UnauthorizedOperation.Activating",
    "UnauthorizedOperation.Arrears",
    "UnauthorizedOperation.ChargeStatusException",
    "UnauthorizedOperation.NonAuthorize",
    "UnauthorizedOperation.Nonactivated",
    "UnknownParameter",
    "UnsupportedOperation",
    "UnsupportedProtocol",
    "UnsupportedRegion",
)

_KEY_ADVICE = "check TENCENTCLOUD_SECRET_ID and TENCENTCLOUD_SECRET_KEY"
_PUBLIC_KEY = "the encrypted body cannot be opened: check encryption and public_key against the console"
_OUR_REQUEST = "the request itself is refused: check endpoint and region in the spec"

CODES = CodeTable(
    exact={
        **dict.fromkeys(_REFUSED, Meaning.REFUSED),
        **dict.fromkeys(_SUSPECT, Meaning.SUSPECT),
        **dict.fromkeys(_THROTTLED, Meaning.THROTTLED),
        **dict.fromkeys(_UNAVAILABLE, Meaning.UNAVAILABLE),
        **dict.fromkeys(_DENIED, Meaning.DENIED),
        "AuthFailure.SignatureExpire": Meaning.CLOCK,
        "AuthFailure.TokenFailure": Meaning.TOKEN,
    },
    families=(
        ("AuthFailure", Meaning.DENIED),
        ("UnauthorizedOperation", Meaning.DENIED),
        ("UnsupportedOperation", Meaning.DENIED),
        ("RequestLimitExceeded", Meaning.THROTTLED),
        ("InvalidParameter", Meaning.SUSPECT),  # and InvalidParameterValue.*
        ("MissingParameter", Meaning.DENIED),
        ("UnknownParameter", Meaning.DENIED),
        ("LimitExceeded", Meaning.DENIED),
        ("ResourceNotFound", Meaning.DENIED),
    ),
    advice=(
        ("AuthFailure.SignatureExpire", "the signature's time is over 5 minutes off"),
        ("AuthFailure.TokenFailure", "the temporary keys have expired: renew them"),
        ("AuthFailure.MFAFailure", "the account demands a second factor for this key"),
        ("AuthFailure", f"the key is refused: {_KEY_ADVICE}"),
        ("UnauthorizedOperation.Arrears", "settle the account's balance, then resume"),
        ("UnauthorizedOperation.ChargeStatusException", "mend the account's billing, then resume"),
        ("UnauthorizedOperation.Nonactivated", "activate the service in the console, then resume"),
        ("UnauthorizedOperation", "grant the key the right to call faceid, then resume"),
        ("UnsupportedRegion", "choose another region in the spec"),
        ("Ip", "allow this machine's address in the console, then resume"),
        ("FailedOperation.DecryptSystemError", _PUBLIC_KEY),
        ("InvalidParameter.UnsupportEncryptField", _PUBLIC_KEY),
        ("InvalidAction", _OUR_REQUEST),
        ("NoSuch", _OUR_REQUEST),
    ),
    withheld=("AuthFailure",),
)
