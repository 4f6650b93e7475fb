# SPDX-License-Identifier: Apache-2.0
"""A source that is a clock: `leat source ping` as a pod runs it, and PingSource inside `serve`. Schedules have seconds here, so that no test waits for a minute; a crowded machine may keep the
process, or the sink, waiting for as long. So a second that is missing is looked for among those that were told as missed, and the order in which events come is not asked for."""

import calendar
import re
import signal
import threading
import time

import pytest

from broker import Broker, channel, subscription, to, unversioned
from leat import Reply, Sink, free_port, request, wait_for

EVERY_SECOND = "* * * * * *"


@pytest.fixture
def source(start, sink):
    def run(*args, env=None):
        return start("source", "ping", "--timezone", "UTC", *args, env={"K_SINK": sink.url, "SCHEDULE": EVERY_SECOND, **(env or {})})

    return run


def ping(name="beat", where="beats", version="v1", namespace="default", **spec):
    spec = {"schedule": EVERY_SECOND, "sink": where if isinstance(where, dict) else to(where), **spec}
    return {"apiVersion": f"sources.knative.dev/{version}", "kind": "PingSource", "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def seconds(requests):
    """The times of the events, as seconds since 1970, in the order in which they came."""
    return [calendar.timegm(time.strptime(r.attributes["time"], "%Y-%m-%dT%H:%M:%SZ")) for r in requests]


def missed(process, why=""):
    """The seconds that a source with a time each second has told as missed, for that reason."""
    said = [re.search(r"([0-9]+) times? of the schedule passed, from (\S+Z) to (\S+Z),", line) for line in list(process.stderr) if "ping.missed" in line and why in line]
    at = lambda text: calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ"))
    spans = [(int(m[1]), range(at(m[2]), at(m[3]) + 1)) for m in said]
    assert all(n == len(span) for n, span in spans), said
    return {s for _, span in spans for s in span}


def each_second(process, sink, count, first=0):
    """The times of the events, but for the first so many requests, once there are so many of them, and each second between them has come or was told as missed: either, and once."""

    def all_there():
        times = sorted(seconds(list(sink.requests)[first:]))
        return len(set(times)) >= count and set(range(times[0], times[-1])) <= {*times, *missed(process)} and times

    times = wait_for(all_there, f"each of {count} seconds")
    assert len(set(times)) == len(times) and not missed(process) & set(times), times
    return times


# ---- alone ----


def test_an_event_each_second(source, sink):
    process = source("--data", '{"n":1}', "--content-type", "application/json", env={"NAMESPACE": "clocks", "NAME": "beat", "K_CE_OVERRIDES": '{"extensions":{"team":"mills"}}'})
    each_second(process, sink, 3)
    got = list(sink.requests)
    assert len({r.attributes["id"] for r in got}) == len(got)
    first = got[0]
    a = first.attributes
    assert (a["type"], a["source"], a["specversion"], a["team"]) == ("dev.knative.sources.ping", "/apis/v1/namespaces/clocks/pingsources/beat", "1.0", "mills")
    assert first.body == b'{"n":1}' and first.headers["content-type"] == "application/json" and first.headers["kn-namespace"] == "clocks"


def test_not_before_its_time(source, sink):
    late = []
    source()
    for n in range(1, 4):
        sink.wait(n)
        late.append(time.time() - seconds(sink.requests[:n])[-1])
    assert min(late) >= 0, late


def test_data_of_bytes_and_none(start, sink):
    start("source", "ping", "--schedule", EVERY_SECOND, "--data-base64", "AAH/", env={"K_SINK": sink.url})
    sink.wait(1)
    assert sink.requests[0].body == b"\0\1\xff" and "content-type" not in sink.requests[0].headers
    assert sink.requests[0].attributes["source"] == "/apis/v1/namespaces/default/pingsources/ping"


def test_a_sink_that_fails_gets_the_same_event_again(source, sink):
    sink.fail(3)
    process = source()
    sink.wait(4)
    failed = {r.attributes["id"] for r in sink.requests[:3]}
    wait_for(lambda: failed <= {r.attributes["id"] for r in sink.requests[3:]}, "the events that failed")
    each_second(process, sink, 3, first=3)
    said = process.wait_line("ping.retry", "stderr")
    assert sink.url in said and "the sink answered 500" in said
    process.wait_line("ping.recovered", "stderr")


def test_a_sink_that_comes_late_gets_all(start):
    port = free_port()
    process = start("source", "ping", "--schedule", EVERY_SECOND, env={"K_SINK": f"http://127.0.0.1:{port}/"})
    process.wait_line("connection refused", "stderr")
    with Sink(port=port) as late:
        each_second(process, late, 3)
        process.stop()


def test_refused_for_good_is_told_and_counted(source, sink):
    sink.script.append(Reply(400))
    process = source("--health", "127.0.0.1:0")
    each_second(process, sink, 2)
    assert "the sink answered 400" in process.wait_line("ping.refused", "stderr")
    text = request("GET", process.address("health") + "/metrics").text
    assert 'leat_source_failed_total{source="ping",namespace="default",name="ping"} 1' in text.splitlines(), text


def test_health_and_the_end(source, sink):
    """On SIGTERM what is at the sink is finished, and no more is begun."""
    gate = threading.Event()
    sink.script.append(Reply(202, hold=gate))
    process = source("--health", "127.0.0.1:0", "--schedule", "*/2 * * * * *")
    health = process.address("health")
    assert request("GET", health + "/readyz").status == 200
    sink.wait(1)
    process.signal(signal.SIGTERM)
    process.wait_line("source.drain", "stderr")
    drained = time.time()
    assert request("GET", health + "/readyz").status == 503
    gate.set()
    assert process.wait() == 0
    assert "ping.lost" not in process.logs and max(seconds(sink.requests)) <= drained


def test_what_is_not_delivered_at_the_end_is_told(start):
    process = start("source", "ping", "--schedule", EVERY_SECOND, env={"K_SINK": f"http://127.0.0.1:{free_port()}/"})
    process.wait_line("ping.retry", "stderr")
    assert process.stop() == 0
    assert "had not been accepted" in process.wait_line("ping.lost", "stderr")


def test_times_that_passed_while_it_stood_still(source, sink):
    """Stopped for three seconds at least: the newest time counts, the others are missed, counted, and told."""
    process = source("--health", "127.0.0.1:0")
    sink.wait(1)
    process.signal(signal.SIGSTOP)
    stopped = time.time()
    wait_for(lambda: time.time() > stopped + 3.2, "three seconds")
    process.signal(signal.SIGCONT)
    passed = lambda: {s for s in missed(process, "stood still") if stopped < s <= stopped + 3.2}
    wait_for(lambda: len(passed()) >= 2, "all but one to be told")
    wait_for(lambda: max(seconds(list(sink.requests))) > max(passed()), "the newest")
    each_second(process, sink, 2)
    line = 'leat_source_missed_total{{source="ping",namespace="default",name="ping"}} {}'
    wait_for(lambda: line.format(len(missed(process))) in request("GET", process.address("health") + "/metrics").text.splitlines(), "their number")


def test_it_says_what_it_will_do(start):
    process = start("source", "ping", "--schedule", "0 9 1 jan *", "--timezone", "Europe/Berlin", env={"K_SINK": "http://127.0.0.1:1/"})
    said = process.wait_line("ping.started", "stderr")
    assert "0 9 1 jan *" in said and "in Europe/Berlin: the next time is" in said and "-01-01T09:00:00+01:00" in said


def test_why_the_last_ones_failed_is_in_the_last_report(start):
    process = start("source", "ping", "--schedule", EVERY_SECOND, env={"K_SINK": f"http://127.0.0.1:{free_port()}/"})
    process.wait_line("ping.retry", "stderr")
    assert process.stop() == 0
    reports = [line for line in process.stderr if "source.report" in line]
    assert reports and "failed=0" not in reports[-1] and "last_failure=" in reports[-1] and "refused" in reports[-1].partition("last_failure=")[2], reports


def ran_again(process, sink, before, kill):
    """What it tells of the time since the events that came at these times: all of it, and what it sends from then on is not among it."""
    process.wait_line("while the source did not run", "stderr")
    down = missed(process, "did not run")
    last = max(before)
    # the first event may come in the second of the start; after a kill what was sent since its time was kept may be told once more
    assert (min(before) if kill else last) <= min(down) <= last + 1, (before, process.logs)
    wait_for(lambda: max(seconds(list(sink.requests))) > max(down), "what comes after it")
    assert not {s for s in seconds(list(sink.requests)) if s > last} & down, (down, sink.requests)


@pytest.mark.parametrize("kill", [False, True])
def test_times_that_passed_while_it_did_not_run_alone(source, sink, tmp_path, kill):
    """With --state, `leat source ping` knows after a stop and a kill how many times passed; of another schedule nothing is known."""
    state = ("--state", tmp_path / "state")
    first = source(*state)
    sink.wait(3)
    if kill:
        first.kill()
    else:
        assert first.stop() == 0
    ended = time.time()
    wait_for(lambda: time.time() > ended + 2.2, "two times")
    before = seconds(sink.requests)
    process = source(*state)
    ran_again(process, sink, before, kill)
    assert process.stop() == 0
    began = len(sink.requests)
    process = source(*state, "--schedule", "*/2 * * * * *")
    sink.wait(began + 1)
    assert not missed(process, "did not run")


@pytest.mark.parametrize("text,words", [("something else\n", "holds no state of a source"), (None, "cannot be written")])
def test_a_state_that_cannot_be_kept_is_said(source, tmp_path, text, words):
    path = tmp_path / "state"
    if text:
        path.write_text(text)
    else:
        path = tmp_path / "missing" / "state"
    process = source("--state", path)
    assert process.wait() == 1 and words in process.logs, process.logs


@pytest.mark.parametrize("args,env,code,words", [
    ([], {"K_SINK": ""}, 2, "K_SINK"),
    (["--listen", ":0"], {}, 2, "--listen"),
    (["--schedule", "* * * *"], {}, 3, "a cron line has 5 fields"),
    (["--schedule", "0 24 * * *"], {}, 3, 'column 3: the hour "24"'),
    (["--schedule", "0 0 30 feb *"], {}, 3, "never comes"),
    (["--timezone", "Mars/Base"], {}, 3, 'timezone: this system knows no time zone "Mars/Base"'),
    (["--data", "{", "--content-type", "application/json"], {}, 3, "data is no JSON"),
    (["--data", "a", "--data-base64", "YQ=="], {}, 3, "leave one out"),
    (["--data-base64", "%"], {}, 3, "dataBase64"),
    (["--data", "x" * 2000, "--max-event-bytes", "1KiB"], {}, 1, "source"),
    ([], {"K_SINK_TIMEOUT": "soon"}, 3, "sinkTimeoutSeconds"),
    ([], {"K_CE_OVERRIDES": '{"extensions":{"time":"x"}}'}, 3, "time"),
])
def test_what_is_wrong_is_said(start, args, env, code, words):
    process = start("source", "ping", *args, env={"K_SINK": "http://127.0.0.1:1/", **env})
    assert process.wait() == code, process.logs
    assert any(words in line and line.startswith("leat source ping: ") for line in process.stderr), process.logs


def test_help(start):
    process = start("source", "ping", "--help")
    assert process.wait() == 0
    text = "\n".join(process.stdout)
    for word in ("--schedule LINE", "--timezone ZONE", "--data TEXT", "--health ADDR", "K_CE_OVERRIDES", "Examples:"):
        assert word in text
    assert "--listen" not in text and "--webhook-url" not in text


# ---- inside serve ----


def conditions(broker, name="beat", version="v1"):
    status = broker.ask("GET", f"/apis/sources.knative.dev/{version}/namespaces/default/pingsources/{name}").json()["status"]
    return {c["type"]: (c["status"], c.get("reason"), c.get("message", "")) for c in status["conditions"]}, status


def test_by_way_of_a_channel(serve, sink):
    broker = serve([channel("beats"), subscription("s", "beats", sink.url), ping(data="tick", contentType="text/plain", ceOverrides={"extensions": {"team": "mills"}})])
    each_second(broker, sink, 3)
    first = sink.requests[0]
    assert first.body == b"tick" and first.headers["content-type"] == "text/plain" and first.attributes["team"] == "mills"
    assert first.attributes["source"] == "/apis/v1/namespaces/default/pingsources/beat"
    found, status = conditions(broker)
    assert {name: value[0] for name, value in found.items() if name != "DeliveryHealthy"} == {"Ready": "True", "SinkProvided": "True", "Deployed": "True", "OIDCIdentityCreated": "True"}
    assert status["sinkUri"] == f"{broker.ingress}/channels/default/beats"
    assert status["ceAttributes"] == [{"type": "dev.knative.sources.ping", "source": "/apis/v1/namespaces/default/pingsources/beat"}]
    assert conditions(broker, version="v1beta2") == conditions(broker)
    labels = {"result": "emitted", "namespace": "default", "source": "beat"}
    wait_for(lambda: any(n == "leat_source_events_total" and ("result", "emitted") in key and v >= 3 for (n, key), v in broker.metrics().items()), labels)


def test_one_loop_sends_it(serve, sink):
    """Several data loops, one event each second."""
    each_second(serve([ping(where=sink.url)], "--loops", "3"), sink, 4)


def test_other_plans_take_nothing_from_the_schedule(serve, sink):
    """While manifests change, each second comes once."""
    broker = serve([ping(where=sink.url)])
    sink.wait(1)
    for n in range(12):
        assert "error" not in broker.reload([ping(where=sink.url), *[channel(f"c{i}") for i in range(n)]])
        sink.wait(len(sink.requests) + n % 2)
    sink.wait(len(sink.requests) + 1)
    each_second(broker, sink, 7)
    assert not missed(broker, "did not run")


def test_a_plan_while_the_sink_is_away(serve):
    port = free_port()
    where = f"http://127.0.0.1:{port}/"
    broker = serve([ping(where=where)])
    broker.wait_line("ping.retry", "stderr")
    broker.reload([ping(where=where), channel("other")])
    with Sink(port=port) as late:
        times = each_second(broker, late, 3)
        first = broker.wait_line("ping.retry", "stderr")
        assert time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(times[0])) in first
        broker.stop()


