"""One bucket, through Airflow's S3 hook: HEAD, and a PUT that appears whole or not at all."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import IO, TYPE_CHECKING, Any, NoReturn, cast
from urllib.parse import urlsplit

from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    FlexibleChecksumError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
)

from airflow_provider_binance_margin import __version__
from airflow_provider_binance_margin.failures import LakeError, StoreError
from airflow_provider_binance_margin.lake.formats import FORMATS, Written, write_rows
from airflow_provider_binance_margin.lake.layout import suffix_of
from airflow_provider_binance_margin.lake.object_metadata import Existing, ObjectIdentity, Run, object_metadata
from airflow_provider_binance_margin.lake.spool import temporary_storage

if TYPE_CHECKING:
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)

_IN_MEMORY = 1 << 20
_TRIES = 3
_CHUNK = 1 << 20
#: as many as an operator may have workers; they are opened when they are needed
_MOST_CONNECTIONS = 64
_AWS = (".amazonaws.com", ".amazonaws.com.cn")
_OF_A_HEAD = ("SSECustomerAlgorithm", "SSECustomerKey", "SSECustomerKeyMD5", "RequestPayer", "ExpectedBucketOwner")
#: of a put with a condition; NoSuchKey is said of an object that has gone since it was looked at
_CHANGED_MEANWHILE = ("PreconditionFailed", "412", "ConditionalRequestConflict", "409", "NoSuchKey", "404")
_KNOWS_NO_CONDITIONS = ("NotImplemented", "501")
#: conditions that a put to an existing object must fail
_FALSE_CONDITIONS = {"IfMatch": f'"{"0" * 32}"', "IfNoneMatch": "*"}
_MISSING = ("404", "NoSuchKey", "NotFound")
_NO_BUCKET = ("404", "NoSuchBucket", "NotFound")
_ELSEWHERE = ("301", "PermanentRedirect")
#: how stores answer a put whose checksum, or whose framing for it, they do not know
_MISREAD_PUT = ("InvalidArgument", "InvalidRequest", "MissingContentLength", "411", "NotImplemented", "501")
_MISREAD_BODY = ("400", "BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch")
_WITHOUT_CHECKSUMS = (
    "give the AWS connection the extra "
    '{"config_kwargs": {"request_checksum_calculation": "when_required", '
    '"response_checksum_validation": "when_required"}}'
)
_HINTS = {
    **dict.fromkeys(
        (*_MISREAD_PUT, *_MISREAD_BODY),
        "check s3_extra_args; a store other than AWS's may not know the checksums that newer boto3 sends: "
        + _WITHOUT_CHECKSUMS,
    ),
    "SignatureDoesNotMatch": (
        "a store other than AWS's may not know the checksums that newer boto3 sends: "
        f"{_WITHOUT_CHECKSUMS}; or the secret access key is wrong"
    ),
}
#: the answer to a HEAD has no body that would give the reason
_HEAD_HINTS = {
    "400": "likely the session's token has expired, or the connection's region_name is not the bucket's",
    "403": "a wrong key, an expired token and a clock that is minutes off are answered in the same way",
}
_REFUSED = {
    "AccessDenied": "is not allowed",
    "403": "is not allowed",
    "NoSuchBucket": "fails, since the bucket does not exist",
    "InvalidAccessKeyId": "is refused, since the access key is unknown",
    "SignatureDoesNotMatch": "is refused, since the secret access key is wrong",
    "ExpiredToken": "is refused, since the session's token has expired",
    "PermanentRedirect": "is refused, since the bucket is in another region",
    "301": "is refused, since the bucket is in another region",
    "InvalidBucketName": "fails, since the bucket's name is not valid",
}


@dataclass(frozen=True)
class Payload:
    """Body and headers of a put."""

    body: IO[bytes]
    content_type: str
    metadata: Mapping[str, str]


@dataclass(frozen=True)
class Body:
    """Rows as an object's bytes; the file stands at their end."""

    file: SpooledTemporaryFile[bytes]
    written: Written


@contextmanager
def write_body(key: str, lines: Iterable[bytes], columns: Mapping[str, str]) -> Iterator[Body]:
    """Write rows, a JSON object each, to a temporary file in the format that a key names."""
    with temporary_storage(), SpooledTemporaryFile(max_size=_IN_MEMORY) as file:
        yield Body(file, write_rows(lines, suffix_of(key), columns, file))


