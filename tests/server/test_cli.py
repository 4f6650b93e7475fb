# SPDX-License-Identifier: Apache-2.0
"""The command line as people and scripts meet it: help, mistakes, exit codes, completion, the man page, validate, send and listen."""

import json
import re
import shutil
import subprocess

import pytest

from broker import channel, event, github_source, subscription
from leat import Leat, Reply, free_port, in_terminal, request

VERBS = ["serve", "validate", "apply", "get", "describe", "wait", "export", "graph", "delete", "explain", "audit", "send", "listen", "filter", "cesql", "dlq", "replay", "pause", "resume", "task", "token", "kubeconfig", "source", "run", "log", "doctor", "bench", "help", "version", "completion", "man"]
COLOUR = "\033["


# ---- help ----


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_every_verb(run, verb):
    code, out, err = run(verb, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"leat {verb}: ") and "\nUsage: leat " + verb in out and f"\nExamples:\n  " in out and f"leat {verb}" in out.split("Examples:")[1]
    assert COLOUR not in out and not re.search(r"[ \t]+$", out, re.M)
    if verb != "source":
        assert run(verb, "-h") == (0, out, "") and run("help", verb) == (0, out, "")


def test_help_of_all(run):
    code, out, err = run("--help")
    assert (code, err) == (0, "") and all(re.search(rf"^  {verb} ", out, re.M) for verb in VERBS)
    assert "Examples:" in out and "Exit codes: 0" in out
    assert run("-h")[1] == out and run("help")[1] == out
    assert run()[:2] == (2, out)


def test_version(run):
    assert re.fullmatch(r"leat [0-9]+\.[0-9]+\.[0-9]+\S*", run("version")[1])
    assert run("--version") == run("version")


# ---- mistakes ----


@pytest.mark.parametrize("verb, like", [("serv", "serve"), ("aply", "apply"), ("lisen", "listen"), ("validat", "validate"), ("xyzzy", None)])
def test_an_unknown_verb(run, verb, like):
    code, out, err = run(verb)
    assert code == 2 and not out and f"there is no verb '{verb}'" in err and "leat --help" in err
    assert (f"Did you mean '{like}'?" in err) if like else ("Did you mean" not in err)


