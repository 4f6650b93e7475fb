# SPDX-License-Identifier: Apache-2.0
"""`leat log inspect|verify|dump` over logs that `leat serve` has written: beside it, after it, and after damage."""

import datetime
import json
import os
import shutil
import subprocess
import threading
import time

import pytest

from broker import Broker, channel, event, subscription
from leat import DEADLINE, Client, Reply, Sink, binary, flip, wait_for

DATA = b"\xff\x00" + b"x" * 998


def serve(tmp_path, objects, **more):
    return Broker(tmp_path, objects, "--data-dir", tmp_path / "data", **more)


@pytest.fixture
def written(leat_binary, tmp_path):
    """The data directory of a server that has stopped, with 20 events on default/orders and 5 on default/other; and the time between the two."""
    with serve(tmp_path, [channel("orders"), channel("other")]) as server:
        for n in range(20):
            assert server.post("orders", DATA, event(id=f"o{n}", type="big" if n % 4 == 0 else "small")).status == 202
        between = datetime.datetime.now(datetime.timezone.utc)
        time.sleep(0.002)  # clocks have microseconds; so the next event is later for certain
        for n in range(5):
            assert server.post("other", b'{"n":1}', {**event(id=f"x{n}"), "content-type": "application/json"}).status == 202
    return tmp_path / "data", between.isoformat().replace("+00:00", "Z")


def inspect(run, where):
    code, out, err = run("log", "inspect", where, "-o", "json")
    assert (code, err) == (0, "")
    return json.loads(out)


def verify(run, where):
    code, out, err = run("log", "verify", where, "-o", "json")
    told = json.loads(out)
    assert not err and code == (1 if told["damages"] else 0) and told["damages"] + told["notes"] == len(told["findings"])
    return code, told


def dump(run, where, *args):
    code, out, err = run("log", "dump", where, *args)
    assert (code, err) == (0, "")
    return [json.loads(line) for line in out.splitlines()]


def newest(data):
    return max((data / "log").glob("*.seg"))


# ---- inspect ----


def test_inspect(run, written):
    data, _ = written
    told = inspect(run, data)
    assert told == inspect(run, data / "log") and told["directory"] == str(data / "log")
    assert told["format"] == 1 and len(told["id"]) == 32 and told["lost"] == 0 and told["losses"] == []
    channels = {c["name"]: c for c in told["channels"]}
    assert channels["default/orders"]["events"] == 20 and channels["default/other"]["events"] == 5
    assert channels["default/orders"]["last"] < channels["default/other"]["first"]
    assert channels["default/orders"]["bytes"] > 20 * 1000 and channels["default/orders"]["oldest"] <= channels["default/orders"]["newest"]
    assert told["events"] == sum(c["events"] for c in told["channels"]) == sum(s["events"] for s in told["segments"])
    assert [s["newest"] for s in told["segments"]] == [False] * (len(told["segments"]) - 1) + [True]
    assert told["segments"][-1]["last"] == told["last"]


def test_a_cursor_that_is_behind_and_one_that_is_not(run, tmp_path, leat_binary):
    with Sink() as quick, Sink(default=Reply(503)) as never, Sink(default=Reply(400)) as refuses:
        objects = [channel("orders"), subscription("quick", "orders", quick.url), subscription("never", "orders", never.url, retry=1000, backoffDelay="PT10S"), subscription("parks", "orders", refuses.url)]
        with serve(tmp_path, objects) as server:
            for n in range(10):
                assert server.post("orders", DATA, event(id=str(n))).status == 202
            quick.wait(10)
            never.wait(10)

            def behind():
                return sorted(c["behindEvents"] for c in inspect(run, tmp_path / "data")["cursors"] if c["channel"] == "default/orders")

            wait_for(lambda: behind() == [0, 0, 10], "the cursors")  # beside the server, which writes them a second late
            told = inspect(run, tmp_path / "data")
            late = [c for c in told["cursors"] if c["channel"] == "default/orders" and c["behindEvents"] == 10][0]
            orders = [c for c in told["channels"] if c["name"] == "default/orders"][0]
            assert late["readable"] and late["unusedSince"] is None and late["behindBytes"] > 10 * 1000 and late["oldest"] == orders["oldest"]
            assert late["owner"] == "Subscription default/never" and orders["owner"] == ""
            assert {c["owner"] for c in told["channels"]} == {"", "dead letters of Subscription default/parks"}, "made for the first parked event"
            server.kill()
        assert behind() == [0, 0, 10]


