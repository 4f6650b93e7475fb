# SPDX-License-Identifier: Apache-2.0
"""Credentials of Google's: a service account's key becomes a token at an endpoint that checks its signature, renewed before it ends; the metadata server; and what Google refuses, in words with what to do."""

import json

import pytest

from fake_google import EMAIL, Google
from leat import free_port, wait_for
from real.pubsub import PROJECT, PubSub


@pytest.fixture
def topic(pubsub_topic):
    return pubsub_topic


@pytest.fixture
def google(pubsub):
    with Google(pubsub.address) as g:
        yield g


@pytest.fixture
def source(start, sink, google, topic, tmp_path):
    def run(*args, key=None, env=None):
        file = tmp_path / "key.json"
        file.write_text(key or google.key())
        return start("source", "pubsub", "--endpoint", google.url, *args, env={"K_SINK": sink.url, "TOPIC_ID": topic, "NAME": topic, "GOOGLE_APPLICATION_CREDENTIALS": str(file), **(env or {})})

    return run


def there(pubsub, topic):
    wait_for(lambda: [s for s in pubsub.names("subscriptions") if topic in s], "the subscription")


def test_a_key_is_a_token_for_an_hour(source, sink, google, pubsub, topic):
    """The project is the key's; one token serves all calls."""
    source()
    there(pubsub, topic)
    ids = {pubsub.publish(topic, b"x") for _ in range(5)}
    sink.wait(5)
    assert {r.attributes["id"] for r in sink.requests} == ids
    assert google.tokens == 1 and not google.refused and google.claims[0]["exp"] - google.claims[0]["iat"] == 3600


def test_a_token_is_renewed_before_it_ends(source, sink, google, pubsub, topic):
    google.life = 4
    source("--ack-deadline", "10s")
    there(pubsub, topic)
    sink.fail(1000)
    pubsub.publish(topic, b"x")  # is held: its lease is a call every three seconds
    wait_for(lambda: google.tokens >= 3, "the third token", 60)
    assert google.turned_away == 0


def test_a_token_that_is_refused_is_replaced(source, sink, google, pubsub, topic):
    source()
    there(pubsub, topic)
    google.revoke()
    id_ = pubsub.publish(topic, b"x")
    sink.wait(1)
    wait_for(lambda: google.tokens == 2, "the second token")
    assert sink.requests[0].attributes["id"] == id_


def test_a_key_that_was_changed(source, sink, google, pubsub, topic):
    with Google(pubsub.address) as other:
        process = source(key=json.dumps({**json.loads(google.key()), "private_key": other.secret.read_text()}))
        said = process.wait_line("WrongCredentials", "stderr")
    assert "Invalid JWT Signature" in said and "was it deleted" in said and "clock" in said
    assert "BEGIN" not in "".join(process.logs)


def test_the_key_file_is_read_anew(source, sink, google, pubsub, topic, tmp_path):
    with Google(pubsub.address) as other:
        process = source(key=json.dumps({**json.loads(google.key()), "private_key": other.secret.read_text()}))
        process.wait_line("WrongCredentials", "stderr")
    (tmp_path / "key.json").write_text(google.key())
    process.wait_line("pubsub.recovered", "stderr", timeout=60)


def test_the_metadata_server(start, sink, google, pubsub, topic):
    start("source", "pubsub", "--endpoint", google.url, env={"K_SINK": sink.url, "TOPIC_ID": topic, "NAME": topic, "PROJECT_ID": PROJECT, "GCE_METADATA_HOST": google.address})
    there(pubsub, topic)
    pubsub.publish(topic, b"x")
    sink.wait(1)


def test_no_credentials_at_all(start, sink, google, topic):
    process = start("source", "pubsub", "--endpoint", google.url, env={"K_SINK": sink.url, "TOPIC_ID": topic, "PROJECT_ID": PROJECT, "GCE_METADATA_HOST": f"127.0.0.1:{free_port()}"})
    said = process.wait_line("CredentialsUnavailable", "stderr")
    assert "metadata server does not answer" in said and "GOOGLE_APPLICATION_CREDENTIALS" in said


DISABLED = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "SERVICE_DISABLED"}
LATER = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0.5s"}


@pytest.mark.parametrize(
    "status, word, text, details, code, words",
    [
        (403, "PERMISSION_DENIED", "User not authorized to perform this action.", [], "PermissionDenied", [EMAIL, "roles/pubsub.editor", f"project {PROJECT}", "not allowed"]),
        (403, "PERMISSION_DENIED", "Cloud Pub/Sub API has not been used in project 7 before or it is disabled.", [DISABLED], "ApiDisabled", ["gcloud services enable pubsub.googleapis.com"]),
        (404, "NOT_FOUND", "Requested project not found or user does not have access to it (project=leat-tests).", [], "ProjectNotFound", ["there is no project leat-tests", "check the project's id"]),
        (429, "RESOURCE_EXHAUSTED", "Quota exceeded.", [LATER], "QuotaExceeded", ["a quota of project", "Quotas"]),
        (503, "UNAVAILABLE", "The service was unable to fulfill your request.", [], "Unavailable", ["503"]),
        (400, "INVALID_ARGUMENT", "Invalid [subscriptions] name.", [], "Refused", ["Pub/Sub refuses making the subscription", "400 Invalid"]),
    ],
)
def test_what_google_refuses_says_what_to_do_and_is_tried_again(source, sink, google, pubsub, topic, status, word, text, details, code, words):
    google.refuse(status, word, text, details=details)
    process = source()
    said = process.wait_line(code, "stderr")
    for w in words:
        assert w in said, said
    there(pubsub, topic)
    process.wait_line("pubsub.recovered", "stderr")
    pubsub.publish(topic, b"x")
    sink.wait(1)


def test_what_is_no_pubsub(start, sink, topic):
    process = start("source", "pubsub", "--emulator", sink.url.removeprefix("http://").rstrip("/"), "--project", "p", env={"K_SINK": sink.url, "TOPIC_ID": topic})
    assert "is not Pub/Sub" in process.wait_line("NotPubSub", "stderr")
