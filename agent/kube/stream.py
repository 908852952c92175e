"""Long answers of the API server, line by line.

Rule: silence is death. The kernel asks a silent peer whether it is there; and as the API server
sends a bookmark every minute, a connection without a byte for longer is given up, whoever between
here and there still holds it open.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping

from fleetctl.core.model.errors import ClusterUnreachable

from ..controlplane.http import httpx
from .client import Kube
from .errors import refuse

SILENT_SECONDS = 100.0
_CONNECT_SECONDS = 30.0
_MOST_LINE = 4 * 1024 * 1024
_ALIVE = (
    ("TCP_KEEPIDLE", 15),
    ("TCP_KEEPINTVL", 5),
    ("TCP_KEEPCNT", 3),
    ("TCP_USER_TIMEOUT", 30_000),
)


async def follow(
    kube: Kube,
    path: str,
    headers: Mapping[str, str],
    seconds: float,
    hear: Callable[[bytes], None],
    *,
    silent: float = SILENT_SECONDS,
) -> None:
    """`hear` gets each line of the answer, which ends within `seconds` and a little, and is given
    up after `silent` seconds without a byte. Raises as `Kube.call`, ClusterUnreachable for one that
    breaks off, and what `hear` raises.
    """
    request_headers = kube.with_user({**headers, "accept-encoding": "identity"})
    timeout = httpx.Timeout(_CONNECT_SECONDS, read=silent)
    try:
        async with (
            asyncio.timeout(seconds + silent),
            kube.connection().stream(
                "GET", path, headers=request_headers, timeout=timeout
            ) as answer,
        ):
            if answer.status_code >= 400:
                await kube.renew()  # perhaps a login that somebody has renewed
                refuse(answer.status_code, await answer.aread(), answer.headers, path)
            _keep_alive(answer)
            rest = b""
            async for chunk in answer.aiter_raw():
                rest = _hear_lines(rest + chunk, hear)
    except (httpx.HTTPError, TimeoutError, OSError) as error:
        if isinstance(error, httpx.ConnectError):
            await kube.renew()
        cause = (
            "no answer in time"
            if isinstance(error, TimeoutError | httpx.TimeoutException)
            else str(error) or type(error).__name__
        )
        summary = f"a watch of the API server {kube.server} has broken off: {cause}"
        raise ClusterUnreachable(
            summary, subject="cluster", next_step="Look at the API server."
        ) from error


def _hear_lines(data: bytes, hear: Callable[[bytes], None]) -> bytes:
    """What follows the last whole line. Raises ClusterUnreachable for a line that does not end."""
    *whole, rest = data.split(b"\n")
    for line in whole:
        if line.strip():
            hear(line)
    if len(rest) > _MOST_LINE:
        raise ClusterUnreachable(
            "a line of a watch is longer than 4 MiB",
            subject="cluster",
            next_step="Look at the API server.",
        )
    return rest


def _keep_alive(answer: httpx.Response) -> None:
    """So that a peer that has vanished is noticed within half a minute, without a byte of ours."""
    stream = answer.extensions.get("network_stream")
    connection = stream.get_extra_info("socket") if stream is not None else None
    if connection is None:
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _ALIVE:
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