def test_whose_a_kept_cursor_is(run, tmp_path, leat_binary, sink):
    kept = subscription("s", "orders", sink.url, annotations={"leat.dev/keep-cursor": "true"})
    path = "/apis/messaging.knative.dev/v1/namespaces/default/subscriptions"

    def owners():
        return {c["owner"] for c in inspect(run, tmp_path / "data")["cursors"] if c["channel"] == "default/orders"}

    with serve(tmp_path, [channel("orders")]) as server:
        for _ in range(2):  # the second one has the cursor of the first, whose uid is another
            assert server.ask("POST", path, kept).status == 201
            wait_for(lambda: owners() == {"Subscription default/s"}, "the cursor of one that is there")
            assert server.ask("DELETE", f"{path}/s").status == 200
            wait_for(lambda: owners() == {"Subscription default/s, deleted"}, "the cursor of one that is gone")


def test_inspect_as_tables(run, written):
    code, out, err = run("log", "inspect", written[0])
    assert (code, err) == (0, "")
    head, *tables = out.split("\n\n")
    assert head.splitlines()[0].startswith(f"{written[0]}/log: format 1, id ") and "25 events" in head
    assert tables[0].split()[:3] == ["SEGMENT", "LAST", "EVENTS"] and "written to" in tables[0]
    assert tables[1].split()[:2] == ["CHANNEL", "EVENTS"] and "default/orders  20" in tables[1]


# ---- verify ----


def test_a_whole_log(run, written):
    code, told = verify(run, written[0])
    assert code == 0 and told["events"] == 25 and told["records"] > 25 and told["findings"] == []
    code, out, err = run("log", "verify", written[0])
    assert (code, err) == (0, "") and "25 events" in out and out.rstrip().endswith("0 damaged, 0 notes")


def test_beside_a_server_under_load(run, tmp_path, leat_binary, sink):
    """Small segments that come and go while they are looked at: never is anything called damaged, and what was acknowledged is there."""
    objects = [channel("orders"), subscription("s", "orders", sink.url)]
    bus = f"log,dir={tmp_path / 'data' / 'log'},segment=64KiB,retention-bytes=0"
    with Broker(tmp_path, objects, "--data-dir", tmp_path / "data", "--bus", bus) as server:
        accepted = []

        def post():
            with Client(server.ingress) as client:
                for n in range(1000):
                    accepted.append(client.request("POST", "/channels/default/orders", DATA, event(id=str(n))).status)

        load = threading.Thread(target=post)
        load.start()
        rounds = 0
        while load.is_alive() or rounds == 0:
            code, told = verify(run, tmp_path / "data")
            assert code == 0, told["findings"]
            assert inspect(run, tmp_path / "data")["lost"] == 0
            rounds += 1
        load.join()
        assert accepted == [202] * 1000


def test_damage_is_named(run, written):
    data, _ = written
    bytes_ = newest(data).read_bytes()
    where = {e["event"]["id"]: e["offset"] for e in dump(run, data)}
    flip(newest(data), bytes_.index(DATA) + 500)  # of the first event
    code, told = verify(run, data)
    assert code == 1 and told["damages"] == 1 and told["events"] == 24
    found = told["findings"][0]
    assert found["verdict"] == "damage" and found["first"] == found["last"] == where["o0"] and newest(data).name in found["place"]
    code, out, err = run("log", "verify", data)
    assert code == 1 and not err and out.startswith(f"damage  {newest(data).name}, byte ") and f"(sequence {where['o0']})" in out
    told = inspect(run, data)
    assert told["lost"] == 1 and told["losses"][0]["first"] == told["losses"][0]["last"] == where["o0"]
    code, out, err = run("log", "dump", data)
    assert code == 1 and len(out.splitlines()) == 24 and "1 records of the log are damaged" in err


def test_a_torn_tail_is_a_note(run, written):
    data, _ = written
    used = inspect(run, data)["segments"][-1]["bytes"]
    with open(newest(data), "r+b") as f:
        f.seek(used)
        f.write(os.urandom(700))
    code, told = verify(run, data)
    assert code == 0 and told["notes"] == 1 and told["findings"][0]["verdict"] == "note"


def test_nothing_there(run, tmp_path):
    for verb in ("inspect", "verify", "dump"):
        code, out, err = run("log", verb, tmp_path)
        assert code == 1 and not out and str(tmp_path) in err and "no log" in err
        code, out, err = run("log", verb, tmp_path / "none")
        assert code == 1 and not out and str(tmp_path / "none") in err


