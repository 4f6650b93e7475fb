# SPDX-License-Identifier: Apache-2.0
"""A channel on RabbitMQ that is a stream beside its queues (leat.dev/rabbitmq-stream): what has passed can be replayed, by offset and time, also after leat or the node was killed; and what
somebody does to the stream."""

from datetime import datetime, timedelta

import pytest
from broker import Broker, event, prefix_of
from leat import wait_for
from real.rabbitmq import RabbitMQ
from recorder import always
from test_replay import now, offsets, replay
from topology import apply, condition, hear, ready, resource

REPLAY = "/leat/v1/subscriptions/default/subscription/s/replay"


def objects_of(url, stream="true", **annotations):
    kept = {"rabbitmq_stream": stream, **annotations} if stream else annotations
    return [resource("Channel", "c", {}, annotations=kept), hear("s", "c", url)]


def post(broker, ids, **attributes):
    for id in ids:
        wait_for(lambda: broker.post("c", b"data", event(str(id), **attributes)).status == 202, f"event {id} to be accepted", 90)


def on(node, *more):
    return "--bus", ",".join([f"rabbitmq,url={node.url()}", *more])


def stream_of(broker):
    return f"{prefix_of(broker.manifest.parent)}c.default.c.stream"


def queues(node, broker):
    """{name: type} of what it has there."""
    lines = (line.split("\t") for line in node.ctl("list_queues", "--no-table-headers", "name", "type").splitlines())
    return {name: kind for name, kind in lines if name.startswith(prefix_of(broker.manifest.parent))}


def millisecond(time):
    """Of RFC 3339: RabbitMQ's times are no finer."""
    return time[:len("2026-01-31T08:00:00.000")]


def replayed(broker, sub, **order):
    """The ids that come once more, sorted: several are under way at a time."""
    sub.clear()
    done = replay(broker, **order)
    assert (done["state"], done["failed"]) == ("done", 0), done
    assert len(sub.ids) == done["done"]
    return sorted(sub.ids, key=lambda id: (len(id), id))


@pytest.fixture
def ten(rabbitmq, serve, recorder):
    """Ten events, of which the subscription has got all."""
    broker = serve(objects_of(recorder["sub"].url), *on(rabbitmq))
    ready(broker, *objects_of(recorder["sub"].url))
    broker.sub = recorder["sub"]
    post(broker, range(10))
    broker.sub.wait_ids(map(str, range(10)))
    return broker


# ---- what is replayed ----


def test_from_the_earliest_and_by_offset(ten):
    assert replayed(ten, ten.sub, **{"from": "earliest"}) == [str(i) for i in range(10)]
    at = offsets(ten)
    assert replayed(ten, ten.sub, **{"from": at["3"], "to": at["5"]}) == ["3", "4", "5"]
    assert replayed(ten, ten.sub, **{"from": at["9"] + 1}) == []
    assert replayed(ten, ten.sub, **{"from": 10**9}) == []


def test_by_time(ten):
    before = now()
    middle = wait_for(lambda: (lambda t: t if millisecond(t) > millisecond(before) else None)(now()), "the next millisecond")
    wait_for(lambda: millisecond(now()) > millisecond(middle), "another one")
    post(ten, range(10, 15))
    ten.sub.wait_ids(map(str, range(15)))
    assert replayed(ten, ten.sub, **{"from": middle}) == ["10", "11", "12", "13", "14"]
    assert replayed(ten, ten.sub, **{"from": "1h", "to": middle}) == [str(i) for i in range(10)]
    assert replayed(ten, ten.sub, **{"from": now()}) == []


def test_more_than_a_page(rabbitmq, serve, recorder):
    broker = serve(objects_of(recorder["sub"].url), *on(rabbitmq))
    post(broker, range(700))
    recorder["sub"].wait_ids(map(str, range(700)), 60)
    assert replayed(broker, recorder["sub"], **{"from": "earliest"}) == [str(i) for i in range(700)]


def test_what_came_before_there_was_a_subscription(rabbitmq, serve, recorder):
    objects = objects_of(recorder["sub"].url)
    broker = serve(objects[:1], *on(rabbitmq))
    post(broker, range(5))
    assert broker.metric("leat_events_dropped_total", namespace="default", channel="c") == 0
    apply(broker, objects, "mark")
    assert replayed(broker, recorder["sub"], **{"from": "earliest"}) == list("01234")


