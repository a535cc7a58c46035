"""A small HTTP/1.1 client: keep-alive connections over TCP or a Unix socket."""

import contextlib
import http.client
import json
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True)
class Response:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> dict:
        return json.loads(self.body)

    @property
    def problem(self) -> str:
        """The last part of the problem type: `quota-exceeded`, `about:blank`, ..."""
        assert self.headers["content-type"] == "application/problem+json", self
        return self.json()["type"].rpartition("#")[2]


class _UnixConnection(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.host)


class Connection:
    """One keep-alive connection. `address` is a TCP port, or the path of a Unix socket."""

    def __init__(self, address: int | str, source_ip: str = "127.0.0.1", timeout_s: float = 15.0):
        if isinstance(address, int):
            self._http = http.client.HTTPConnection(
                "127.0.0.1", address, timeout=timeout_s, source_address=(source_ip, 0)
            )
        else:
            self._http = _UnixConnection(address, timeout=timeout_s)

    def request(self, method: str, path: str, body: bytes | None = None, **headers) -> Response:
        """Header names are given as keywords: `x_user_id="u"` sends `x-user-id: u`."""
        sent = {k.replace("_", "-"): v for k, v in headers.items() if v is not None}
        try:
            # A server may refuse, and hang up, before it has read the body.
            with contextlib.suppress(BrokenPipeError):
                self._http.request(method, path, body=body, headers=sent)
            answer = self._http.getresponse()
            return Response(answer.status, answer.headers, answer.read())
        except http.client.HTTPException as error:
            self.close()
            raise ConnectionError(repr(error)) from error
        except OSError:
            self.close()
            raise

    def get(self, path: str = "/", user: str | None = None, **headers) -> Response:
        return self.request("GET", path, x_user_id=user, **headers)

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_) -> None:
        self.close()


@dataclass(frozen=True)
class Hammered:
    statuses: Counter
    demand_s: float  # how long every connection kept asking
    elapsed_s: float  # from before the first request to after the last answer
    last_allowed: float  # when the last request that got 200 was sent, on the monotonic clock


def hammer(connections: list[Connection], seconds: float, path: str = "/", **headers) -> Hammered:
    """All connections ask as fast as they can for `seconds`."""
    statuses: list[Counter] = [Counter() for _ in connections]
    last_allowed = [0.0] * len(connections)
    start = time.monotonic()
    stop = start + seconds

    def ask(number: int) -> None:
        while (sent := time.monotonic()) < stop:
            status = connections[number].get(path, **headers).status
            statuses[number][status] += 1
            if status == 200:
                last_allowed[number] = sent

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(len(connections))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    total = sum(statuses, Counter())
    return Hammered(total, seconds, time.monotonic() - start, max(last_allowed))