def test_a_wrong_line_says_where_and_is_mended(serve, sink):
    broker = serve([ping(where=sink.url, schedule="0 25 * * *"), ping(name="lost", where=sink.url, timezone="Mars/Base", version="v1beta2")])
    found, _ = conditions(broker)
    assert found["Deployed"][:2] == ("False", "InvalidParameters") and found["Ready"][0] == "False"
    assert found["Ready"][2].startswith('schedule "0 25 * * *", column 3: the hour "25": 25 is not between 0 and 23')
    assert found["SinkProvided"][0] == "True"
    assert "timezone: this system knows no time zone" in conditions(broker, "lost")[0]["Ready"][2]
    broker.reload([ping(where=sink.url)])
    sink.wait(1)
    wait_for(lambda: conditions(broker)[0]["Ready"][0] == "True", "the condition")  # of a plan that is in force everywhere, which may be after the first event
    broker.reload([])
    wait_for(lambda: broker.ask("GET", "/apis/sources.knative.dev/v1/namespaces/default/pingsources/beat").status == 404, "that it is gone")
    assert broker.stop() == 0


def test_a_sink_that_is_not_there_yet(serve, sink):
    broker = serve([ping()])
    found, _ = conditions(broker)
    assert found["SinkProvided"][0] == "False" and found["Deployed"][:2] == ("False", "SinkNotResolved") and found["Ready"][0] == "False"
    broker.reload([ping(), channel("beats"), subscription("s", "beats", sink.url)])
    sink.wait(2)
    wait_for(lambda: conditions(broker)[0]["Ready"][0] == "True", "the condition")