@pytest.mark.parametrize(
    "args, words",
    [
        (["serve", "--frobnicate"], ["--frobnicate", "leat serve --help"]),
        (["serve", "-z"], ["-z"]),
        (["serve", "-f"], ["-f", "value"]),
        (["serve", "--file"], ["--file", "value"]),
        (["serve", "--ephemeral=yes"], ["--ephemeral=yes"]),
        (["serve", "--api", "a", "--api", "b"], ["--api", "twice"]),
        (["serve", "operand"], ["operand"]),
        (["serve", "--loops", "0"], ["--loops", "256"]),
        (["serve", "--drain", "soon"], ["--drain", "soon", "500ms"]),
        (["serve", "--max-event-bytes", "lots"], ["--max-event-bytes", "lots"]),
        (["serve", "--max-event-bytes", "1"], ["--max-event-bytes", "1024"]),
        (["serve", "--max-headers", "9GiB"], ["--max-headers"]),
        (["serve", "--resolve", "nonsense"], ["--resolve", "nonsense"]),
        (["serve", "--log-format", "xml"], ["--log-format", "xml", "json"]),
        (["serve", "--log-level", "loud"], ["--log-level", "loud", "debug"]),
        (["listen", "--status", "42"], ["--status", "42"]),
        (["listen", "--status", "9000"], ["--status", "9000"]),
        (["listen", "--fail", "often"], ["--fail", "often"]),
        (["listen", "--delay", "later"], ["--delay", "later"]),
        (["listen", "-o", "xml"], ["xml", "json"]),
        (["listen", "127.0.0.1:0", "more"], ["more"]),
        (["send"], ["--to"]),
        (["send", "--to", "nonsense"], ["nonsense"]),
        (["send", "gitlab", "--to", "http://127.0.0.1:1/"], ["gitlab", "github"]),
        (["send", "--to", "http://127.0.0.1:1/", "-o", "xml"], ["xml", "json"]),
        (["send", "--to", "http://127.0.0.1:1/", "-e", "novalue"], ["novalue", "NAME=VALUE"]),
        (["send", "github", "none", "--to", "http://127.0.0.1:1/", "--secret", "x"], ["none", "push"]),
        (["send", "github", "push", "--to", "http://127.0.0.1:1/"], ["--secret-file", "GITHUB_SECRET_TOKEN"]),
        (["validate"], ["file or folder", "leat validate --help"]),
        (["get", "channel", "a", "b"], ["'b'"]),
        (["completion", "bash", "zsh"], ["'zsh'"]),
        (["validate", "-o", "xml", "x"], ["xml"]),
        (["apply"], ["-f"]),
        (["describe"], ["KIND/NAME"]),
        (["describe", "channel"], ["channel/NAME"]),
        (["wait"], ["KIND/NAME"]),
        (["wait", "channel"], ["channel", "KIND/NAME"]),
        (["wait", "nothing/x"], ["nothing"]),
        (["wait", "channel/x", "--for", "rain"], ["rain", "condition=NAME"]),
        (["wait", "channel/x", "--for", "jsonpath={x"], ["jsonpath"]),
        (["wait", "channel/x", "--for", "condition="], ["condition=NAME"]),
        (["wait", "channel/x", "--timeout", "soon"], ["soon"]),
        (["export", "-o", "xml"], ["xml"]),
        (["export", "nothings"], ["nothings"]),
        (["graph", "-o", "svg"], ["svg", "dot"]),
        (["explain"], ["trigger.spec.filter"]),
        (["explain", "trigger.spec.nothing"], ["nothing", "brokerRef"]),
        (["explain", "nothing", "--recursive"], ["nothing"]),
        (["explain", "trigger", "--api-version", "eventing.knative.dev/v9"], ["eventing.knative.dev/v9"]),
        (["delete"], ["KIND/NAME"]),
        (["delete", "channel"], ["channel/NAME"]),
        (["completion"], ["bash"]),
        (["completion", "tcsh"], ["bash"]),
        (["help", "none"], ["none"]),
        (["source"], []),
        (["source", "gitlab"], ["gitlab"]),
    ],
)
def test_a_wrong_command_line_is_exit_code_2(run, args, words):
    code, out, err = run(*args)
    assert code == 2, (code, out, err)
    assert all(word in out + err for word in words), err
    assert not re.search(r"[^\x20-\x7e\n]", err), "no control characters in messages"


# ---- completion and man page ----


