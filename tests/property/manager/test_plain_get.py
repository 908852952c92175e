"""What the plain reader accepts, the general HTTP parser reads alike."""

from __future__ import annotations

import httptools
from hypothesis import given
from hypothesis import strategies as st

from manager.api.server.plain_get import PlainGet, parse_plain_get

_HEADERS = [
    b"Host: fleet.test:7443",
    b"Accept: */*",
    b"Connection: keep-alive",
    b"accept-encoding: identity",
    b"fleet-agent: c-11111111111111111111",
    b"fleet-signature: AAAA-_",
    b'if-none-match: "0123"',
]
_REQUEST = b"GET /agent/v1/desired HTTP/1.1\r\n" + b"\r\n".join(_HEADERS) + b"\r\n\r\n"
_PIECES = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b": ",
    b":",
    b" ",
    b"\t",
    b"\x00",
    b"\xff",
    b"?a=b",
    b"#f",
    b"%2e",
    b"//",
    b"HTTP/1.0",
    b"POST",
    b"Host: b\r\n",
    b"host: c\r\n",
    b"content-length: 5\r\n",
    b"transfer-encoding: chunked\r\n",
    b"connection: close\r\n",
    b"connection: upgrade\r\nupgrade: h2c\r\n",
    b" folded: x\r\n",
    b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
]


class Reader:
    """Callbacks of httptools; `requests` are those that are complete."""

    def __init__(self) -> None:
        self.requests: list[PlainGet] = []

    def on_message_begin(self) -> None:
        self.url, self.headers = b"", list[tuple[bytes, bytes]]()

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_message_complete(self) -> None:
        self.requests.append(PlainGet(self.url, self.headers))


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """The request with up to four pieces inserted, put in place of others, or cut out."""
    data = _REQUEST
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.sampled_from([0, 0, 1, 2, 17])))
        piece = draw(st.one_of(st.just(b""), st.sampled_from(_PIECES), st.binary(max_size=3)))
        data = data[:start] + piece + data[end:]
    return data


def check_alike(data: bytes) -> None:
    request = parse_plain_get(data)
    if request is None:
        return
    reader = Reader()
    parser = httptools.HttpRequestParser(reader)
    parser.feed_data(data)
    assert reader.requests == [request]
    assert (parser.get_method(), parser.get_http_version()) == (b"GET", "1.1")
    assert parser.should_keep_alive()
    assert not parser.should_upgrade()
    assert httptools.parse_url(request.path).path == request.path
    parser.feed_data(_REQUEST)
    assert len(reader.requests) == 2


@given(mutated())
def test_an_accepted_request_is_read_alike_by_the_general_parser(data: bytes):
    check_alike(data)


def test_the_request_of_an_agent_is_accepted():
    request = parse_plain_get(_REQUEST)
    assert request is not None
    assert request.path == b"/agent/v1/desired"
    assert len(request.headers) == len(_HEADERS)


def test_every_piece_in_every_place_is_refused_or_read_alike():
    for place in range(len(_REQUEST) + 1):
        for piece in _PIECES:
            check_alike(_REQUEST[:place] + piece + _REQUEST[place:])