@pytest.mark.parametrize("kill", [False, True])
def test_times_that_passed_while_it_did_not_run(serve, sink, tmp_path_factory, kill):
    """What is kept of the schedule survives a stop and a kill: the next start tells how many times passed, and sends nothing for them."""
    folder = tmp_path_factory.mktemp("kept")
    data = ("--data-dir", folder / "data")
    with Broker(folder, [ping(where=sink.url)], *data) as broker:
        sink.wait(3)
        if kill:
            broker.kill()
        else:
            assert broker.stop() == 0
    ended = time.time()
    wait_for(lambda: time.time() > ended + 2.2, "two times")
    before = seconds(sink.requests)
    with Broker(folder, [ping(where=sink.url)], *data) as broker:
        ran_again(broker, sink, before, kill)
        assert broker.stop() == 0
    began = len(sink.requests)
    with Broker(folder, [ping(where=sink.url, schedule="*/2 * * * * *")], *data) as broker:  # another schedule: what it would have sent is nobody's loss
        sink.wait(began + 1)
        assert not missed(broker, "did not run")
        assert broker.stop() == 0


def test_over_the_api(serve, sink):
    """As kubectl apply does it: what is left out is written down, a changed schedule counts at once."""
    broker = serve([])
    path = "/apis/sources.knative.dev/v1/namespaces/default/pingsources"
    thing = ping(where=sink.url)
    del thing["spec"]["schedule"]
    made = broker.ask("POST", path, thing)
    assert made.status == 201 and made.json()["spec"]["schedule"] == "* * * * *", made.text
    changed = unversioned(made.json(), spec={**made.json()["spec"], "schedule": EVERY_SECOND})
    assert broker.ask("PUT", f"{path}/beat", changed).status == 200
    sink.wait(2)
    assert broker.ask("DELETE", f"{path}/beat").status == 200