def test_bash_completion(run, tmp_path):
    script = tmp_path / "leat.bash"
    script.write_text(run("completion", "bash")[1] + "\n")
    assert subprocess.run(["bash", "-n", script], capture_output=True).stderr == b""

    def complete(*words):
        line = " ".join(f"'{w}'" for w in words)
        return subprocess.run(["bash", "-c", f"source {script}; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _leat; printf '%s\\n' \"${{COMPREPLY[@]}}\""], capture_output=True, text=True).stdout.split()

    assert complete("leat", "se") == ["serve", "send"]
    assert complete("leat", "serve", "--in") == ["--ingress"]
    assert set(complete("leat", "listen", "--")) >= {"--fail", "--reply", "--help"}
    assert set(complete("leat", "source", "")) >= {"github", "ping", "kafka", "rabbitmq"}
    assert complete("leat", "get", "rabbitmqs") == ["rabbitmqsources"] and complete("leat", "get", "subs") == ["subscriptions"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_completions(run, tmp_path, shell):
    code, out, err = run("completion", shell)
    assert (code, err) == (0, "") and all(verb in out for verb in VERBS)
    if shutil.which(shell):
        (tmp_path / "script").write_text(out)
        assert subprocess.run([shell, "-n", tmp_path / "script"], capture_output=True).stderr == b""


def test_the_man_page(run):
    code, out, err = run("man")
    assert (code, err) == (0, "") and out.startswith(".TH LEAT 1 ") and all(f".SS leat {verb} " in out for verb in VERBS)
    options = re.findall(r"--([a-z-]+)", run("serve", "--help")[1])
    assert all(option.replace("-", "\\-") in out for option in options)
    if shutil.which("groff"):
        done = subprocess.run(["groff", "-man", "-Tutf8", "-ww"], input=out.encode(), capture_output=True)
        assert done.returncode == 0 and done.stderr == b"" and b"--ingress" in re.sub(rb"\x1b\[[0-9;]*m", b"", done.stdout)


# ---- validate ----


def test_validate(run, tmp_path):
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(json.dumps(channel("c")))
    bad.write_text("apiVersion: messaging.knative.dev/v1\nkind: Channel\nmetadata:\n  name: c\nspec:\n  delivery:\n    retry: -1\n    bakoffDelay: PT1S\n")
    assert run("validate", good) == (0, "1 objects, 0 errors, 0 warnings", "")
    code, out, err = run("validate", bad)
    assert code == 3 and out == "1 objects, 2 errors, 0 warnings"
    lines = err.splitlines()
    assert [line.split(" error: ")[0] for line in sorted(lines)] == [f"{bad}:7:12:", f"{bad}:8:5:"] and "backoffDelay" in err
    assert COLOUR not in err


def test_validate_as_json(run, tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text('apiVersion: messaging.knative.dev/v1\nkind: Channel\nmetadata:\n  name: c\nspec:\n  "a\\"b": 1\n')
    code, out, err = run("validate", "-o", "json", bad)
    assert code == 3 and err == ""
    seen = json.loads(out)
    assert (seen["objects"], seen["errors"], seen["warnings"]) == (1, 1, 0)
    problem = seen["problems"][0]
    assert (problem["severity"], problem["file"], problem["line"], problem["column"], problem["object"]) == ("error", str(bad), 6, 3, "Channel default/c")
    assert 'a"b' in problem["path"] and problem["text"]


def test_validate_of_a_folder_and_of_standard_input(run, tmp_path):
    for i in range(3):
        (tmp_path / f"{i}.yaml").write_text(json.dumps(channel(f"c{i}")))
    (tmp_path / "notes.txt").write_text("no manifest")
    assert run("validate", tmp_path)[1] == "3 objects, 0 errors, 0 warnings"
    with open(tmp_path / "0.yaml") as stdin:
        assert run("validate", "-", stdin=stdin)[1] == "1 objects, 0 errors, 0 warnings"
    assert run("validate", tmp_path / "none.yaml")[0] == 3


def test_warnings(run, tmp_path):
    path = tmp_path / "m.yaml"
    path.write_text("apiVersion: channels.knative.dev/v1alpha1\nkind: ClusterBus\nmetadata: {name: stub, namespace: default}\nspec: {dispatcher: {name: d, image: x/buses/stub/dispatcher}}\n")
    code, out, err = run("validate", path)
    assert code == 0 and "1 warnings" in out and f"{path}:3:" in err and " warning: " in err
    assert run("validate", "--deny-warnings", path)[0] == 3


# ---- send and listen ----


@pytest.fixture
def listen(start):
    def run_(*args, **more):
        process = start("listen", "127.0.0.1:0", *args, **more)
        process.url = process.wait_line("listening on ").split()[-1]
        return process

    return run_


def test_a_round_trip(run, listen):
    listener = listen()
    code, out, err = run("send", "--to", listener.url, "--type", "order.made", "--source", "/shop", "--id", "r-1", "--subject", "s", "-e", "team=wäter", "--data", '{"n": 1.50}')
    assert (code, out, err) == (0, "202 accepted id=r-1 source=/shop", "")
    listener.wait_line('    data: {"n": 1.50}')
    seen = listener.stdout
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z 202 accepted try=1 order\.made", seen[1])
    assert {"    id: r-1", "    source: /shop", "    type: order.made", "    subject: s", "    team: wäter", "    datacontenttype: application/json"} <= set(seen)
    assert COLOUR not in "\n".join(seen)


def test_json_both_ways(run, listen):
    listener = listen("-o", "json", "--name", "L", "--count", "1")
    code, out, _ = run("send", "--to", listener.url, "--data", "[1.0]", "-o", "json")
    assert code == 0
    sent = json.loads(out)
    assert sent["status"] == 202 and re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", sent["id"])
    assert listener.wait() == 0, "--count 1"
    line = json.loads(listener.stdout[1])
    assert (line["try"], line["status"], line["listener"]) == (1, 202, "L")
    assert (line["event"]["id"], line["event"]["source"], line["event"]["type"]) == (sent["id"], "/leat/send", "dev.leat.sample") and line["event"]["time"]
    assert '"data":[1.0]' in listener.stdout[1].replace(" ", "")


def test_fail_then_accept(run, listen):
    listener = listen("--fail", "2", "--status", "429", "--retry-after", "7")
    headers = event("f")
    answers = [request("POST", listener.url, b"", headers) for _ in range(3)]
    assert [a.status for a in answers] == [429, 429, 202] and answers[0].headers["retry-after"] == "7"
    assert request("POST", listener.url, b"", event("g")).status == 429, "each event fails anew"
    assert "retry-after" not in answers[2].headers


def test_fail_all_and_what_send_says(run, listen):
    code, out, err = run("send", "--to", listen("--fail-all", "--status", "500").url)
    assert code == 1 and not out and "answered 500" in err and "told to fail" in err


def test_reply(listen):
    answer = request("POST", listen("--reply", "order.confirmed").url, b"\0data", {**event("orig"), "Content-Type": "a/b"})
    assert answer.status == 200 and answer.body == b"\0data"
    assert (answer.headers["ce-type"], answer.headers["ce-causationid"], answer.headers["content-type"]) == ("order.confirmed", "orig", "a/b") and answer.headers["ce-id"] != "orig"


def test_a_batch(listen):
    listener = listen("--fail", "1", "--count", "3", "-o", "json")
    batch = json.dumps([{"specversion": "1.0", "id": str(i), "type": "t", "source": "/s"} for i in range(3)]).encode()
    headers = {"Content-Type": "application/cloudevents-batch+json"}
    assert [request("POST", listener.url, body, headers).status for body in (batch, batch[:-1], batch)] == [503, 400, 202]
    assert listener.wait() == 0
    printed = [json.loads(line) for line in listener.stdout if line.startswith("{")]
    assert [(p["event"]["id"], p["try"], p["status"]) for p in printed] == [("0", 1, 503), ("1", 1, 503), ("2", 1, 503), ("0", 2, 202), ("1", 2, 202), ("2", 2, 202)]


def test_delay_and_methods_and_no_events(listen):
    listener = listen("--delay", "50ms")
    assert request("POST", listener.url, b"", event()).status == 202
    assert request("GET", listener.url).status == 405
    assert request("POST", listener.url, b"x").status == 400
    listener.wait_line("no CloudEvent")


def test_count(run, listen):
    listener = listen("--count", "3", "--fail", "1")
    for i in range(3):
        for status in (503, 202):
            assert request("POST", listener.url, b"", event(str(i))).status == status
    assert listener.wait() == 0


def test_control_characters_do_not_reach_the_terminal(listen):
    listener = listen()
    request("POST", listener.url, b"a\x1b[31mb\x07", event())
    assert "\\x1b[31mb\\x07" in listener.wait_line("data:")


def test_long_and_binary_data(listen):
    listener, full = listen(), listen("--full")
    for where in (listener, full):
        request("POST", where.url, b"y" * 5000, event())
    assert "5000 bytes; --full" in listener.wait_line("data:")
    assert "y" * 5000 in full.wait_line("data:")
    request("POST", listener.url, b"\xff\xfe", event("b"))
    listener.wait_line("2 bytes, not text")


def test_send_a_file_in_structured_mode(run, sink, tmp_path):
    path = tmp_path / "event.json"
    path.write_text('{"specversion": "1.0", "id": "f-1", "type": "t", "source": "/s", "data": {"pi": 3.140}}')
    assert run("send", "--to", sink.url, "-f", path, "--structured", "--type", "changed")[0] == 0
    got = sink.wait(1)[0]
    assert got.headers["content-type"].startswith("application/cloudevents+json") and b'{"pi": 3.140}' in got.body
    assert (json.loads(got.body)["id"], json.loads(got.body)["type"]) == ("f-1", "changed")
    with open(path) as stdin:
        assert run("send", "--to", sink.url, "-f", "-", stdin=stdin)[0] == 0
    assert sink.wait(2)[1].body == b'{"pi": 3.140}'


def test_send_data_from_a_file_and_from_standard_input(run, sink, tmp_path):
    path = tmp_path / "data"
    path.write_bytes(bytes(range(256)) * 1000)
    assert run("send", "--to", sink.url, "--data", f"@{path}", "--content-type", "application/octet-stream")[0] == 0
    with open(path) as stdin:
        assert run("send", "--to", sink.url, "--data", "@-", stdin=stdin)[0] == 0
    assert [r.body for r in sink.wait(2)] == [path.read_bytes()] * 2
    assert sink.requests[0].headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize("args, words", [(["--time", "soon"], "time"), (["-e", "My-Ext=1"], "My-Ext"), (["--type", ""], "type"), (["-d", "@/none"], "/none"), (["-f", "/none"], "/none")])
def test_an_event_that_is_none_is_exit_code_3(run, sink, args, words):
    code, out, err = run("send", "--to", sink.url, *args)
    assert code == 3 and not out and words in err and not sink.requests


def test_a_file_that_is_no_event(run, sink, tmp_path):
    (tmp_path / "e.json").write_text('{\n  "specversion": "1.0",,\n}')
    code, _, err = run("send", "--to", sink.url, "-f", tmp_path / "e.json")
    assert code == 3 and "e.json:2:" in err


def test_send_to_a_resource(run, serve, sink):
    broker = serve([channel("orders"), subscription("s", "orders", sink.url)])
    assert run("send", "--to", "channel/orders", "--server", broker.api, "-d", "1")[0] == 0
    assert sink.wait(1)[0].body == b"1"
    code, out, err = run("send", "--to", "channel/none", "--server", broker.api)
    assert code == 1 and "there is no channel/none" in err
    code, out, err = run("send", "--to", "canal/none", "--server", broker.api)
    assert code == 2 and "canal" in err
    code, out, err = run("send", "--to", "channel/orders", "--server", f"http://127.0.0.1:{free_port()}")
    assert code == 1 and "leat serve" in err and "there is no" not in err


def test_send_waits_for_who_is_not_there_yet(run, sink):
    sink.fail(2, 503)
    code, out, err = run("send", "--to", sink.url, "--wait", "20")
    assert code == 0 and "accepted" in out and not err and len(sink.requests) == 3
    assert len({r.attributes["id"] for r in sink.requests}) == 1, "one event, sent again"
    port = free_port()
    with Leat(["send", "--to", f"http://127.0.0.1:{port}/", "--wait", "20"]) as sending, Leat(["listen", f"127.0.0.1:{port}", "--count", "1"]) as listener:
        assert listener.wait() == 0 and sending.wait() == 0


def test_send_does_not_wait_for_what_will_not_change(run, sink):
    sink.fail(1, 400)
    assert run("send", "--to", sink.url, "--wait", "20")[0] == 1 and len(sink.requests) == 1
    sink.fail(1, 503)
    code, out, err = run("send", "--to", sink.url)
    assert code == 1 and "503" in err and len(sink.requests) == 2
    assert run("send", "--to", sink.url, "--wait", "-1")[0] == 2


@pytest.mark.parametrize("bus, words", [("rabbits", "there are memory, log, kafka, rabbitmq, pubsub and faulty"), ("memory,total", "PARAM=VALUE"), ("memory,=1", "PARAM=VALUE")])
def test_a_bus_that_there_is_not(run, bus, words):
    code, out, err = run("serve", "--ephemeral", "--bus", bus)
    assert code == 2 and not out and "--bus" in err and words in err


@pytest.mark.parametrize("words, told", [(["--ephemeral"], True), (["--data-dir", "data"], False)])
def test_queues_that_would_be_left_behind(start, tmp_path, words, told):
    words = [str(tmp_path / word) if word == "data" else word for word in words]
    process = start("serve", "--bus", "rabbitmq,host=127.0.0.1:1", "--ingress", "127.0.0.1:0", "--api", "127.0.0.1:0", *words)
    process.wait_line("serve.ready", "stderr")  # what else is said of the start is said before
    assert ("serve.ephemeral bus=rabbitmq" in process.logs) == told


def test_values_of_a_bus(run, tmp_path):
    """A list of addresses needs no quotes, and what is secret or long comes from a file."""
    file = tmp_path / "value"
    file.write_text("not PEM\n")
    known = "kafka,bootstrap.servers=one:9092,two:9092,security.protocol=SSL"
    for bus, words in [("kafka,bootstrap.servers=one:9092,two", "'two' is not host:port"), (f"{known},ssl.ca=@{file}", "ssl.ca is not a certificate in PEM form"), ("rabbitmq,url=http://one", "amqp://"), ("rabbitmq,url=amqp://one,two:none", "port")]:
        code, out, err = run("serve", "--ephemeral", "--bus", bus, "--ingress", "127.0.0.1:0", "--api", "127.0.0.1:0")
        assert code == 3 and not out and words in err, err
    code, _, err = run("serve", "--ephemeral", "--bus", f"{known},ssl.ca=@{tmp_path}/absent")
    assert code == 3 and "absent cannot be read" in err


@pytest.mark.parametrize("bus, words", [("memory,total=much", "total"), ("memory,what=1", "what"), ("faulty,inner=memory,revoke=2", "revoke")])
def test_a_bus_that_takes_no_such_parameter(run, bus, words):
    code, out, err = run("serve", "--ephemeral", "--bus", bus, "--ingress", "127.0.0.1:0", "--api", "127.0.0.1:0")
    assert code == 3 and not out and f"--bus {bus.partition(',')[0]}: " in err and words in err


def test_nobody_listens(run):
    url = f"http://127.0.0.1:{free_port()}/"
    code, out, err = run("send", "--to", url)
    assert code == 1 and not out and url in err and "refused" in err.lower() and "--to" in err


@pytest.mark.parametrize(
    "words",
    [["get", "channels"], ["get", "channel/a"], ["get", "all"], ["describe", "channel/a"], ["wait", "channel/a"], ["wait", "channel", "--all"], ["export"], ["graph"], ["audit"], ["delete", "channel/a"], ["dlq", "list"],
     ["task", "list"], ["pause", "subscription/s"], ["explain", "5"], ["tail", "channel/a"], ["send", "--to", "channel/a"], ["run", "--sink", "channel/a", "--", "true"]],
)
def test_an_address_where_something_else_answers(run, serve, words):
    """The ingress, to which one of its neighbours' address was given: it has no such pages, which is not that there is no such object."""
    broker = serve([])
    code, out, err = run(*words, env={"LEAT_SERVER": broker.ingress})
    assert code == 1 and not out and "Is that leat's API listener?" in err and "there is no" not in err, (code, out, err)


@pytest.mark.parametrize("items", ["[{}]", "[1]", '[{"metadata": {"name": 7}}]'])
def test_wait_where_an_object_has_no_name(run, sink, items):
    sink.default = Reply(200, {"Content-Type": "application/json"}, f'{{"items":{items}}}'.encode())
    code, out, err = run("wait", "channels", "--all", env={"LEAT_SERVER": sink.url})
    assert code == 1 and not out and "an object has no name" in err, (code, out, err)


@pytest.mark.parametrize(
    "words, answer",
    [
        (["export", "channels"], {"items": [{"metadata": [1]}]}),
        (["describe", "channel/a"], {"metadata": {"labels": ["x"], "annotations": [1]}, "data": ["y"]}),
        (["describe", "secret/a"], {"metadata": {}, "data": ["y"]}),
    ],
)
def test_a_list_where_a_map_is_expected(run, sink, words, answer):
    sink.default = Reply(200, {"Content-Type": "application/json"}, json.dumps(answer).encode())
    code, out, err = run(*words, env={"LEAT_SERVER": sink.url})
    assert code == 0 and out and "null" not in out, (code, out, err)


def test_standard_output_that_is_closed(leat_binary):
    """Its number is not that of the first file that is opened."""
    done = subprocess.run(["sh", "-c", 'exec "$0" version >&-', leat_binary], stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("words", [["version"], ["help"], ["man"], ["export", "-A"]])
def test_standard_output_that_cannot_be_written(leat_binary, serve, words):
    """A backup on a disk that was full is no backup."""
    broker = serve([channel("a")])
    with open("/dev/full", "w") as full:
        done = subprocess.run([leat_binary, *words], env={"LEAT_SERVER": broker.api}, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and "standard output cannot be written" in done.stderr, done


def test_what_a_service_answered_is_said_in_one_line(run, sink):
    sink.fail(1, 400, body=b"no such order\n\n")
    code, out, err = run("send", "--to", sink.url)
    assert code == 1 and not out and err.endswith("answered 400: no such order"), err


def test_send_github(run, serve, sink):
    broker = serve(github_source("gh", sink.url, events=("push", "pull_request", "issues")))
    for name in ("push", "pull_request", "issues"):
        code, out, err = run("send", "github", name, "--to", broker.ingress + "/hooks/default/gh", env={"GITHUB_SECRET_TOKEN": "s3"})
        assert code == 0, (out, err)
    assert [r.headers["ce-type"] for r in sink.wait(3)] == [f"dev.knative.source.github.{n}" for n in ("push", "pull_request", "issues")]
    code, _, err = run("send", "github", "push", "--to", broker.ingress + "/hooks/default/gh", "--secret", "wrong")
    assert code == 1 and "answered 403" in err


def test_listen_on_a_port_in_use(run, listen):
    address = listen().url[7:]
    code, out, err = run("listen", address)
    assert code == 1 and not out and "in use" in err and address in err


def test_logs_as_json(serve):
    broker = serve([channel("c")], "--log-format", "json")
    assert broker.stop() == 0
    lines = [json.loads(line) for line in broker.stderr]
    assert all({"time", "level"} <= set(line) for line in lines) and any("serve.ready" in line.values() for line in lines)


# ---- colours ----


def test_colours_only_on_a_terminal_that_wants_them():
    assert COLOUR in in_terminal(["--help"], {"TERM": "xterm"})
    for env in ({"TERM": "dumb"}, {"TERM": "xterm", "NO_COLOR": "1"}, {}):
        assert COLOUR not in in_terminal(["--help"], env)


def test_the_table_is_coloured_on_a_terminal_only(serve):
    broker = serve([channel("c")])
    assert "\033[32mTrue" in in_terminal(["get", "channels", "--server", broker.api], {"TERM": "xterm"})
    assert COLOUR not in in_terminal(["get", "channels", "--server", broker.api, "-o", "json"], {"TERM": "xterm"})
