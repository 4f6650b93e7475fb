# SPDX-License-Identifier: Apache-2.0
"""`leat source github` with an access token: the webhook at GitHub is made, taken over and removed, and what is missing is said; against a fake of that API."""

import threading

import pytest

from fake_github import Failure, FakeGitHub
from leat import Reply, Sink, free_port, request, sign

URL = "https://mill.example.org/hooks/default/mill"
PLACE = "jo/mill"
UNREACHABLE_URL = Failure(422, {"message": "Validation Failed", "errors": [{"message": "url is not supported because it isn't reachable"}]})


@pytest.fixture
def github():
    with FakeGitHub(token="token-1", repositories=[PLACE], organisations=["guild"]) as g:
        yield g


@pytest.fixture
def source(start, sink, tmp_path):
    (tmp_path / "token").write_text("token-1\n")

    def run(api_url, *args, token="token", owner=PLACE, url=URL):
        options = ["--webhook-url", url] if url else []
        return start("source", "github", "--listen", "127.0.0.1:0", "--owner-repo", owner, "--access-token-file", tmp_path / token, "--api-url", api_url, *options,
                     *args, env={"K_SINK": sink.url, "GITHUB_SECRET_TOKEN": "s3"})

    return run


def ready(process):
    return process.wait_line("ready=true", "stderr")


def only_hook(github, place=PLACE):
    assert len(github.hooks[place]) == 1, github.hooks
    return next(iter(github.hooks[place].values()))


def test_makes_the_webhook(github, source):
    process = source(github.url, "--events", "push,pull_request,ping")
    line = ready(process)
    hook = only_hook(github)
    assert f"id={hook['id']}" in line and "reason=WebhookConfigured" in line
    assert hook["config"] == {"url": URL, "content_type": "json", "insecure_ssl": "0", "secret": "********"}
    assert hook["given_secret"] == "s3"
    assert hook["events"] == ["push", "pull_request"]
    assert hook["active"] is True
    assert [c[0] for c in github.calls] == ["GET", "POST"]
    assert all(h["user-agent"].startswith("leat/") and h["accept"] == "application/vnd.github+json" for h in github.headers)


def test_all_events_without_a_list(github, source):
    ready(source(github.url))
    assert only_hook(github)["events"] == ["*"]


def test_an_organisation_has_its_own_place(github, source):
    ready(source(github.url, owner="guild"))
    assert only_hook(github, "guild")["config"]["url"] == URL


def test_an_enterprise_server_has_a_path(source):
    with FakeGitHub(token="token-1", repositories=[PLACE], prefix="/api/v3") as github:
        ready(source(github.url + "/"))
        assert github.calls[0][1] == "/api/v3/repos/jo/mill/hooks?per_page=100&page=1"


def test_a_webhook_with_our_url_is_taken_over(github, source):
    github.add_hook(PLACE, "https://elsewhere.example.org/")
    known = github.add_hook(PLACE, URL, events=["issues"])
    line = ready(source(github.url, "--events", "push"))
    assert f"id={known}" in line
    assert len(github.hooks[PLACE]) == 2
    hook = github.hooks[PLACE][known]
    assert hook["events"] == ["push"] and hook["given_secret"] == "s3" and hook["config"]["content_type"] == "json"


def test_ours_is_found_on_a_later_page(github, source):
    for i in range(230):
        github.add_hook(PLACE, f"https://elsewhere.example.org/{i}")
    known = github.add_hook(PLACE, URL)
    line = ready(source(github.url))
    assert f"id={known}" in line and len(github.hooks[PLACE]) == 231
    assert [c[1].rsplit("=", 1)[1] for c in github.calls if c[0] == "GET"] == ["1", "2", "3"]


def test_starting_twice_leaves_one(github, source):
    first = source(github.url)
    ready(first)
    assert first.stop() == 0
    ready(source(github.url))
    assert len(github.hooks[PLACE]) == 1


def test_stays_at_the_end_unless_told_otherwise(github, source):
    process = source(github.url)
    ready(process)
    assert process.stop() == 0
    assert len(github.hooks[PLACE]) == 1 and "DELETE" not in [c[0] for c in github.calls]


def test_is_removed_at_the_end_when_told(github, source):
    process = source(github.url, "--remove-webhook")
    ready(process)
    assert process.stop() == 0
    assert github.hooks[PLACE] == {}


def test_removal_that_fails_ends_all_the_same(github, source):
    process = source(github.url, "--remove-webhook")
    ready(process)
    github.failures.append(Failure(500))
    assert process.stop() == 0
    assert [c[0] for c in github.calls][-1] == "DELETE"


@pytest.mark.parametrize("scheme,secure", [("https", "true"), ("http", "false")])
def test_secure_chooses_the_scheme(github, source, scheme, secure):
    ready(source(github.url, "--secure", secure))
    assert only_hook(github)["config"]["url"].startswith(scheme + "://mill.")


def test_a_lost_answer_leaves_one_webhook(github, source):
    github.failures += [None, Failure(drop=True, after=True)]
    ready(source(github.url))
    calls = [c[0] for c in github.calls]
    assert calls[:2] == ["GET", "POST"] and calls[-2:] == ["GET", "PATCH"]
    assert len(github.hooks[PLACE]) == 1


