# SPDX-License-Identifier: Apache-2.0
"""What goes wrong with one queue on RabbitMQ does not reach the channels beside it."""
import collections
import threading
import time

from broker import event, prefix_of
from leat import wait_for
from real.rabbitmq import RabbitMQ
from topology import hear, resource

UNCONFIRMED_S = 10  # what leat waits for a confirm (RABBIT_SEND_NS)


def test_a_queue_that_confirms_nothing_stops_its_own_channel_only(rabbitmq, serve, sink):
    objects = [resource("Channel", "x", {}), hear("t", "x", sink.url), resource("Channel", "y", {}), hear("u", "y", sink.url)]
    server = serve(objects, "--bus", f"rabbitmq,url={rabbitmq.url()}")
    wait_for(lambda: all(server.post(c, b"x", event(c)).status == 202 for c in "xy"), "both channels")
    queue, = [name for name in rabbitmq.ctl("list_queues", "--no-table-headers", "name").split() if name.startswith(prefix_of(server.manifest.parent)) and ".t." in name]
    process = f"whereis('%2F_{queue}')"
    rabbitmq.ctl("eval", f"sys:suspend({process}).")
    try:
        stuck = []
        thread = threading.Thread(target=lambda: stuck.append(server.post("x", b"x", event("stuck")).status))
        thread.start()
        until, others = time.monotonic() + UNCONFIRMED_S + 3, []
        while time.monotonic() < until:  # a fact for a while: nothing of it is to be waited for
            others.append(server.post("y", b"x", event(f"y{len(others)}")).status)
        thread.join()
        assert stuck == [503]
        assert set(others) == {202}
    finally:
        rabbitmq.ctl("eval", f"sys:resume({process}).")
    wait_for(lambda: server.post("x", b"x", event("after")).status == 202, "the queue that is well again")


def test_subscriptions_share_the_connections_evenly_and_leave_channels_free(serve, sink):
    """A node that allows few channels: half of them consume, and what is asked of the node besides still has some."""

    def consumers(node):
        of = collections.Counter()
        for line in node.ctl("list_channels", "--no-table-headers", "name", "consumer_count").splitlines():
            name, _, count = line.rpartition("\t")
            of[name.rpartition(" (")[0]] += int(count)
        return sorted(count for count in of.values() if count)

    with RabbitMQ(settings={"channel_max": "14"}) as node:
        server = serve([resource("Channel", "x", {})] + [hear(f"t{i}", "x", sink.url) for i in range(20)], "--bus", f"rabbitmq,url={node.url()}")
        wait_for(lambda: consumers(node) == [7, 7], "what may consume to do so")
        assert server.post("x", b"x", event("1")).status == 202
        assert "channel_max" in server.logs
        server.stop()


def test_a_message_that_the_node_finds_too_large_is_refused_here_from_then_on(serve, sink):
    """The node ends the channel that all publish on because of it: once, not with each time that it is tried again."""
    with RabbitMQ(settings={"max_message_size": "1000"}) as node:
        server = serve([resource("Channel", "x", {}), hear("t", "x", sink.url)], "--bus", f"rabbitmq,url={node.url()}")
        wait_for(lambda: server.post("x", b"x", event("small")).status == 202, "a small one to be accepted")
        assert server.post("x", b"x" * 5000, event("large")).status == 503
        wait_for(lambda: server.post("x", b"x", event("small")).status == 202, "a small one to be accepted again")
        for i in range(10):
            assert server.post("x", b"x" * 5000, event("large")).status == 413
            assert server.post("x", b"x", event(f"small{i}")).status == 202
        assert server.logs.count("PublisherTrouble") == 1
        server.stop()
