# SPDX-License-Identifier: Apache-2.0
"""What somebody else does to a Kafka: lists topics, deletes one. By kcat, and by librdkafka where kcat cannot."""
import ctypes
import json
import subprocess

PRODUCER = 0


def topics(servers):
    """{name: how many partitions}."""
    listed = json.loads(subprocess.run(["kcat", "-b", servers, "-L", "-J"], check=True, capture_output=True, text=True).stdout)
    return {t["topic"]: len(t["partitions"]) for t in listed["topics"]}


def delete_topic(servers, name):
    rd = ctypes.CDLL("librdkafka.so.1")
    for function in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_DeleteTopic_new", "rd_kafka_queue_new", "rd_kafka_queue_poll", "rd_kafka_event_DeleteTopics_result", "rd_kafka_DeleteTopics_result_topics"):
        getattr(rd, function).restype = ctypes.c_void_p
    why = ctypes.create_string_buffer(200)
    conf = ctypes.c_void_p(rd.rd_kafka_conf_new())
    assert rd.rd_kafka_conf_set(conf, b"bootstrap.servers", servers.encode(), why, 200) == 0, why.value
    handle = ctypes.c_void_p(rd.rd_kafka_new(PRODUCER, conf, why, 200))
    queue = ctypes.c_void_p(rd.rd_kafka_queue_new(handle))
    request = (ctypes.c_void_p * 1)(rd.rd_kafka_DeleteTopic_new(name.encode()))
    rd.rd_kafka_DeleteTopics(handle, request, ctypes.c_size_t(1), None, queue)
    answer = ctypes.c_void_p(rd.rd_kafka_queue_poll(queue, 10000))
    assert answer and rd.rd_kafka_event_error(answer) == 0, f"{name} was not deleted"
    rd.rd_kafka_event_destroy(answer)
    rd.rd_kafka_DeleteTopic_destroy(ctypes.c_void_p(request[0]))
    rd.rd_kafka_queue_destroy(queue)
    rd.rd_kafka_destroy(handle)
