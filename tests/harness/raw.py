"""Requests exactly as written, over HTTP/2 and HTTP/1.1: what no well-made client sends."""

import contextlib
import re
import socket
import ssl
from dataclasses import dataclass, field

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from h2.exceptions import ProtocolError

# A client that checks nothing: the server is what is tested.
_CONFIG = H2Configuration(
    client_side=True,
    header_encoding=None,
    validate_outbound_headers=False,
    normalize_outbound_headers=False,
)
_TIMEOUT_S = 15

Lines = list[tuple[str | bytes, str | bytes]]


@dataclass
class Answer:
    status: int  # 0: the server has reset the stream, or hung up
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


def h2(port: int, path: str, lines: Lines = (), method: str = "GET") -> Answer:
    """A request without a body, with these header lines after the pseudo-headers."""
    pseudo = [(":method", method), (":scheme", "http"), (":authority", "localhost")]
    return h2_lines(port, [*pseudo, (":path", path), *lines])


def h2_lines(port: int, lines: Lines, body: bytes = b"", trailers: Lines = ()) -> Answer:
    """A request with these lines alone; with a body and trailers, if there are any."""
    encoded = [(_bytes(name), _bytes(value)) for name, value in lines]
    answer = Answer(0)
    with socket.create_connection(("127.0.0.1", port), _TIMEOUT_S) as connection:
        client = H2Connection(_CONFIG)
        client.initiate_connection()
        client.send_headers(1, encoded, end_stream=not (body or trailers))
        if body:
            client.send_data(1, body, end_stream=not trailers)
        if trailers:
            last = [(_bytes(name), _bytes(value)) for name, value in trailers]
            client.send_headers(1, last, end_stream=True)
        with contextlib.suppress(ConnectionError, ProtocolError):
            connection.sendall(client.data_to_send())
            while data := connection.recv(65536):
                for event in client.receive_data(data):
                    if isinstance(event, ResponseReceived):
                        answer.headers = {k.decode(): v.decode() for k, v in event.headers}
                        answer.status = int(answer.headers[":status"])
                    elif isinstance(event, DataReceived):
                        answer.body += event.data
                    elif isinstance(event, StreamEnded | StreamReset | ConnectionTerminated):
                        return answer
                connection.sendall(client.data_to_send())
    return answer


def h1(port: int, head: str | bytes, tls: ssl.SSLContext | None = None) -> Answer:
    """A request of HTTP/1.1 that is written so, without its last empty line."""
    with contextlib.ExitStack() as closing:
        connection = socket.create_connection(("127.0.0.1", port), _TIMEOUT_S)
        connection = closing.enter_context(tls.wrap_socket(connection) if tls else connection)
        received = b""
        with contextlib.suppress(ConnectionError):
            lines = _bytes(head).replace(b"\n", b"\r\n")
            connection.sendall(lines + b"\r\nConnection: close\r\n\r\n")
            while not _is_whole(received) and (data := connection.recv(65536)):
                received += data
    start, _, body = received.partition(b"\r\n\r\n")
    status, *lines = start.decode("latin-1").split("\r\n")
    if not status:
        return Answer(0)
    headers = dict(line.split(": ", 1) for line in lines if ": " in line)
    return Answer(int(status.split(" ")[1]), headers, body)


def _is_whole(received: bytes) -> bool:
    """Whether an answer is complete, also if the server does not hang up at once."""
    start, _, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: *(\d+)", start, re.IGNORECASE)
    return bool(length) and len(body) >= int(length[1])


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()
