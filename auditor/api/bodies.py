"""Bodies of requests: JSON of a bounded size, in bounded time, as the published schema says."""

import asyncio
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from aiohttp import web
from jsonschema import Draft202012Validator, ValidationError

from auditor.api import shapes
from auditor.api.problems import Problem

BODY_SECONDS = 10.0
SMALL, LARGE = 16 << 10, 2 << 20
"""Bytes; the large one is for 1,000 alerts."""


async def read_body(request: web.Request, shape: str, limit: int = SMALL) -> dict[str, Any]:
    """Read a JSON object of a published shape.

    Raises:
        Problem: wrong media type, too large, too slow, not JSON, or not of that shape.
    """
    if request.content_type != "application/json" or "Content-Encoding" in request.headers:
        raise Problem("unsupported-media-type", "send the body as application/json, not compressed")
    document = _parsed(await _read(request, limit))
    if error := next(_validator(shape).iter_errors(document), None):
        raise Problem("bad-request", _words(error))
    return dict(document)


async def _read(request: web.Request, limit: int) -> bytes:
    if (request.content_length or 0) > limit:
        raise _too_large(limit)
    parts, size = [], 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.content.iter_any():
                parts.append(part)
                size += len(part)
                if size > limit:
                    raise _too_large(limit)
    except TimeoutError:
        raise Problem("request-timeout", f"the body did not arrive within {BODY_SECONDS:g} s") from None
    return b"".join(parts)


def _too_large(limit: int) -> Problem:
    return Problem("too-large", f"the body may have {limit} bytes")


def _parsed(body: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(body, parse_constant=_no_constant)
        json.dumps(document, ensure_ascii=False).encode()  # half a surrogate pair is JSON, and no text
    except (ValueError, RecursionError):
        raise Problem("bad-request", "the body is not JSON") from None
    if not isinstance(document, dict):
        raise Problem("bad-request", "the body is not a JSON object")
    return document


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


@lru_cache(maxsize=16)
def _validator(shape: str) -> Draft202012Validator:
    return Draft202012Validator(shapes.SHAPES[shape])


def _words(error: ValidationError) -> str:
    """Say where and what, without repeating what was sent."""
    if error.validator in ("required", "additionalProperties") and not error.absolute_path:
        return str(error.message)[:200]
    must = json.dumps(error.validator_value)[:100]
    return f"{error.json_path[:100]}: does not satisfy {error.validator}: {must}"