def test_every_channel_of_a_bus(rabbitmq, serve, recorder):
    broker = serve(objects_of(recorder["sub"].url, None), *on(rabbitmq, "stream=true", "retention-age=1h", "retention-bytes=8MiB"))
    post(broker, range(3))
    recorder["sub"].wait_ids("012")
    assert replayed(broker, recorder["sub"], **{"from": "earliest"}) == ["0", "1", "2"]
    (arguments,) = [line.split("\t")[1] for line in rabbitmq.ctl("list_queues", "--no-table-headers", "name", "arguments").splitlines() if line.startswith(stream_of(broker) + "\t")]
    assert '{"x-max-age","3600s"}' in arguments and '{"x-max-length-bytes",8388608}' in arguments and '{"x-stream-max-segment-size-bytes",1048576}' in arguments, arguments


def test_without_a_stream_there_is_nothing_to_replay(rabbitmq, serve, recorder):
    broker = serve(objects_of(recorder["sub"].url, None), *on(rabbitmq))
    post(broker, range(1))
    answer = broker.ask("POST", REPLAY, {"from": "earliest"})
    assert answer.status == 409 and "leat.dev/rabbitmq-stream" in answer.json()["message"], answer


# ---- what was parked ----


def parked_of(broker):
    return sorted(item["id"] for item in broker.ask("GET", "/leat/v1/dlq/default/subscription/s").json()["items"])


@pytest.mark.parametrize("bus, annotated", [((), "true"), (("stream=dead-letters",), None)])
def test_what_was_parked_is_read_without_taking_it(rabbitmq, serve, recorder, leat, bus, annotated):
    """Also by somebody who does not hold it, and when it was discarded since."""
    sub = recorder.add("s", always(400))
    broker = serve(objects_of(sub.url, annotated), *on(rabbitmq, *bus))
    post(broker, range(3))
    wait_for(lambda: parked_of(broker) == ["0", "1", "2"], "the parked events", 30)
    assert sorted(offsets(broker, parked=True)) == ["0", "1", "2"]
    assert parked_of(broker) == ["0", "1", "2"]
    code, out, err = leat(broker, "dlq", "discard", "subscription/s", "--all", "--yes")
    assert code == 0, err
    assert parked_of(broker) == []
    assert sorted(offsets(broker, parked=True)) == ["0", "1", "2"]
    sub.rule = always(202)
    assert replayed(broker, sub, parked=True, **{"from": "earliest"}) == ["0", "1", "2"]
    assert not [r for r in sub.requests if "ce-leatreason" in r.headers]


# ---- what becomes of it ----


def test_after_leat_was_killed(rabbitmq, serve, recorder, ten):
    at = offsets(ten)
    ten.kill()
    again = type(ten)(ten.manifest.parent, objects_of(ten.sub.url), *on(rabbitmq))
    try:
        post(again, range(10, 13))
        ten.sub.wait_ids(map(str, range(13)))
        assert replayed(again, ten.sub, **{"from": "earliest"}) == [str(i) for i in range(13)]
        assert replayed(again, ten.sub, **{"from": at["8"]}) == ["8", "9", "10", "11", "12"]
    finally:
        assert again.stop() == 0


def test_after_the_node_was_killed(serve, recorder):
    sub = recorder["sub"]
    with RabbitMQ() as node:
        broker = serve(objects_of(sub.url), *on(node))
        post(broker, range(5))
        sub.wait_ids("01234")
        node.remember("dets:all()")  # its streams, too
        node.kill()
        answer = broker.ask("POST", REPLAY, {"from": "earliest"})
        if answer.status == 202:  # what was asked of a node that is away fails, and says so
            number = answer.json()["id"]
            wait_for(lambda: broker.ask("GET", f"/leat/v1/tasks/{number}").json()["state"] == "failed", "the task to fail", 60)
        node.restart()
        with node.telling():
            post(broker, range(5, 8))
            sub.wait_ids("01234567", 90)
        owed = list("01234567")
        if "StreamDown" in broker.logs:  # the node took so long to find it that the channel went on without, and says so
            wait_for(lambda: "StreamWell" in broker.logs, "the stream to be found", 90)
            owed = list("01234")
        assert set(replayed(broker, sub, **{"from": "earliest"})) >= set(owed)
        broker.stop()


def away(node, stream, on):
    """The stream is as a node has it from its start until its coordinator leads: known, found by nobody, and nothing is routed to it."""
    name = f'rabbit_misc:r(<<"/">>, queue, <<"{stream}">>)'
    if on:
        node.ctl("eval", f"mnesia:dirty_delete(rabbit_queue, {name}).")
    else:
        node.ctl("eval", f"[Q] = mnesia:dirty_read(rabbit_durable_queue, {name}), rabbit_amqqueue:ensure_rabbit_queue_record_is_initialized(Q).")


