"""Whether what reached a printer's software is what its visitors sent, read strictly at both ends."""

import re
from dataclasses import dataclass

from .capture import Captured
from .mutations import Case
from .raw_visitor import Visit
from .strict_http import Message, parse_requests, parse_responses

# Never at a printer's software (RFC 9110 §7.6.1).
HOP_BY_HOP = {
    b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"proxy-authorization", b"te", b"upgrade",
    b"http2-settings", b"expect",
}  # fmt: skip
# What `Connection` may not take away.
KEPT = {b"host", b"content-length", b"content-type", b"authorization", b"cookie", b"cache-control"}
# Set by the service or the agent.
OURS = {b"host", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-real-ip"}
FORGED = {b"forwarded", b"x-client-ip", b"x-scheme"}
FORGED_PREFIXES = (b"x-forwarded-", b"x-original-", b"x-spoolway-", b"spoolway-", b"oe-")
WEBSOCKET = {b"connection", b"upgrade", b"sec-websocket-version", b"sec-websocket-key"}
NOT_IN_TRAILERS = {b"content-length", b"transfer-encoding", b"host", b"authorization"} | HOP_BY_HOP


@dataclass
class Relayed:
    """A request as it reached the software, and the answer that the software gave to it."""

    request: Message
    answer: Message | None
    place: int


class Origin:
    """What reached the software over all connections of a batch."""

    def __init__(self, connections: list[Captured], echoes: bool, is_agents_own):
        self.relayed: list[Relayed] = []
        for connection in connections:
            self._read(connection, echoes, is_agents_own)
        self.relayed.sort(key=lambda one: one.place)

    def _read(self, connection: Captured, echoes: bool, is_agents_own):
        data = connection.request_bytes
        if not data:
            return
        parsed = parse_requests(data)
        if parsed.messages and is_agents_own(parsed.messages[0]):
            # Its observer has connections of its own, which may become a WebSocket.
            assert parsed.messages[0].tokens(b"upgrade") or all(map(is_agents_own, parsed.messages)), data
            return
        assert parsed.ending != "malformed", f"the agent sent {parsed.why}: {data!r}"
        assert parsed.ending == "end" or not parsed.messages[-1].complete, f"half a head: {data!r}"
        answers = parse_responses(connection.response_bytes, [message.first[0] for message in parsed.messages])
        # HAProxy refuses a HEAD with a body, and says that it closes. Nobody may take that body for another answer.
        is_over = answers.messages and b"close" in answers.messages[-1].tokens(b"connection")
        assert answers.ending != "malformed" or is_over, f"{answers.why}: {connection.response_bytes!r}"
        # One answer more, and the software saw a request that nobody sent.
        assert len(answers.messages) <= len(parsed.messages), f"{data!r}\n{connection.response_bytes!r}"
        for number, message in enumerate(parsed.messages):
            answer = answers.messages[number] if number < len(answers.messages) else None
            if echoes and answer and answer.status == 200 and message.first[0] != b"HEAD":
                assert message.first[1].split(b"?")[-1] in answer.body, f"{message.first} was answered {answer.body!r}"
            self.relayed.append(Relayed(message, answer, connection.place_of(message.offset)))

    def take(self, id: bytes) -> list[Relayed]:
        """The requests of one visitor, in their order."""
        found = [one for one in self.relayed if id in one.request.first[1]]
        self.relayed = [one for one in self.relayed if id not in one.request.first[1]]
        return found


def check(case: Case, visit: Visit, relayed: list[Relayed], host: bytes) -> dict[str, int]:
    """Compares what a visitor sent and got with what the software got and gave."""
    sent = visit.sent.messages
    got = parse_responses(visit.received, [message.first[0] for message in sent] + [b"GET"])
    assert got.ending != "malformed", f"the service answered with {got.why}"
    assert len(got.messages) <= len(sent) + (visit.sent.ending != "end"), "more answers than requests"
    position = 0
    count = {"relayed": len(relayed), "refused": 0, "cut": 0}
    for one in relayed:
        # Each is the next of those that the visitor sent, or one behind it: what is between was refused.
        while position < len(sent) and not is_same(sent[position], one.request):
            count["refused"] += check_refused(got.messages, position)
            position += 1
        assert position < len(sent), f"the software got what the visitor did not send: {one.request}"
        message = sent[position]
        check_head(message, one.request, host)
        check_body(message, one.request)
        count["cut"] += not message.complete
        if position < len(got.messages):
            answer = got.messages[position]
            # Where the software was silent, or the visitor broke off, the service speaks.
            is_own = answer.values(b"x-spoolway-error") == [b"602"] if message.complete else answer.status == 400
            if one.answer is None or not (is_own and not message.complete):
                assert is_own or (answer.status, answer.body) == (one.answer.status, one.answer.body), (
                    "another's answer"
                )
        else:
            assert not visit.was_closed or not message.complete, f"no answer to {message.first}"
        position += 1
    while position < len(got.messages):
        count["refused"] += check_refused(got.messages, position)
        position += 1
    return count


def is_same(sent: Message, got: Message) -> bool:
    return (sent.first[0], path_of(sent)) == got.first[:2]


def sent_host(message: Message) -> list[bytes]:
    """Whom the visitor asked: an absolute target wins over `Host` (RFC 9112 §3.2.2)."""
    absolute = re.match(rb"https?://([^/?]*)", message.first[1], re.IGNORECASE)
    return [absolute[1]] if absolute else message.values(b"host")


def path_of(message: Message) -> bytes:
    absolute = re.match(rb"https?://[^/?]*(.*)", message.first[1], re.IGNORECASE | re.DOTALL)
    if not absolute:
        return message.first[1]
    return absolute[1] if absolute[1].startswith(b"/") else b"/" + absolute[1]


def check_refused(answers: list[Message], position: int) -> int:
    """A request that did not reach the software was answered by the service, and not as if it were the software."""
    if position < len(answers):
        assert answers[position].status >= 400 or answers[position].status == 204, answers[position]
        return 1
    return 0


def is_handshake(sent: Message) -> bool:
    """Whether a WebSocket is asked for, to which the agent's own handshake leads."""
    is_asked = b"websocket" in sent.tokens(b"upgrade") and b"upgrade" in sent.tokens(b"connection")
    return is_asked and sent.first[0] == b"GET"


def named_by_connection(message: Message) -> set[bytes]:
    return set(message.tokens(b"connection")) - KEPT


def is_forged(name: bytes) -> bool:
    plain = name.replace(b"_", b"-")
    return plain in FORGED or plain == b"x-real-ip" or plain.startswith(FORGED_PREFIXES)


def check_head(sent: Message, got: Message, host: bytes):
    lengths, codings = got.values(b"content-length"), got.values(b"transfer-encoding")
    assert len(lengths) + len(codings) <= 1, f"two ways of telling the length: {got.headers}"
    assert got.first[2] == b"HTTP/1.1"
    for name in OURS:
        assert len(got.values(name)) == 1, f"{name}: {got.values(name)}"
    assert got.values(b"host") == got.values(b"x-forwarded-host") == sent_host(sent)
    assert got.values(b"host")[0].split(b":")[0] == host.split(b":")[0]
    upgrading = WEBSOCKET if is_handshake(sent) else set()
    framing = {b"content-length", b"transfer-encoding"}
    allowed = OURS | framing | upgrading
    gone = HOP_BY_HOP | OURS | framing | {b"authorization"} | named_by_connection(sent) | upgrading
    expected = sorted((name, value) for name, value in sent.headers if name not in gone and not is_forged(name))
    assert sorted((name, value) for name, value in got.headers if name not in allowed) == expected


def check_body(sent: Message, got: Message):
    if is_handshake(sent):
        assert (got.body, got.framing) == (b"", "none")
    elif got.complete:
        # Wrong trailers may be lost, but only as a whole.
        assert sent.complete or sent.has_wrong_trailers, "a body that broke off was passed on as a whole one"
        assert (got.body, got.framing) == (sent.body, sent.framing)
        left = [trailer for trailer in sent.trailers if trailer[0] not in NOT_IN_TRAILERS]
        assert all(trailer in left for trailer in got.trailers), got.trailers
    else:
        assert sent.body.startswith(got.body), f"{got.body!r} is no beginning of {sent.body!r}"