class ObjectStore:
    """The objects of one bucket, connected to when the first is asked for. Safe to share between threads."""

    def __init__(self, hook: S3Hook, bucket: str, extra_args: Mapping[str, Any]) -> None:
        self.bucket = bucket
        self._hook = hook
        self._extra_args = {**hook.extra_args, **extra_args}
        self._head_args = {name: value for name, value in self._extra_args.items() if name in _OF_A_HEAD}
        self._conditional = True
        self._told = self._bucket_seen = False
        self._connected: S3Client | None = None
        self._unproved: set[str] = set()
        self._keeps_existing = False  # known to refuse a put with If-None-Match over what is there
        self._lock, self._connecting = threading.Lock(), threading.Lock()

    @property
    def is_connected(self) -> bool:
        """True when a request need not wait for the client to be made."""
        return self._connected is not None

    @property
    def endpoint(self) -> str:
        """URL of the store."""
        return self._client.meta.endpoint_url

    @property
    def _client(self) -> S3Client:
        with self._connecting:
            if self._connected is None:
                self._connected = _connect(self._hook)
                self._keeps_existing = is_aws(self._connected.meta.endpoint_url)
                self._unproved = set() if self._keeps_existing else {"ContentLength", *_FALSE_CONDITIONS}
            return self._connected

    def check_bucket(self) -> None:
        """Refuse a bucket that cannot be used; it is asked for once.

        An answer that proves nothing is let pass: a policy may allow the objects and forbid the bucket.

        :raises LakeError: when it does not exist or is in another region
        """
        owner = {name: value for name, value in self._extra_args.items() if name == "ExpectedBucketOwner"}
        with self._lock:
            if self._bucket_seen:
                return
            try:
                self._client.head_bucket(Bucket=self.bucket, **owner)
            except ClientError as error:
                code = _code(error)
                if code in _NO_BUCKET or code in _ELSEWHERE:
                    reason = _REFUSED["NoSuchBucket" if code in _NO_BUCKET else code]
                    raise LakeError(
                        f"HEAD s3://{self.bucket}/ {reason}: create it, or correct s3_bucket and the AWS connection's "
                        "endpoint_url and region_name"
                    ) from None
                log.debug("HEAD of bucket %s returned %s: its existence could not be checked.", self.bucket, code)
            except ParamValidationError:
                raise LakeError(f"s3://{self.bucket}/ is no bucket that S3 could have: correct s3_bucket") from None
            except BotoCoreError as error:
                _fail_to_reach(error)
            self._bucket_seen = True

    def head(self, key: str) -> Existing | None:
        """The object under a key, or None; LakeError when the store does not let it be seen, or there is no bucket."""
        needs = "it needs s3:GetObject, and s3:ListBucket to tell a missing object"
        with self._readable_errors("HEAD", key, needs):
            try:
                answer = self._client.head_object(Bucket=self.bucket, Key=key, **self._head_args)
            except ClientError as error:
                if _code(error) not in _MISSING:
                    raise
                self.check_bucket()  # without one the answer is the same
                return None
            except ParamValidationError:
                raise LakeError(f"s3://{self.bucket}/{key} is no bucket and key that S3 could have") from None
        metadata = {name.lower(): value for name, value in answer["Metadata"].items()}
        return Existing(answer["ETag"], answer["ContentLength"], metadata)

    def put(
        self,
        key: str,
        body: Body,
        judge: Callable[[Existing | None], None],
        *,
        is_new: bool = False,
        identity: ObjectIdentity,
        run: Run,
        **stated: Any,
    ) -> int:
        """Put written rows with their metadata, if what is there at that moment may be replaced.

        :param judge: is shown what is there, and raises if it must stay
        :param stated: what `object_metadata` takes beside what the body tells
        :return: the size put
        :raises LakeError: when the store refuses for good
        :raises StoreError: when it failed, or others keep writing to the key
        """
        seen = set()
        with temporary_storage():
            size = body.file.tell()
            body.file.seek(0)
            metadata = object_metadata(
                identity,
                run,
                rows=body.written.records,
                sha256=body.written.sha256,
                body_sha256=hashlib.file_digest(body.file, "sha256").hexdigest(),
                body_size=size,
                provider_version=__version__,
                **stated,
            )
            payload = Payload(cast("IO[bytes]", body.file), FORMATS[suffix_of(key)], metadata)
            is_new = is_new and self._conditional and self._keeps_existing
            for number in range(_TRIES):
                existing = None if is_new and not number else self.head(key)
                judge(existing)
                seen.add(existing and existing.etag)
                condition = {"IfMatch": existing.etag} if existing else {"IfNoneMatch": "*"}
                if self._put(key, payload, condition if self._conditional else {}):
                    self._prove(key, payload, size, condition)
                    return size
        what = f"s3://{self.bucket}/{key}"
        if len(seen) > 1:
            raise StoreError(f"{what} was changed by somebody else at each of {_TRIES} tries to write it")
        raise StoreError(
            f"PUT {what} was refused at each of {_TRIES} tries as if its ETag had changed, which it has not: another "
            "write to the key is under way, or the store, or a gateway before it, does not understand If-Match and "
            "If-None-Match"
        )

    def sha256(self, key: str, etag: str, copy: IO[bytes] | None = None) -> str:
        """Checksum of an object's bytes, all of which are read (into `copy`); StoreError if it has changed since."""
        digest = hashlib.sha256()
        with self._readable_errors("GET", key, "it needs s3:GetObject"):
            try:
                body = self._client.get_object(Bucket=self.bucket, Key=key, IfMatch=etag, **self._head_args)["Body"]
                for chunk in body.iter_chunks(_CHUNK):
                    digest.update(chunk)
                    if copy is not None:
                        copy.write(chunk)
            except FlexibleChecksumError:
                return ""  # nothing has this checksum: the bytes are not those that were put
        return digest.hexdigest()

    def _put(self, key: str, payload: Payload, condition: Mapping[str, str]) -> bool:
        """One put; False when the object changed meanwhile."""
        with self._readable_errors("PUT", key, "it needs s3:PutObject"):
            try:
                self._put_once(key, payload, condition)
            except ParamValidationError:
                if not condition:
                    raise LakeError(
                        "S3 does not take s3_extra_args as given: check their names and values against put_object"
                    ) from None
            except ClientError as error:
                if condition and _code(error) in _CHANGED_MEANWHILE:
                    return False
                if not condition or _code(error) not in _KNOWS_NO_CONDITIONS:
                    raise
            else:
                return True
        self._put(key, payload, {})
        self._conditional = False
        self._tell_unconditional()
        return True

    def _put_once(self, key: str, payload: Payload, condition: Mapping[str, str]) -> None:
        payload.body.seek(0)
        extra: dict[str, Any] = {**self._extra_args, **condition}
        given = extra.get("Metadata", {})
        extra["Metadata"] = {name: given[name] for name in given if name.lower() not in payload.metadata}
        extra["Metadata"] |= payload.metadata
        extra.setdefault("ContentType", payload.content_type)
        self._client.put_object(Bucket=self.bucket, Key=key, Body=payload.body, **extra)

    def _tell_unconditional(self) -> None:
        with self._lock:
            told, self._told = self._told, True
        if not told:
            log.warning("The store does not support conditional puts: two runs writing one key at once go unnoticed.")

    def _prove(self, key: str, payload: Payload, size: int, condition: Mapping[str, str]) -> None:
        """Check once, for a store other than AWS, that objects are stored as sent and that conditions are enforced."""
        with self._lock:
            open_ = self._unproved & {"ContentLength", *(condition if self._conditional else ())}
            self._unproved -= open_
        if "ContentLength" in open_:
            self._check_size(key, payload, size)
        for name in open_ & {*condition}:
            try:
                # the same once more: where it is not refused, it replaces nothing but itself
                self._put_once(key, payload, {name: _FALSE_CONDITIONS[name]})
            except BotoCoreError:
                continue
            except ClientError as error:
                self._keeps_existing |= name == "IfNoneMatch" and _code(error) in _CHANGED_MEANWHILE
                continue
            self._tell_unconditional()

    def _check_size(self, key: str, payload: Payload, size: int) -> None:
        found = self.head(key)
        if found is None or found.size == size or not payload.metadata.items() <= found.metadata.items():
            return  # the object as it was sent, or another's by now
        raise LakeError(
            f"s3://{self.bucket}/{key} was put with {size} bytes and has {found.size}: the store keeps the framing of "
            f"the checksums that newer boto3 sends. For it, {_WITHOUT_CHECKSUMS}, and load again"
        )

    @contextmanager
    def _readable_errors(self, verb: str, key: str, needs: str) -> Iterator[None]:
        try:
            yield
        except BotoCoreError as error:
            _fail_to_reach(error)
        except ClientError as error:
            code, what = _code(error), f"{verb} s3://{self.bucket}/{key}"
            hint = {"HEAD": _HEAD_HINTS, "PUT": _HINTS}.get(verb, {}).get(code, "")
            if verb == "PUT" and (code in _MISREAD_PUT or code == "SignatureDoesNotMatch"):
                raise LakeError(f"{what} is refused ({code}): {hint}") from None
            if code in _REFUSED:
                action = "; ".join(filter(None, ("check bucket, connection and policy", needs, hint)))
                raise LakeError(f"{what} {_REFUSED[code]} ({code}): {action}") from None
            raise StoreError(f"{what} failed ({code})" + (f": {hint}" if hint else "")) from None


def is_aws(endpoint: str) -> bool:
    """True for an endpoint of AWS's own."""
    return (urlsplit(endpoint).hostname or "").endswith(_AWS)


def _connect(hook: S3Hook) -> S3Client:
    try:
        config = hook.config
        connections = max(getattr(config, "max_pool_connections", 0), _MOST_CONNECTIONS)
        config = config.merge(Config(max_pool_connections=connections))
        return cast("S3Client", hook.get_client_type(region_name=hook.region_name, config=config))
    except (ValueError, NoRegionError, PartialCredentialsError, ProfileNotFound) as error:
        raise LakeError(
            f"S3 cannot be used with the connection {hook.aws_conn_id!r} ({type(error).__name__}): check its "
            "endpoint_url (a whole URL), region and credentials"
        ) from None


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", "unknown"))


def _fail_to_reach(error: BotoCoreError) -> NoReturn:
    name = type(error).__name__
    if isinstance(error, (NoCredentialsError, PartialCredentialsError)):
        raise LakeError(f"S3 cannot be used without credentials ({name}): check aws_conn_id") from None
    raise StoreError(f"S3 could not be reached ({name})") from None