WRONG = [
    ({"schedule": "0 25 * * *"}, "spec.schedule", 'column 3: the hour "25"'),
    ({"schedule": "0 0 30 feb *"}, "spec.schedule", "never comes"),
    ({"timezone": "Mars/Base"}, "spec.timezone", "knows no time zone"),
    ({"data": "{", "contentType": "application/json"}, "spec.data", "no JSON"),
    ({"data": "x", "dataBase64": "AAAA"}, "spec.data", "dataBase64"),
]


@pytest.mark.parametrize("version", ["v1", "v1beta2"])
def test_over_the_api_what_cannot_run_is_refused(serve, version):
    """As Knative's webhook does it, with the field's name: at a create and at an update, and the object stays as it was."""
    broker = serve([])
    path, thing = f"/apis/sources.knative.dev/{version}/namespaces/default/pingsources", ping(where="http://127.0.0.1:1/", version=version, schedule="0 0 1 1 *")
    made = broker.ask("POST", path, ping(name="good", where="http://127.0.0.1:1/", version=version, schedule="0 0 1 1 *"))
    assert made.status == 201, made
    for wrong, field, why in WRONG:
        for answer in (broker.ask("POST", path, {**thing, "spec": {**thing["spec"], **wrong}}),
                       broker.ask("PUT", f"{path}/good", unversioned(made.json(), spec={**thing["spec"], **wrong})),
                       broker.ask("PATCH", f"{path}/good", {"spec": wrong}, {"Content-Type": "application/merge-patch+json"})):
            assert answer.status == 422 and [c["field"] for c in answer.json()["details"]["causes"]] == [field] and why in answer.json()["message"], answer
    assert broker.ask("GET", f"{path}/beat").status == 404 and broker.ask("GET", f"{path}/good").json()["spec"] == made.json()["spec"]


def test_validate_shows_the_place(start, tmp_path):
    (tmp_path / "p.yaml").write_text("apiVersion: sources.knative.dev/v1\nkind: PingSource\nmetadata: {name: p}\nspec:\n  schedule: '0 9 * * mo'\n"
                                     "  timezone: Europe/Berlin\n  sink: {uri: http://127.0.0.1:1/}\n")
    process = start("validate", tmp_path / "p.yaml")
    assert process.wait() == 0, process.logs
    text = process.logs
    assert 'p.yaml:5:13: warning: PingSource default/p: spec.schedule: schedule "0 9 * * mo", column 9: the day of the week "mo": "mo" is no number and no name' in text, text
