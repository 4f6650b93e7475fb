# SPDX-License-Identifier: Apache-2.0
"""`leat source kafka` as a pod runs it."""

import pytest

GOOD = {"K_SINK": "http://127.0.0.1:1/", "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "KAFKA_TOPICS": "a,b", "KAFKA_CONSUMER_GROUP": "g"}


@pytest.mark.parametrize(
    "args, env, code, words",
    [
        ([], {"K_SINK": ""}, 2, ["no sink", "K_SINK", "--sink"]),
        ([], {"KAFKA_BOOTSTRAP_SERVERS": ""}, 3, ["bootstrapServers", "KAFKA_BOOTSTRAP_SERVERS", "--bootstrap-servers"]),
        ([], {"KAFKA_TOPICS": ""}, 3, ["topics", "KAFKA_TOPICS"]),
        ([], {"KAFKA_CONSUMER_GROUP": ""}, 3, ["consumerGroup", "KAFKA_CONSUMER_GROUP"]),
        ([], {"KAFKA_NET_SASL_ENABLE": "true"}, 3, ["KAFKA_NET_SASL_USER"]),
        ([], {"KAFKA_NET_TLS_ENABLE": "true", "KAFKA_NET_TLS_CERT": "x"}, 3, ["certificate and its key"]),
        ([], {"K_CE_OVERRIDES": "{"}, 3, ["K_CE_OVERRIDES"]),
        (["--listen", ":0"], {}, 2, ["--listen"]),
    ],
)
def test_what_is_wrong_is_said(run, args, env, code, words):
    got, _, said = run("source", "kafka", *args, env={**GOOD, **env})
    assert got == code, said
    for word in words:
        assert word in said, said


def test_help_names_the_environment(run):
    code, out, _ = run("source", "kafka", "--help")
    assert code == 0
    for word in [*GOOD, "INITIAL_OFFSET", "KEY_TYPE", "KAFKA_NET_SASL_ENABLE", "KAFKA_NET_SASL_TYPE", "KAFKA_NET_SASL_USER", "KAFKA_NET_SASL_PASSWORD", "KAFKA_NET_TLS_ENABLE", "KAFKA_NET_TLS_CERT", "KAFKA_NET_TLS_KEY", "KAFKA_NET_TLS_CA_CERT"]:
        assert "$" + word in out
    assert "--listen" not in out  # there are no webhooks
