"""The emulated OSS itself: requests to replies."""

import base64
import hashlib
import json
import re
import secrets
import time
from collections.abc import Sequence
from email.utils import formatdate
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from aiohttp import web

from emulators.oss_objects import MAX_KEYS, Bucket, error_xml, listing_xml
from emulators.oss_signature import SUBRESOURCES, Account, Refusal, SignedRequest, verify

DEFAULT_ACCOUNT = Account("emulated-oss-key", "emulated-oss-secret")

# Sub-resources that mean something here; any other is refused.
_SERVED = frozenset({"security-token", "continuation-token", "versionId"})
# What a fault does instead of, or to, the right reply.
FAULTS = frozenset({"cut", "short", "corrupt", "deny", "slow_down", "hang_up", "no_request_id"})


class OssServer:
    """Buckets in memory behind verified signatures, with faults that a test can order."""

    def __init__(self, accounts: Sequence[Account], region: str, domain: str) -> None:
        self._accounts = {account.key_id: account for account in accounts}
        self._region, self._domain = region, domain
        self._buckets: dict[str, Bucket] = {}
        self._faults: list[dict[str, object]] = []
        self._clock_offset_s = 0.0
        self._requests: list[dict[str, object]] = []

    def load(self, root: Path) -> None:
        """Take every folder of `root` as a bucket and every file below it as an object."""
        for folder in sorted(path for path in root.iterdir() if path.is_dir()):
            bucket = self._buckets.setdefault(folder.name, Bucket(folder.name))
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                key = path.relative_to(folder).as_posix()
                bucket.put(key, path.read_bytes(), "application/octet-stream", self._now_s())

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """One reply to one request."""
        # The raw path: decoding before splitting would lose the `%2F`, `//` and `..` of keys.
        raw_path, _, raw_query = request.raw_path.partition("?")
        query = tuple(parse_qsl(raw_query, keep_blank_values=True))
        if raw_path.startswith("/_emulator/"):
            return await self._control(request, raw_path.removeprefix("/_emulator/"))
        bucket, key = self._bucket_and_key(request.host, raw_path)
        fault = self._take_fault(request.method, bucket, key)
        try:
            reply = await self._answer(request, bucket, key, query, fault)
        except Refusal as refusal:
            reply = self._refusal_reply(request, refusal)
        if fault != "no_request_id":
            reply.headers["x-oss-request-id"] = secrets.token_hex(12).upper()
        reply.headers["Server"] = "AliyunOSS"
        self._requests.append(
            {
                "method": request.method,
                "bucket": bucket,
                "key": key,
                "status": reply.status,
                "range": request.headers.get("Range", ""),
            }
        )
        return await self._send(request, reply, fault)

    async def _answer(
        self,
        request: web.BaseRequest,
        bucket: str,
        key: str,
        query: tuple[tuple[str, str], ...],
        fault: str,
    ) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        signed = SignedRequest(request.method, bucket, key, query, headers)
        verify(signed, self._accounts, self._region, self._now_s())
        if fault == "deny":
            raise Refusal(403, "AccessDenied", "You have no right to access this object.")
        if fault == "slow_down":
            raise Refusal(503, "SlowDown", "Please reduce your request rate.")
        unserved = {name for name, _ in query} & SUBRESOURCES - _SERVED
        if unserved:
            raise Refusal(501, "NotImplemented", f"Not emulated: {', '.join(sorted(unserved))}.")
        if not bucket:
            raise Refusal(501, "NotImplemented", "This emulator does not list buckets.")
        if key:
            return await self._object(request, bucket, key, dict(query))
        return await self._bucket(request, bucket, dict(query))

    async def _bucket(self, request: web.BaseRequest, name: str, query: dict[str, str]) -> web.Response:
        if request.method == "PUT":
            self._buckets.setdefault(name, Bucket(name))
            return web.Response()
        bucket = self._known(name)
        if request.method == "GET":
            limit = query.get("max-keys") or "100"
            if not limit.isdigit() or not 1 <= int(limit) <= MAX_KEYS:
                raise Refusal(400, "InvalidArgument", "max-keys must be from 1 to 1000.")
            xml = listing_xml(bucket, query, int(limit))
            return web.Response(body=xml, content_type="application/xml")
        if request.method == "DELETE":
            if bucket.objects:
                raise Refusal(409, "BucketNotEmpty", "The bucket has objects.")
            del self._buckets[name]
            return web.Response(status=204)
        raise Refusal(405, "MethodNotAllowed", "The method is not allowed on a bucket.")

    async def _object(
        self, request: web.BaseRequest, name: str, key: str, query: dict[str, str]
    ) -> web.Response:
        bucket = self._known(name)
        if query.get("versionId", "null") != "null":
            raise Refusal(404, "NoSuchVersion", "The bucket keeps no versions.")
        if request.method == "PUT":
            if len(key.encode()) > 1023 or key[0] in "/\\":
                raise Refusal(400, "InvalidObjectName", "The object's name is not valid.")
            content = await request.content.read()
            wanted = request.headers.get("Content-MD5")
            if wanted and wanted != base64.b64encode(_md5(content)).decode():
                raise Refusal(400, "InvalidDigest", "The Content-MD5 is not the content's.")
            bucket.put(key, content, request.content_type, self._now_s())
            return web.Response(headers=self._headers(bucket, key))
        if request.method == "DELETE":
            bucket.remove(key)
            return web.Response(status=204)
        if request.method not in ("GET", "HEAD"):
            raise Refusal(405, "MethodNotAllowed", "The method is not allowed on an object.")
        stored = bucket.objects.get(key)
        if stored is None:
            raise Refusal(404, "NoSuchKey", "The specified key does not exist.")
        headers = self._headers(bucket, key)
        headers["Last-Modified"] = formatdate(stored.modified_s, usegmt=True)
        headers["Content-Type"] = stored.content_type
        if request.method == "HEAD":
            headers["Content-Length"] = str(len(stored.content))  # aiohttp would leave a zero out
        start, end = _range(request.headers.get("Range", ""), len(stored.content))
        if end - start < len(stored.content):
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(stored.content)}"
            return web.Response(status=206, body=stored.content[start:end], headers=headers)
        return web.Response(body=stored.content, headers=headers)

    def _headers(self, bucket: Bucket, key: str) -> dict[str, str]:
        stored = bucket.objects[key]
        headers = {"ETag": f'"{stored.md5.hex().upper()}"', "x-oss-object-type": "Normal"}
        headers["Content-MD5"] = base64.b64encode(stored.md5).decode()
        if stored.crc64 is not None:
            headers["x-oss-hash-crc64ecma"] = str(stored.crc64)
        return headers

    def _known(self, name: str) -> Bucket:
        if name not in self._buckets:
            raise Refusal(404, "NoSuchBucket", "The specified bucket does not exist.")
        return self._buckets[name]

    async def _send(self, request: web.BaseRequest, reply: web.Response, fault: str) -> web.StreamResponse:
        body = bytes(reply.body or b"") if isinstance(reply.body, bytes) else b""
        if fault == "hang_up" and request.transport is not None:
            request.transport.close()
        elif fault == "corrupt" and body:
            reply.body = bytes((body[0] ^ 0xFF,)) + body[1:]
        elif fault == "short":
            reply.body = body[: len(body) // 2]
        elif fault == "cut" and request.transport is not None:
            stream = web.StreamResponse(status=reply.status, headers=reply.headers)
            stream.content_length = len(body)
            await stream.prepare(request)
            await stream.write(body[: len(body) // 2])
            request.transport.close()
            return stream
        return reply

    def _refusal_reply(self, request: web.BaseRequest, refusal: Refusal) -> web.Response:
        body = b"" if request.method == "HEAD" else error_xml(refusal)
        return web.Response(status=refusal.status, body=body, content_type="application/xml")

    def _bucket_and_key(self, host: str, raw_path: str) -> tuple[str, str]:
        hostname = host.partition(":")[0]
        if hostname.endswith(f".{self._domain}"):
            return hostname.removesuffix(f".{self._domain}"), unquote(raw_path[1:])
        bucket, _, key = raw_path[1:].partition("/")
        return unquote(bucket), unquote(key)

    def _take_fault(self, method: str, bucket: str, key: str) -> str:
        for fault in self._faults:
            prefix = fault.get("prefix")
            is_meant = key.startswith(str(prefix)) if prefix is not None else fault["key"] == key
            if fault.get("method", "GET") == method and fault["bucket"] == bucket and is_meant:
                left = fault["times"]
                if isinstance(left, int):
                    fault["times"] = left - 1
                    if left <= 1:
                        self._faults.remove(fault)
                return str(fault["kind"])
        return ""

    def _now_s(self) -> float:
        return time.time() + self._clock_offset_s

    async def _control(self, request: web.BaseRequest, name: str) -> web.Response:
        """`faults`: POST one, DELETE all; `clock`: POST an offset; `requests`: GET or DELETE.

        A fault meets requests of a `method` (GET where none is said) for one `key` of a `bucket`, or for
        every key that starts with a `prefix`, so many `times` or, without, until all are deleted.
        """
        told = json.loads(await request.content.read() or b"{}")
        match request.method, name:
            case "POST", "faults" if told.get("kind") in FAULTS:
                self._faults.append({"key": "", "times": None, **told})
            case "DELETE", "faults":
                self._faults.clear()
            case "POST", "clock":
                self._clock_offset_s = float(told["offset_s"])
            case "GET", "requests":
                return web.json_response(self._requests)
            case "DELETE", "requests":
                self._requests.clear()
            case _:
                return web.json_response({"error": "no such control"}, status=404)
        return web.json_response({})


def _range(header: str, size: int) -> tuple[int, int]:
    """Start and end of the one range a header asks for; everything where it makes no sense, as OSS does."""
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", header)
    if asked is None:
        return 0, size
    start, end = int(asked[1]), min(int(asked[2] or size) + 1, size)
    return (start, end) if start < end else (0, size)


def _md5(content: bytes) -> bytes:
    return hashlib.md5(content, usedforsecurity=False).digest()
