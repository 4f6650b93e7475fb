# SPDX-License-Identifier: Apache-2.0
"""Requests that two parsers would read differently, as raw bytes: refused with 400, the connection closed, and what stands behind them never run as a request.

Each case is followed by a whole, good request to a channel. Were it run, its event would be counted: that is looked at in the end, after a good event of our own.
"""

import re

import pytest

from broker import channel, dial, event, exchange, subscription, until_closed
from leat import Sink, wait_for

EVENT = b"ce-specversion: 1.0\r\nce-id: smuggled\r\nce-type: t\r\nce-source: /s\r\n"
SMUGGLED = b"POST /channels/default/c HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n" + EVENT + b"\r\n"
LINE = b"POST /channels/default/c HTTP/1.1\r\n"
HOST = b"Host: x\r\n"


def with_headers(*lines, body=b""):
    return LINE + HOST + EVENT + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


CASES = {
    "two lengths that agree": with_headers(b"Content-Length: 0", b"Content-Length: 0"),
    "two lengths that differ": with_headers(b"Content-Length: 0", b"Content-Length: 5"),
    "a list of lengths": with_headers(b"Content-Length: 0, 0"),
    "length with a sign": with_headers(b"Content-Length: +0"),
    "negative length": with_headers(b"Content-Length: -1"),
    "hexadecimal length": with_headers(b"Content-Length: 0x0"),
    "empty length": with_headers(b"Content-Length:"),
    "length of 20 digits": with_headers(b"Content-Length: 18446744073709551616"),
    "length and chunked": with_headers(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    "chunked and length": with_headers(b"Transfer-Encoding: chunked", b"Content-Length: 5", body=b"0\r\n\r\n"),
    "unknown coding": with_headers(b"Transfer-Encoding: gzip"),
    "list of codings": with_headers(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"),
    "identity": with_headers(b"Transfer-Encoding: identity"),
    "two codings": with_headers(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    "coding with a tab": with_headers(b"Transfer-Encoding: chunked\t", body=b"0\r\n\r\n"),
    "coding with vertical tab": with_headers(b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n"),
    "coding in HTTP/1.0": LINE.replace(b"1.1", b"1.0") + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "space before the colon": with_headers(b"Content-Length : 5"),
    "tab before the colon": with_headers(b"Content-Length\t: 5"),
    "space in a name": with_headers(b"X Content-Length: 5"),
    "folded line": with_headers(b"X-A: b", b" Content-Length: 5"),
    "folded first line": LINE + b" X: y\r\n" + HOST + b"\r\n",
    "folded with a tab": with_headers(b"X-A: b", b"\tc"),
    "no colon": with_headers(b"Content-Length 5"),
    "empty name": with_headers(b": 5"),
    "NUL in a value": with_headers(b"X-A: b\0c"),
    "NUL in a name": with_headers(b"X-\0A: b"),
    "NUL in the target": b"POST /channels/default/c\0 HTTP/1.1\r\n" + HOST + b"\r\n",
    "bare LF between headers": LINE + b"X-A: b\n" + HOST + b"\r\n",
    "bare LF after the request line": b"POST /channels/default/c HTTP/1.1\n" + HOST + EVENT + b"\r\n",
    "bare LF at the end of the head": LINE + HOST + EVENT + b"\n",
    "bare CR in a value": with_headers(b"X-A: b\rContent-Length: 5"),
    "control character in a value": with_headers(b"X-A: b\x01c"),
    "no Host": LINE + EVENT + b"\r\n",
    "two Hosts": LINE + HOST + HOST + EVENT + b"\r\n",
    "bad Host": LINE + b"Host: a b\r\n" + EVENT + b"\r\n",
    "two spaces after the method": b"POST  /channels/default/c HTTP/1.1\r\n" + HOST + b"\r\n",
    "two spaces before the version": b"POST /channels/default/c  HTTP/1.1\r\n" + HOST + b"\r\n",
    "space in the target": b"POST /channels/default/c d HTTP/1.1\r\n" + HOST + b"\r\n",
    "no version": b"POST /channels/default/c\r\n" + HOST + b"\r\n",
    "HTTP/2.0": LINE.replace(b"1.1", b"2.0") + HOST + b"\r\n",
    "HTTP/1.2": LINE.replace(b"1.1", b"1.2") + HOST + b"\r\n",
    "bad method": b"PO(ST /channels/default/c HTTP/1.1\r\n" + HOST + b"\r\n",
    "raw UTF-8 in the target": b"POST /channels/\xc3\xbc/c HTTP/1.1\r\n" + HOST + b"\r\n",
    "fragment in the target": b"POST /channels/default/c#x HTTP/1.1\r\n" + HOST + b"\r\n",
    "target without a slash": b"POST channels/default/c HTTP/1.1\r\n" + HOST + b"\r\n",
    "chunk size that is no number": with_headers(b"Transfer-Encoding: chunked", body=b"zz\r\nab\r\n0\r\n\r\n"),
    "negative chunk size": with_headers(b"Transfer-Encoding: chunked", body=b"-1\r\nab\r\n0\r\n\r\n"),
    "chunk size beyond 64 bits": with_headers(b"Transfer-Encoding: chunked", body=b"fffffffffffffffff\r\nab\r\n0\r\n\r\n"),
    "chunk longer than it says": with_headers(b"Transfer-Encoding: chunked", body=b"1\r\nab\r\n0\r\n\r\n"),
}


@pytest.fixture(scope="module")
def sink():
    with Sink() as s:
        yield s


@pytest.fixture(scope="module")
def broker(sink, serve_module):
    return serve_module([channel("c"), subscription("s", "c", sink.url)])


def accepted(broker):
    return broker.metric("leat_events_accepted_total", namespace="default", channel="c")


@pytest.mark.parametrize("case", CASES)
def test_refused_closed_and_nothing_behind_it_runs(broker, sink, case):
    before = accepted(broker)
    with dial(broker.ingress) as s:
        try:
            s.sendall(CASES[case] + SMUGGLED * 2)
        except OSError:
            pass
        answer = until_closed(s)
    assert re.match(rb"HTTP/1\.1 %d " % OTHER_CODES.get(case, 400), answer), answer
    assert answers_in(answer) == 1, "one answer, and no other behind it"
    assert broker.post("c", b"", event("good")).status == 202
    assert accepted(broker) == before + 1, "what stood behind it was run"


def answers_in(got):
    return len(re.findall(rb"HTTP/1\.[01] [0-9]{3} ", got))


OTHER_CODES = {"length of 20 digits": 413, "HTTP/2.0": 505}


@pytest.mark.parametrize("case", ["two lengths that agree", "space before the colon", "folded line", "NUL in a value", "bare LF between headers", "no Host", "unknown coding"])
def test_the_answer_says_why(broker, case):
    answer = exchange(broker.ingress, CASES[case])
    words = {"two lengths that agree": b"two Content-Length", "no Host": b"no Host", "unknown coding": b"transfer coding", "space before the colon": b"colon"}.get(case, b"line of the head")
    assert words in answer.partition(b"\r\n\r\n")[2], answer
    assert b"connection: close" in answer.lower()


def test_refusals_are_counted(broker):
    name = "leat_events_refused_total"
    before = broker.metric(name, reason="malformed_http")
    exchange(broker.ingress, CASES["no Host"])
    assert broker.metric(name, reason="malformed_http") == before + 1


def test_the_same_guard_stands_before_the_api(broker):
    for case in ("two lengths that differ", "length and chunked", "space before the colon", "no Host"):
        assert answers_in(exchange(broker.api, CASES[case].replace(b"POST /channels/default/c", b"GET /livez") + b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")) == 1, case


def test_pipelined_good_requests_are_all_run(broker):
    before = accepted(broker)
    answer = exchange(broker.ingress, SMUGGLED * 3 + SMUGGLED.replace(b"Host: x", b"Host: x\r\nConnection: close"))
    assert answer.count(b"HTTP/1.1 202 ") == 4 and accepted(broker) == before + 4


def test_a_body_is_never_a_request(broker, sink):
    before = accepted(broker)
    answer = exchange(broker.ingress, with_headers(b"Connection: close", b"Content-Length: %d" % len(SMUGGLED), body=SMUGGLED))
    assert answers_in(answer) == 1 and answer.startswith(b"HTTP/1.1 202 ")
    assert accepted(broker) == before + 1
    wait_for(lambda: SMUGGLED in [r.body for r in list(sink.requests)], "the body")


@pytest.mark.parametrize("method", [b"PUT", b"GET", b"OPTIONS"])
def test_a_refused_request_s_body_is_never_a_request(broker, method):
    before = accepted(broker)
    head = method + b" /channels/default/c HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(SMUGGLED)
    answer = exchange(broker.ingress, head + SMUGGLED)
    assert answers_in(answer) == 1 and accepted(broker) == before


def test_garbage(broker):
    for garbage in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 100 + b"\r\n\r\n", b"\xff" * 40000, b"GET\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"):
        answer = exchange(broker.ingress, garbage)
        assert not answer or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 505 ")), answer
    assert broker.post("c").status == 202
