"""What boto3 raises, as sentences for people."""

from boto3.exceptions import Boto3Error
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
)
from botocore.exceptions import ConnectionError as BotoConnectionError
from botocore.parsers import ResponseParserError

from domain.errors import UsageError
from tasks.buckets.refusals import refused, unreachable, wrong_dialect

# What boto3 raises: its own, the store's, its transfers', and what it cannot read as a reply.
BOTO_ERRORS = (BotoCoreError, ClientError, Boto3Error, ResponseParserError)
# Said of an object, of a version, and of a delete marker that is named by its version.
NO_SUCH_OBJECT = frozenset({"NoSuchKey", "NoSuchVersion", "MethodNotAllowed"})

_PERMISSIONS = "s3:ListBucket and s3:GetObject, for a home s3:PutObject too"


def said_no(error: Exception, wish: str, bucket: str, endpoint: str) -> UsageError:
    """One sentence of what went wrong, without what boto3's own texts may quote."""
    match error:
        case NoCredentialsError() | PartialCredentialsError() | CredentialRetrievalError():
            return UsageError(
                f"no complete credentials to {wish} bucket {bucket} at {endpoint}: set "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role"
            )
        case ResponseParserError():
            return wrong_dialect("S3", "oss://", bucket, endpoint)
        case HTTPClientError() | BotoConnectionError():
            return unreachable(wish, bucket, endpoint, type(error).__name__)
    code = code_of(error) or type(error).__name__
    return refused(code, wish, bucket, endpoint, _PERMISSIONS)


def code_of(error: BaseException) -> str:
    """The store's code, also where boto3's transfers have wrapped the reply."""
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", ""))
    cause = error.__cause__ or error.__context__
    return code_of(cause) if isinstance(error, Boto3Error) and cause is not None else ""


def status_of(error: BaseException) -> int:
    """The HTTP status of the store's refusal; 0 where there is none."""
    if isinstance(error, ClientError):
        return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    return 0
