"""Bundles in an S3 bucket. The only module that speaks to AWS: every call has time-outs, and its errors have names."""

import base64
import contextlib
import hashlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ReadTimeoutError,
)

from auditor.bundles.manifest import MANIFEST, NAME, Bundle
from auditor.settings import ExportSettings
from comparators.errors import AuditorError, NeedsOperator, NotPermitted, SettingInvalid, StoreUnavailable

CONNECT_SECONDS, READ_SECONDS = 5.0, 20.0
ATTEMPTS = 4
"""Of each call, with boto3's `standard` pauses between them: throttling and lost connections are retried."""
ABSENT = ("NoSuchKey", "404")
LACKING = ("NoSuchObjectLockConfiguration", "ObjectLockConfigurationNotFoundError")
DENIED = ("AccessDenied", "403", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "AllAccessDisabled")
SLOW = ("SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "503", "ServiceUnavailable")
TIMES = ("RequestTimeout", "504")
POLICY = "give these credentials the policy in docs/evidence.md"


class NoBucket(NeedsOperator):
    """The bucket does not exist, or is another one than the configuration says."""


class S3Place:
    """Bundles below a prefix of a bucket. The manifest is uploaded last: without it nothing counts."""

    def __init__(self, to: str, how: ExportSettings) -> None:
        """Connect, and make sure that account, bucket and region are those of the configuration.

        Raises:
            NeedsOperator: they are not, or access is denied.
            StoreUnavailable: S3 does not answer.
        """
        bucket, _, prefix = to.removeprefix("s3://").partition("/")
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._how, self._to = how, to
        self._owner = {"ExpectedBucketOwner": how.account} if how.account else {}
        self._at = {"Bucket": bucket, **self._owner}
        with _s3_errors(f"reach {to}"):
            options = _client_options(how)
            self._client = boto3.client("s3", **options)
            if how.account:
                _check_account(how.account, options)
            self._check_bucket(bucket)

    def folders(self) -> list[str]:
        with _s3_errors(f"list {self._to}"):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                **self._at, Prefix=self._prefix, Delimiter="/"
            )
            found = [one["Prefix"] for page in pages for one in page.get("CommonPrefixes", ())]
        names = [key.removeprefix(self._prefix).strip("/") for key in found]
        return sorted(name for name in names if NAME.fullmatch(name))

    def files(self, folder: str) -> list[str]:
        start = self._key(folder, "")
        with _s3_errors(f"list {self._to}"):
            pages = self._client.get_paginator("list_objects_v2").paginate(**self._at, Prefix=start, Delimiter="/")
            return sorted(one["Key"].removeprefix(start) for page in pages for one in page.get("Contents", ()))

    def read(self, folder: str, file: str) -> bytes | None:
        with _s3_errors(f"read {file} of {self._to}"):
            try:
                found = self._client.get_object(**self._at, Key=self._key(folder, file))
            except ClientError as error:
                if _code(error) in ABSENT:
                    return None
                raise
            return bytes(found["Body"].read())

    def write(self, bundle: Bundle) -> None:
        lock = self._lock()
        for name, data in [*sorted(bundle.files.items()), (MANIFEST, bundle.manifest)]:
            with _s3_errors(f"upload {name} to {self._to}"):
                self._client.put_object(
                    **self._at,
                    Key=self._key(bundle.name, name),
                    Body=data,
                    ContentType="application/json" if name.endswith(".json") else "application/x-ndjson",
                    ChecksumAlgorithm="SHA256",
                    ChecksumSHA256=base64.b64encode(hashlib.sha256(data).digest()).decode(),
                    **lock,
                )

    def _key(self, folder: str, file: str) -> str:
        return f"{self._prefix}{folder}/{file}" if folder else f"{self._prefix}{file}"

    def _check_bucket(self, bucket: str) -> None:
        try:
            seen = self._client.head_bucket(**self._at)
        except ClientError as error:
            if _code(error) in ("404", "NoSuchBucket"):
                raise NoBucket(f"there is no bucket {bucket}", hint="create it, or correct s3://BUCKET") from None
            raise
        headers = seen["ResponseMetadata"]["HTTPHeaders"]
        region = headers.get("x-amz-bucket-region")
        if self._how.region and region and region != self._how.region:
            raise NoBucket(
                f"bucket {bucket} is in {region}, not in {self._how.region}", hint="correct evidence.export.region"
            )

    def _lock(self) -> dict[str, Any]:
        """Say how each object is locked; nothing where the bucket's own default is to count."""
        wanted = self._how.object_lock
        if wanted is None:
            return {}
        with _s3_errors(f"read the object lock of {self._to}"):
            try:
                seen = self._client.get_object_lock_configuration(**self._at)
            except ClientError as error:
                if _code(error) not in LACKING:
                    raise
                seen = {}
        if seen.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") != "Enabled":
            raise NoBucket(
                f"evidence.export.object_lock is set, but {self._to} has no object lock",
                hint="make a bucket with object lock, or take object_lock out",
            )
        until = datetime.fromtimestamp(time.time(), UTC) + timedelta(days=wanted.days)
        return {"ObjectLockMode": wanted.mode.upper(), "ObjectLockRetainUntilDate": until}


def _client_options(how: ExportSettings) -> dict[str, Any]:
    local = {"s3": {"addressing_style": "path"}} if how.endpoint_url else {}
    config = Config(
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        **local,
    )
    more = {"endpoint_url": how.endpoint_url} if how.endpoint_url else {}
    region = how.region or ("us-east-1" if how.endpoint_url else None)
    return {"config": config, **more, **({"region_name": region} if region else {})}


def _check_account(account: str, options: dict[str, Any]) -> None:
    seen = boto3.client("sts", **options).get_caller_identity()["Account"]
    if seen != account:
        raise NotPermitted(
            f"the credentials belong to account {seen}, not to {account}",
            hint="use credentials of evidence.export.account",
        )


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


@contextlib.contextmanager
def _s3_errors(doing: str) -> Iterator[None]:
    """Turn boto3's errors into ours, by what the caller should do next; only codes are said, never answers."""
    try:
        yield
    except ClientError as error:
        raise _named(error, doing) from None
    except (NoCredentialsError, PartialCredentialsError):
        raise NotPermitted(f"cannot {doing}: there are no AWS credentials", hint=f"set them, and {POLICY}") from None
    except NoRegionError:
        raise SettingInvalid(f"cannot {doing}: no region is named", hint="set evidence.export.region") from None
    except (ConnectTimeoutError, ReadTimeoutError):
        raise StoreUnavailable(f"cannot {doing}: slow: no answer in time, {ATTEMPTS} times") from None
    except BotoCoreError as error:
        raise StoreUnavailable(f"cannot {doing}: {type(error).__name__}") from None


def _named(error: ClientError, doing: str) -> AuditorError:
    code = _code(error)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    if code == "NoSuchBucket":
        return NoBucket(f"cannot {doing}: there is no such bucket", hint="create it, or correct s3://BUCKET")
    if code in DENIED or status in (401, 403):
        return NotPermitted(f"cannot {doing}: denied ({code})", hint=POLICY)
    if code in SLOW:
        return StoreUnavailable(f"cannot {doing}: throttled ({code}), {ATTEMPTS} times")
    if code in TIMES:
        return StoreUnavailable(f"cannot {doing}: slow ({code}), {ATTEMPTS} times")
    return StoreUnavailable(f"cannot {doing}: {code or type(error).__name__} ({status})")