@pytest.mark.parametrize("failure,reason", [
    (Failure(500), "Unavailable"), (Failure(502, raw=b"<html>"), "Unavailable"), (Failure(200, raw=b"not json"), "Unavailable"),
    (Failure(200, body={"no": "list"}), "Unavailable"), (Failure(301, headers={"Location": "http://127.0.0.1:1/"}), "Moved"),
    (Failure(drop=True), "Unreachable"),
])
def test_tries_again(github, source, failure, reason):
    github.failures.append(failure)
    process = source(github.url)
    assert f"reason={reason}" in process.wait_line("ready=false", "stderr")
    ready(process)


def test_the_same_trouble_is_said_once(github, source):
    github.failures += [Failure(500)] * 2
    process = source(github.url)
    ready(process)
    assert [c[0] for c in github.calls] == ["GET", "GET", "GET", "POST"]
    assert len([line for line in process.stderr if "ready=false" in line]) == 1


@pytest.mark.parametrize("prepare,reason,words", [
    (lambda g: setattr(g, "token", "another"), "TokenRefused", "Bad credentials"),
    (lambda g: g.forbidden.add(PLACE), "NotAllowed", "Webhooks, read and write"),
    (lambda g: g.hooks.pop(PLACE), "NotFound", "check ownerAndRepository"),
    (lambda g: g.failures.append(Failure(403, {"message": "API rate limit exceeded"}, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1"})), "RateLimited", "rate limit"),
    (lambda g: g.failures.append(Failure(429, {"message": "slow down"}, {"Retry-After": "7"})), "RateLimited", "7 s"),
    (lambda g: g.failures.extend([None, UNREACHABLE_URL, None, UNREACHABLE_URL]),
     "Refused", "isn't reachable"),
])
def test_says_what_is_missing(github, source, prepare, reason, words):
    prepare(github)
    line = source(github.url).wait_line("ready=false", "stderr")
    assert f"reason={reason}" in line and words in line
    assert "token-1" not in line


@pytest.mark.parametrize("n", [196, 197, 198, 199])
def test_words_are_cut_between_characters(github, source, n):
    github.failures.append(Failure(500, {"message": "x" * n + "\U0001f680" * 50}))
    line = source(github.url).wait_line("ready=false", "stderr")
    assert "x" * n in line and "\ufffd" not in line and "\\x" not in line


def test_a_right_that_comes_later_is_noticed(github, source):
    github.forbidden.add(PLACE)
    process = source(github.url)
    process.wait_line("reason=NotAllowed", "stderr")
    github.forbidden.clear()
    ready(process)


def test_webhooks_are_received_while_the_api_is_away(source, sink):
    process = source(f"http://127.0.0.1:{free_port()}")
    assert "received all the same" in process.wait_line("reason=Unreachable", "stderr")
    body = b'{"zen":"x"}'
    answer = request("POST", process.address("webhook"), body, {"Content-Type": "application/json", "X-GitHub-Event": "push", "X-GitHub-Delivery": "d",
                                                                "X-Hub-Signature-256": sign("s3", body)})
    assert answer.status == 202 and sink.requests[0].body == body


def test_without_a_url_it_says_so(github, source):
    assert "--webhook-url" in source(github.url, url=None).wait_line("reason=NoWebhookURL", "stderr")
    assert github.calls == []


def test_without_a_token_the_webhook_is_made_by_hand(start, sink):
    process = start("source", "github", "--listen", "127.0.0.1:0", "--webhook-url", URL, env={"K_SINK": sink.url, "GITHUB_SECRET_TOKEN": "s"})
    line = process.wait_line("reason=ByHand", "stderr")
    assert "ready=true" in line and URL in line and "application/json" in line


def test_a_token_that_would_break_a_header_is_refused(start, sink, tmp_path):
    process = start("source", "github", "--listen", "127.0.0.1:0", "--owner-repo", PLACE,
                    env={"K_SINK": sink.url, "GITHUB_SECRET_TOKEN": "s", "GITHUB_ACCESS_TOKEN": "t\r\nX-Evil: 1"})
    assert process.wait() == 3
    assert "accessToken" in process.logs


def test_stops_in_the_middle_of_a_call(github, source):
    github.failures.append(Failure(503))
    process = source(github.url)
    process.wait_line("ready=false", "stderr")
    assert process.stop() == 0


def test_stops_while_the_api_keeps_it_waiting(source):
    gate = threading.Event()
    with Sink(Reply(200, hold=gate)) as api:
        process = source(api.url)
        api.wait(1)
        assert process.stop() == 0
        gate.set()


def test_what_is_sent(github, source):
    ready(source(github.url, "--events", "push"))
    method, path, body = github.wait_calls(1, "POST")[0]
    assert path == "/repos/jo/mill/hooks"
    assert body == {"name": "web", "active": True, "events": ["push"], "config": {"content_type": "json", "insecure_ssl": "0", "url": URL, "secret": "s3"}}
