"""The reader and the judge of `test_smuggling.py`: a judge that finds nothing wrong has to be able to."""

import pytest

from harness.capture import Captured
from harness.framing import Origin, check
from harness.mutations import Case
from harness.raw_visitor import Visit
from harness.strict_http import parse_requests, parse_responses

HOST = b"app-x.localhost"
OURS = b"Host: app-x.localhost\r\nX-Forwarded-Host: app-x.localhost\r\nX-Forwarded-For: 127.0.0.1\r\n"
OURS += b"X-Real-IP: 127.0.0.1\r\nX-Forwarded-Proto: http\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nc1a ok"
ONE = b"Content-Length: 1\r\n"


def get(target: bytes = b"/?c1a", lines: bytes = b"") -> bytes:
    return b"GET " + target + b" HTTP/1.1\r\nHost: app-x.localhost\r\n" + lines + b"\r\n"


def post(lines: bytes, body: bytes = b"") -> bytes:
    return b"POST /?c1a HTTP/1.1\r\nHost: app-x.localhost\r\n" + lines + b"\r\n" + body


@pytest.mark.parametrize(
    ("data", "count", "ending"),
    [
        (get() + get(), 2, "end"),
        (b"\r\n" + get(), 1, "end"),
        (get()[:-2], 0, "incomplete"),
        (get().replace(b"\r\n", b"\n"), 0, "malformed"),
        (get(lines=b"A: b\rc\r\n"), 0, "malformed"),
        (get(lines=b"A: b\x00\r\n"), 0, "malformed"),
        (get(lines=b"A : b\r\n"), 0, "malformed"),
        (get(lines=b"A: b\r\n c\r\n"), 0, "malformed"),
        (get(lines=b"Host: b\r\n"), 0, "malformed"),
        (get(b"/a b"), 0, "malformed"),
        (post(b"Content-Length: 3\r\n", b"abc"), 1, "end"),
        (post(b"Content-Length: 3\r\n", b"ab"), 1, "incomplete"),
        (post(b"Content-Length: +3\r\n", b"abc"), 0, "malformed"),
        (post(b"Content-Length: 3\r\nContent-Length: 3\r\n", b"abc"), 0, "malformed"),
        (post(b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"), 0, "malformed"),
        (post(b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n"), 0, "malformed"),
        (post(b"Transfer-Encoding: chunked\r\n", b"3;a=b\r\nabc\r\n0\r\nA: b\r\n\r\n"), 1, "end"),
        (post(b"Transfer-Encoding: chunked\r\n", b"3\r\nabcd\r\n0\r\n\r\n"), 1, "malformed"),
        (post(b"Transfer-Encoding: chunked\r\n", b"0x3\r\nabc\r\n0\r\n\r\n"), 1, "malformed"),
        (post(b"Transfer-Encoding: chunked\r\n", b"3\nabc\r\n0\r\n\r\n"), 1, "malformed"),
        (post(b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n0\r\n"), 1, "incomplete"),
        (post(b"Content-Length: 0\r\n") + b"x" + get(), 2, "end"),
    ],
)
def test_requests_are_read_strictly(data, count, ending):
    parsed = parse_requests(data)
    assert (len(parsed.messages), parsed.ending) == (count, ending), parsed


def test_answers_are_read_by_what_they_answer():
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n"
    parsed = parse_responses(head + interim + ANSWER + b"HTTP/1.1 204 No Content\r\n\r\n", [b"HEAD", b"GET", b"GET"])
    assert [(one.status, one.body) for one in parsed.messages] == [(200, b""), (200, b"c1a ok"), (204, b"")]
    assert parse_responses(head + ANSWER, [b"GET", b"GET"]).messages[0].body != b""


def judge(sent: bytes, captured: bytes, answered: bytes = ANSWER, received: bytes = ANSWER):
    connection = Captured([(1, captured)], [(2, answered)], is_open=False)
    origin = Origin([connection], True, lambda message: not message.values(b"x-forwarded-for"))
    visit = Visit(parse_requests(sent), received, True)
    check(Case(b"c1", sent, []), visit, origin.take(b"c1"), HOST)
    assert not origin.relayed, "nobody sent it"


def reached(first: bytes = b"GET /?c1a", lines: bytes = b"", body: bytes = b"") -> bytes:
    return first + b" HTTP/1.1\r\n" + OURS + lines + b"\r\n" + body


def test_what_is_right_passes():
    judge(get(), reached())
    judge(get(lines=b"Connection: close, A\r\nA: b\r\nB: c\r\n"), reached(lines=b"B: c\r\n"))
    chunked = b"Transfer-Encoding: chunked\r\n"
    judge(post(chunked, b"1\r\na\r\n2;x\r\nbc\r\n0\r\n\r\n"), reached(b"POST /?c1a", chunked, b"3\r\nabc\r\n0\r\n\r\n"))


@pytest.mark.parametrize(
    ("sent", "captured", "answered", "received"),
    [
        # A second request that nobody sent, whole or as the software sees it.
        (get(), reached() + reached(b"GET /?c1a"), ANSWER * 2, ANSWER),
        (get(), reached() + reached(b"GET /?c2a"), ANSWER, ANSWER),
        (get(), reached(), ANSWER * 2, ANSWER),
        # Two ways of telling a length, or a length that is another.
        (
            post(b"Content-Length: 1\r\n", b"a"),
            reached(b"POST /?c1a", b"Content-Length: 1\r\n" * 2, b"a"),
            ANSWER,
            ANSWER,
        ),
        (post(b"Content-Length: 2\r\n", b"ab"), reached(b"POST /?c1a", ONE, b"a"), ANSWER, ANSWER),
        # What belongs to one connection, or was forged, or was lost.
        (get(lines=b"TE: trailers\r\n"), reached(lines=b"TE: trailers\r\n"), ANSWER, ANSWER),
        (get(lines=b"Connection: A\r\nA: b\r\n"), reached(lines=b"A: b\r\n"), ANSWER, ANSWER),
        (get(lines=b"X-Forwarded-For: 9.9.9.9\r\n"), reached(lines=b"X-Forwarded-For: 9.9.9.9\r\n"), ANSWER, ANSWER),
        (get(lines=b"A: b\r\n"), reached(), ANSWER, ANSWER),
        # A body that broke off, made whole.
        (
            post(b"Transfer-Encoding: chunked\r\n", b"3\r\nab"),
            reached(b"POST /?c1a", b"Transfer-Encoding: chunked\r\n", b"2\r\nab\r\n0\r\n\r\n"),
            ANSWER,
            b"",
        ),
        # Another's answer, none, or one from nowhere.
        (get(), reached(), ANSWER, ANSWER.replace(b"ok", b"no")),
        (get(), reached(), ANSWER, b""),
        (get(), b"", b"", ANSWER),
        (get(), reached(), ANSWER, ANSWER * 2),
        (get(), reached(), ANSWER.replace(b"c1a", b"c1b"), ANSWER.replace(b"c1a", b"c1b")),
    ],
)
def test_what_is_wrong_does_not(sent, captured, answered, received):
    with pytest.raises(AssertionError):
        judge(sent, captured, answered, received)