def test_a_copy_of_a_stopped_directory_is_a_backup(run, tmp_path, leat_binary):
    """docs/durability.md: what waits is delivered from the copy, and what was settled is not."""
    with Sink(default=Reply(503)) as down, Sink() as up:
        kept = [channel("orders"), subscription("late", "orders", down.url, retry=1000, backoffDelay="PT10S"), subscription("quick", "orders", up.url)]
        with serve(tmp_path, kept) as server:
            for n in range(5):
                assert server.post("orders", DATA, event(id=str(n))).status == 202
            up.wait(5)
            down.wait(5)
        shutil.copytree(tmp_path / "data", tmp_path / "copy" / "data")
        assert verify(run, tmp_path / "copy" / "data")[0] == 0
        up.clear()
        with Sink() as other:
            moved = [channel("orders"), subscription("late", "orders", other.url), subscription("quick", "orders", up.url)]
            with serve(tmp_path / "copy", moved) as server:
                assert sorted(r.headers["ce-id"] for r in other.wait(5)) == list("01234")
                assert all(r.body == DATA for r in other.requests)
                assert server.post("orders", DATA, event(id="new")).status == 202
                assert [r.headers["ce-id"] for r in up.wait(1)] == ["new"]


# ---- dump ----


def test_all_events(run, written):
    data, _ = written
    events = dump(run, data)
    assert [e["event"]["id"] for e in events] == [f"o{n}" for n in range(20)] + [f"x{n}" for n in range(5)]
    assert [e["offset"] for e in events] == sorted({e["offset"] for e in events})
    assert [e["time"] for e in events] == sorted(e["time"] for e in events)
    assert {e["channel"] for e in events} == {"default/orders", "default/other"}
    assert events[-1]["event"]["data"] == {"n": 1} and events[0]["event"]["data_base64"].startswith("/wB4")
    assert events[0]["event"] | {"data_base64": ""} == {"specversion": "1.0", "id": "o0", "type": "big", "source": "/test", "data_base64": ""}


def test_a_part(run, written):
    data, between = written
    everything = dump(run, data)
    fifth = everything[4]["offset"]

    def ids(*args):
        return [e["event"]["id"] for e in dump(run, data, *args)]

    assert ids("--channel", "default/other") == [f"x{n}" for n in range(5)]
    assert ids("--from", str(fifth), "--to", str(everything[6]["offset"])) == ["o4", "o5", "o6"]
    assert ids("--from", between) == [f"x{n}" for n in range(5)]
    assert ids("--to", between) == [f"o{n}" for n in range(20)]
    assert ids("--from", everything[3]["time"], "--to", everything[5]["time"]) == ["o3", "o4"]
    assert ids("--from", "1h") == [e["event"]["id"] for e in everything] and ids("--to", "1h") == []
    assert ids("--filter", "type = 'big'") == ["o0", "o4", "o8", "o12", "o16"]
    assert ids("--filter", '{"exact": {"id": "x3"}}') == ["x3"]
    assert ids("--from", "earliest", "--to", "latest") == [e["event"]["id"] for e in everything]


def test_forms(run, written):
    data, _ = written
    assert json.loads(run("log", "dump", data, "-o", "json")[1]) == dump(run, data)
    assert json.loads(run("log", "dump", data, "-o", "json", "--to", "1h")[1]) == []


@pytest.mark.parametrize(
    "words, said",
    [
        (["--from", "yesterday"], "--from"),
        (["--to", "0"], "--to"),
        (["--filter", "nonsense ="], "--filter"),
        (["-o", "table"], "-o"),
    ],
)
def test_wrong_options(run, tmp_path, words, said):
    code, out, err = run("log", "dump", tmp_path, *words)
    assert code == 2 and not out and said in err


def test_no_such_channel(run, written):
    code, out, err = run("log", "dump", written[0], "--channel", "default/none")
    assert code == 1 and not out and "default/none" in err and "leat log inspect" in err


def test_a_reader_that_goes_away(written):
    """Whoever pipes into head is not told more than once, and nothing hangs."""
    done = subprocess.run(f"'{binary()}' log dump '{written[0]}' | head -n 1 | wc -l", shell=True, capture_output=True, text=True, timeout=DEADLINE)
    assert done.stdout.strip() == "1"


def test_what_is_dumped_can_be_sent_again(run, written, tmp_path, leat_binary):
    event_ = dump(run, written[0], "--channel", "default/other")[0]["event"]
    with Broker(tmp_path, [channel("orders")]) as server:
        path = tmp_path / "event.json"
        path.write_text(json.dumps(event_))
        code, out, err = run("send", "--to", f"{server.ingress}/channels/default/orders", "-f", path)
        assert code == 0, err