def told(broker, code):
    """When it told this for the first time; None: it has not."""
    return next((datetime.fromisoformat(line.split()[0]) for line in broker.logs.splitlines() if code in line), None)


def test_what_is_accepted_is_in_the_stream_or_said_not_to_be(serve, recorder):
    """A node that has just been started confirms what its queues have, before it has found its streams."""
    sub = recorder["sub"]
    with RabbitMQ() as node:
        broker = serve(objects_of(sub.url), *on(node))
        post(broker, range(5))
        away(node, stream_of(broker), True)
        node.disconnect("as if it began")
        post(broker, ["without"])
        accepted = datetime.fromisoformat(now())
        down = wait_for(lambda: told(broker, "StreamDown"), "the channel to say that it does without")
        assert down < accepted + timedelta(seconds=5)  # it is told when that begins, which is 10 s after the stream was missed
        away(node, stream_of(broker), False)
        wait_for(lambda: told(broker, "StreamWell"), "the stream to be found", 90)
        post(broker, range(5, 8))
        sub.wait_ids([*"01234567", "without"], 90)
        assert replayed(broker, sub, **{"from": "earliest"}) == [str(i) for i in range(8)]
        broker.stop()


def test_a_stream_that_the_node_has_lost_does_not_stop_its_channel(serve, recorder):
    """RabbitMQ 3.10 that is killed in the first minutes after its first stream forgets it: it is there, and down for ever."""
    sub = recorder["sub"]
    with RabbitMQ() as node:
        broker = serve(objects_of(sub.url), *on(node))
        post(broker, range(2))
        sub.wait_ids("01")
        node.remember()  # of the quorum queue
        node.kill()
        node.restart()
        with node.telling():
            wait_for(lambda: broker.post("c", b"", event("2")).status == 202, "the channel to go on", 90)
            sub.wait_ids("012", 60)
        if "StreamDown" in broker.logs:
            wait_for(lambda: "stream is down" in condition(broker, "Channel", "c").get("message", "") or "StreamWell" in broker.logs, "the condition to say so")
        else:  # it has kept the stream
            assert set(replayed(broker, sub, **{"from": "earliest"})) == {"0", "1", "2"}
        broker.stop()


def test_a_second_process_replays_what_the_first_took(rabbitmq, leat_binary, recorder, tmp_path):
    objects = objects_of(recorder["sub"].url)
    one, other = (Broker(tmp_path, objects, "--shared", *on(rabbitmq)) for _ in range(2))
    ready(other, *objects)
    post(one, range(5))
    recorder["sub"].wait_ids("01234")
    assert replayed(other, recorder["sub"], **{"from": "earliest"}) == ["0", "1", "2", "3", "4"]
    post(one, range(5, 7))
    assert sorted(offsets(other)) == [str(i) for i in range(7)]
    assert (one.stop(), other.stop()) == (0, 0)


def test_a_stream_that_somebody_deletes_is_made_again(rabbitmq, ten):
    rabbitmq.ctl("delete_queue", stream_of(ten))
    wait_for(lambda: ten.ask("POST", REPLAY, {"from": "earliest", "dryRun": True}).status == 202 and stream_of(ten) in queues(rabbitmq, ten), "the stream to be there again", 60)
    post(ten, range(10, 12))
    wait_for(lambda: list(offsets(ten)) == ["10", "11"], "the events since then", 60)


def test_a_channel_that_ceases_to_be_one_and_begins_anew(rabbitmq, ten):
    assert queues(rabbitmq, ten)[stream_of(ten)] == "stream"
    apply(ten, objects_of(ten.sub.url, "false"), "one")
    wait_for(lambda: stream_of(ten) not in queues(rabbitmq, ten), "the stream to be gone")
    assert ten.ask("POST", REPLAY, {"from": "earliest"}).status == 409
    post(ten, ["between"])
    apply(ten, objects_of(ten.sub.url), "two")
    post(ten, ["since"])
    ten.sub.wait_ids(["between", "since"])
    assert replayed(ten, ten.sub, **{"from": "earliest"}) == ["since"]


def test_the_stream_goes_with_its_channel(rabbitmq, ten):
    apply(ten, [], "mark")
    wait_for(lambda: not [name for name in queues(rabbitmq, ten) if "mark" not in name], "queues and stream to be gone")
