"""One bucket, through Airflow's S3 hook: what is under a key, and a put that appears whole or not at all."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, NoReturn

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
)

from airflow_provider_binance_margin.failures import LakeError

if TYPE_CHECKING:
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)

_TRIES = 3
_CHUNK = 1 << 20
_OF_A_HEAD = ("SSECustomerAlgorithm", "SSECustomerKey", "SSECustomerKeyMD5", "RequestPayer", "ExpectedBucketOwner")
#: of a put with a condition; NoSuchKey is said of an object that has gone since it was looked at
_CHANGED_MEANWHILE = ("PreconditionFailed", "412", "ConditionalRequestConflict", "409", "NoSuchKey", "404")
_KNOWS_NO_CONDITIONS = ("NotImplemented", "501")
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


class StoreError(Exception):
    """The store failed for the moment; trying again may help."""


@dataclass(frozen=True)
class Existing:
    """An object that is there.

    :param etag: its version, for a conditional put
    :param size: in bytes
    :param metadata: names in lower case
    """

    etag: str
    size: int
    metadata: Mapping[str, str]


@dataclass(frozen=True)
class Payload:
    """What is put under a key."""

    body: IO[bytes]
    content_type: str
    metadata: Mapping[str, str]


class ObjectStore:
    """The objects of one bucket. Safe to share between threads.

    :param hook: how the store is connected to
    :param bucket: its name
    :param extra_args: handed to S3 with each put (encryption, ACL, storage class)
    """

    def __init__(self, hook: S3Hook, bucket: str, extra_args: Mapping[str, Any]) -> None:
        self.bucket = bucket
        self._client = _connect(hook)
        self._extra_args = {**hook.extra_args, **extra_args}
        self._conditional = True
        self._lock = threading.Lock()

    def check_bucket(self) -> None:
        """Ask once whether the bucket is there; whether it may be used is told by its objects.

        :raises LakeError: when it is not
        """
        try:
            self._client.head_bucket(Bucket=self.bucket)
        except ClientError as error:
            if _code(error) in ("404", "NoSuchBucket"):
                raise LakeError(
                    f"s3://{self.bucket}/ fails, since the bucket does not exist: check s3_bucket"
                ) from None
        except ParamValidationError:
            raise LakeError(f"s3://{self.bucket} is no bucket that S3 could have") from None
        except BotoCoreError as error:
            _fail_to_reach(error)

    def head(self, key: str) -> Existing | None:
        """What is under a key, or None.

        :raises LakeError: when the store does not let it be seen
        """
        args = {name: value for name, value in self._extra_args.items() if name in _OF_A_HEAD}
        try:
            answer = self._client.head_object(Bucket=self.bucket, Key=key, **args)
        except ClientError as error:
            if _code(error) in ("404", "NoSuchKey", "NotFound"):
                return None
            self._fail(error, "HEAD", key, "it needs s3:GetObject, and s3:ListBucket to tell a missing object")
        except ParamValidationError:
            raise LakeError(f"s3://{self.bucket}/{key} is no bucket and key that S3 could have") from None
        except BotoCoreError as error:
            _fail_to_reach(error)
        metadata = {name.lower(): value for name, value in answer["Metadata"].items()}
        return Existing(answer["ETag"], answer["ContentLength"], metadata)

    def put(self, key: str, payload: Payload, judge: Callable[[Existing | None], None]) -> int:
        """Put an object, if what is there at that moment may be replaced.

        :param judge: is shown what is there, and raises if it must stay
        :return: the size put
        :raises LakeError: when the store refuses for good
        :raises StoreError: when it failed, or others keep writing to the key
        """
        for _ in range(_TRIES):
            existing = self.head(key)
            judge(existing)
            condition = {"IfMatch": existing.etag} if existing else {"IfNoneMatch": "*"}
            if self._put(key, payload, condition if self._conditional else {}):
                return payload.body.seek(0, 2)
        raise StoreError(f"s3://{self.bucket}/{key} was changed by somebody else at each of {_TRIES} tries to write it")

    def sha256(self, key: str, etag: str) -> str:
        """The checksum of an object's bytes, all of which are read.

        :raises StoreError: when the object is no longer the one that was looked at, too
        """
        digest = hashlib.sha256()
        args = {name: value for name, value in self._extra_args.items() if name in _OF_A_HEAD}
        try:
            body = self._client.get_object(Bucket=self.bucket, Key=key, IfMatch=etag, **args)["Body"]
            for chunk in body.iter_chunks(_CHUNK):
                digest.update(chunk)
        except ClientError as error:
            self._fail(error, "GET", key, "it needs s3:GetObject")
        except BotoCoreError as error:
            _fail_to_reach(error)
        return digest.hexdigest()

    def _put(self, key: str, payload: Payload, condition: Mapping[str, str]) -> bool:
        """One put; False when the object changed meanwhile."""
        try:
            self._put_once(key, payload, condition)
        except ParamValidationError:
            return self._without_conditions(key, payload, condition)
        except ClientError as error:
            if condition and _code(error) in _CHANGED_MEANWHILE:
                return False
            if condition and _code(error) in _KNOWS_NO_CONDITIONS:
                return self._without_conditions(key, payload, condition)
            self._fail(error, "PUT", key, "it needs s3:PutObject")
        except BotoCoreError as error:
            _fail_to_reach(error)
        return True

    def _put_once(self, key: str, payload: Payload, condition: Mapping[str, str]) -> None:
        payload.body.seek(0)
        extra: dict[str, Any] = {**self._extra_args, **condition}
        given = extra.get("Metadata", {})
        extra["Metadata"] = {name: given[name] for name in given if name.lower() not in payload.metadata}
        extra["Metadata"] |= payload.metadata
        extra.setdefault("ContentType", payload.content_type)
        self._client.put_object(Bucket=self.bucket, Key=key, Body=payload.body, **extra)

    def _without_conditions(self, key: str, payload: Payload, condition: Mapping[str, str]) -> bool:
        if not condition:
            raise LakeError("S3 does not take s3_extra_args as given: check their names and values against put_object")
        self._put(key, payload, {})
        with self._lock:
            told, self._conditional = not self._conditional, False
        if not told:
            log.warning("The store knows no conditional put: two runs writing one key at once are not noticed.")
        return True

    def _fail(self, error: ClientError, verb: str, key: str, needs: str) -> NoReturn:
        code = _code(error)
        what = f"{verb} s3://{self.bucket}/{key}"
        if code in _REFUSED:
            raise LakeError(f"{what} {_REFUSED[code]} ({code}): check bucket, connection and policy; {needs}") from None
        raise StoreError(f"{what} failed ({code})") from None


def _connect(hook: S3Hook) -> S3Client:
    try:
        return hook.get_conn()
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
