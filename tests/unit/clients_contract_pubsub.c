/* SPDX-License-Identifier: Apache-2.0
 *
 * The Pub/Sub client on a real interface: Google's fake or emulator, which tests/real starts and names in LEAT_PUBSUB.
 * Each case has topics and subscriptions of its own, whose names hold a random word.
 */
#include <assert.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>
#include <cmocka.h>

#include "clock.h"
#include "loop.h"
#include "pubsub.h"
#include "tests/lib/fault.h"

#define PATIENCE_S 120 /* a call that hangs meets the alarm */

static struct loop *loop;
static struct pubsub_client *client;
static char topic[80], other[80];

/* What the last call said, copied. */
static struct said {
    bool done;
    enum err err;
    bool retryable;
    char code[40], text[600];
    size_t ids, count;
    char data[40][40], key[40][20], ack[40][200], body[2000];
    struct slice ack_ids[40];
    size_t attributes;
    char attribute[200];
} said;

static void copy(char *to, size_t size, struct slice from)
{
    snprintf(to, size, "%.*s", SLICE_ARG(from));
}

static void done(void *arg, const struct pubsub_answer *a)
{
    struct said *s = arg;
    *s = (struct said){.done = true, .err = a->err, .retryable = a->retryable, .ids = a->message_id_count};
    copy(s->code, sizeof s->code, slice_str(a->code));
    copy(s->text, sizeof s->text, slice_str(a->text));
    copy(s->body, sizeof s->body, a->body);
    s->count = a->received_count;
    for (size_t i = 0; i < a->received_count && i < 40; i++) {
        const struct ce_pubsub_message *m = &a->received[i].message;
        copy(s->data[i], sizeof s->data[i], m->data);
        copy(s->key[i], sizeof s->key[i], m->ordering_key);
        copy(s->ack[i], sizeof s->ack[i], a->received[i].ack_id);
        s->ack_ids[i] = slice_str(s->ack[i]);
        assert_true(m->message_id.len && m->publish_time.len);
        s->attributes = m->attribute_count;
        if (m->attribute_count)
            copy(s->attribute, sizeof s->attribute, m->attributes[0].value);
    }
}

static void wait_for(enum err begun, enum err expected)
{
    assert_int_equal(begun, OK);
    while (!said.done)
        assert_int_equal(loop_turn(loop, UINT64_MAX), OK);
    said.done = false;
    if (said.err != expected)
        fail_msg("%s (%s): %s", err_name(said.err), said.code, said.text);
    assert_true((said.err != OK) == (said.code[0] != '\0') && (said.err != OK) == (said.text[0] != '\0'));
}

static int begin(void **state)
{
    uint64_t word;
    (void)state;
    alarm(PATIENCE_S);
    if (!getenv("LEAT_PUBSUB")) {
        fprintf(stderr, "LEAT_PUBSUB is not set: tests/real/pubsub.py run %s\n", program_invocation_name);
        return 1;
    }
    const struct pubsub_param params[] = {{"emulator", getenv("LEAT_PUBSUB")}, {"project", "leat-tests"}};
    if (getrandom(&word, sizeof word, 0) != sizeof word || loop_new(clock_system(), 8, &loop) != OK ||
        pubsub_client_new(loop, params, 2, &client, NULL) != OK)
        return 1;
    snprintf(topic, sizeof topic, "t-%016llx", (unsigned long long)word);
    snprintf(other, sizeof other, "s-%016llx", (unsigned long long)word);
    said.done = false;
    return 0;
}

static int end(void **state)
{
    (void)state;
    pubsub_client_free(client);
    loop_free(loop);
    return 0;
}

static void make(bool ordering)
{
    const struct pubsub_subscription_settings s = {
        .topic = topic, .ack_deadline_s = 10, .ordering = ordering, .retain_acked = true, .never_expires = true};
    wait_for(pubsub_topic_create(client, topic, NULL, done, &said, NULL), OK);
    wait_for(pubsub_subscription_create(client, other, &s, done, &said, NULL), OK);
}

static void publish(const char *data, const char *key)
{
    const struct ce_pubsub_attribute a = {SLICE("name"), SLICE("va\"l\\ue\n\xc3\xa4")};
    const struct ce_pubsub_message m = {&a, 1, slice_str(data), slice_str(key), {NULL, 0}, {NULL, 0}};
    wait_for(pubsub_publish(client, topic, &m, 1, done, &said, NULL), OK);
    assert_int_equal(said.ids, 1);
}

static void things_are_made_once(void **state)
{
    (void)state;
    make(false);
    wait_for(pubsub_topic_create(client, topic, NULL, done, &said, NULL), ERR_EXISTS);
    assert_string_equal(said.code, "AlreadyExists");
    const struct pubsub_subscription_settings s = {.topic = topic};
    wait_for(pubsub_subscription_create(client, other, &s, done, &said, NULL), ERR_EXISTS);
    wait_for(pubsub_topic_get(client, topic, done, &said, NULL), OK);
    assert_non_null(strstr(said.body, topic));
    wait_for(pubsub_subscription_get(client, other, done, &said, NULL), OK);
    assert_non_null(strstr(said.body, "\"ackDeadlineSeconds\":"));
    wait_for(pubsub_subscription_delete(client, other, done, &said, NULL), OK);
    wait_for(pubsub_subscription_get(client, other, done, &said, NULL), ERR_NOTFOUND);
    assert_string_equal(said.code, "NotFound");
    assert_false(said.retryable);
    wait_for(pubsub_topic_delete(client, topic, done, &said, NULL), OK);
    const struct ce_pubsub_message m = {.data = SLICE("x")};
    wait_for(pubsub_publish(client, topic, &m, 1, done, &said, NULL), ERR_NOTFOUND);
    assert_non_null(strstr(said.text, "publishing to projects/leat-tests/topics/"));
    wait_for(pubsub_subscription_create(client, other, &s, done, &said, NULL), ERR_NOTFOUND);
}

static void what_is_published_is_pulled_and_acknowledged(void **state)
{
    (void)state;
    make(false);
    publish("hello", "");
    wait_for(pubsub_pull(client, other, 10, false, done, &said, NULL), OK);
    assert_int_equal(said.count, 1);
    assert_string_equal(said.data[0], "hello");
    assert_int_equal(said.attributes, 1);
    assert_string_equal(said.attribute, "va\"l\\ue\n\xc3\xa4");
    wait_for(pubsub_modify_ack_deadline(client, other, said.ack_ids, 1, 0, done, &said, NULL), OK);
    wait_for(pubsub_pull(client, other, 10, false, done, &said, NULL), OK); /* released: it comes again */
    assert_int_equal(said.count, 1);
    wait_for(pubsub_modify_ack_deadline(client, other, said.ack_ids, 1, 60, done, &said, NULL), OK);
}

static void acknowledged_is_gone_and_a_seek_brings_it_back(void **state)
{
    (void)state;
    make(false);
    int64_t before = clock_wall_ns(clock_system()) - 5 * (int64_t)NS_PER_S;
    publish("one", "");
    wait_for(pubsub_pull(client, other, 10, false, done, &said, NULL), OK);
    struct said got = said;
    got.ack_ids[0] = slice_str(got.ack[0]);
    wait_for(pubsub_acknowledge(client, other, got.ack_ids, 1, done, &said, NULL), OK);
    wait_for(pubsub_pull(client, other, 10, true, done, &said, NULL), OK);
    assert_int_equal(said.count, 0);
    assert_int_equal(pubsub_seek(client, other, before, done, &said, NULL), OK);
    while (!said.done)
        assert_int_equal(loop_turn(loop, UINT64_MAX), OK);
    said.done = false;
    if (said.err == ERR_UNSUPPORTED)
        skip(); /* Google's fake; the emulator can */
    assert_int_equal(said.err, OK);
    wait_for(pubsub_pull(client, other, 10, false, done, &said, NULL), OK);
    assert_int_equal(said.count, 1);
    assert_string_equal(said.data[0], "one");
}

static void a_long_pull_delays_nobody_and_can_be_withdrawn(void **state)
{
    (void)state;
    struct said pulled = {.done = false};
    struct pubsub_call *call = NULL;
    make(false);
    assert_int_equal(pubsub_pull(client, other, 10, false, done, &pulled, &call), OK);
    wait_for(pubsub_topic_get(client, topic, done, &said, NULL), OK);
    assert_false(pulled.done);
    pubsub_cancel(call);
    assert_int_equal(pubsub_pull(client, other, 10, false, done, &pulled, &call), OK);
    wait_for(pubsub_topic_get(client, topic, done, &said, NULL), OK);
    publish("late", "");
    while (!pulled.done)
        assert_int_equal(loop_turn(loop, UINT64_MAX), OK);
    /* The service may have handed it to the pull that was withdrawn. */
    assert_true(pulled.err == OK && pulled.count <= 1);
    assert_int_equal(pubsub_pull(client, other, 10, false, done, &pulled, NULL), OK); /* and one ends with its client */
}

static void a_key_keeps_its_order_in_a_batch(void **state)
{
    (void)state;
    struct ce_pubsub_message m[30];
    char text[30][8];
    make(true);
    for (int i = 0; i < 30; i++) {
        snprintf(text[i], sizeof text[i], "%d", i);
        m[i] = (struct ce_pubsub_message){.data = slice_str(text[i]), .ordering_key = SLICE("k")};
    }
    wait_for(pubsub_publish(client, topic, m, 30, done, &said, NULL), OK);
    assert_int_equal(said.ids, 30);
    for (int next = 0; next < 30;) {
        wait_for(pubsub_pull(client, other, 10, false, done, &said, NULL), OK);
        struct said got = said;
        for (size_t i = 0; i < got.count; i++) {
            assert_int_equal(atoi(got.data[i]), next++);
            assert_string_equal(got.key[i], "k");
            got.ack_ids[i] = slice_str(got.ack[i]);
        }
        wait_for(pubsub_acknowledge(client, other, got.ack_ids, got.count, done, &said, NULL), OK);
    }
}

static void what_cannot_be_asked_is_refused_at_once(void **state)
{
    (void)state;
    const struct ce_pubsub_message m = {.data = SLICE("x")};
    struct slice id = SLICE("a");
    assert_int_equal(pubsub_topic_create(client, "ab", NULL, done, &said, NULL), ERR_INVALID);
    assert_int_equal(pubsub_topic_create(client, "google-things", NULL, done, &said, NULL), ERR_INVALID);
    assert_int_equal(pubsub_topic_create(client, "a/../b", NULL, done, &said, NULL), ERR_INVALID);
    assert_int_equal(pubsub_topic_create(client, "projects/p/subscriptions/abc", NULL, done, &said, NULL), ERR_INVALID);
    assert_int_equal(pubsub_publish(client, topic, &m, 0, done, &said, NULL), ERR_INVALID);
    assert_int_equal(pubsub_publish(client, topic, &m, 1001, done, &said, NULL), ERR_INVALID);
    assert_int_equal(pubsub_pull(client, other, 0, false, done, &said, NULL), ERR_INVALID);
    assert_int_equal(pubsub_acknowledge(client, other, &id, 0, done, &said, NULL), ERR_INVALID);
    assert_int_equal(pubsub_modify_ack_deadline(client, other, &id, 1, 601, done, &said, NULL), ERR_INVALID);
    assert_false(said.done);
}

/* ---- no memory ---- */

static enum err publish_one(void)
{
    const struct ce_pubsub_attribute a = {SLICE("name"), SLICE("value")};
    const struct ce_pubsub_message m = {&a, 1, SLICE("data"), {NULL, 0}, {NULL, 0}, {NULL, 0}};
    return pubsub_publish(client, topic, &m, 1, done, &said, NULL);
}

static enum err pull_some(void)
{
    return pubsub_pull(client, other, 40, true, done, &said, NULL);
}

static enum err look(void)
{
    return pubsub_subscription_get(client, other, done, &said, NULL);
}

static enum err acknowledge(void)
{
    const struct slice id = SLICE("no such id");
    return pubsub_acknowledge(client, other, &id, 1, done, &said, NULL);
}

/* With each allocation failing in turn a call is refused, or answered with an error; and the next one goes. */
static void a_call_without_memory(void **state)
{
    static enum err (*const calls[])(void) = {publish_one, pull_some, look, acknowledge};
    (void)state;
    make(false);
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        unsigned n = 0;
        bool fired;
        do {
            fault_arm(++n);
            enum err e = calls[i]();
            while (!e && !said.done)
                assert_int_equal(loop_turn(loop, UINT64_MAX), OK);
            fired = fault_disarm();
            if (e)
                assert_true(fired && e == ERR_NOMEM);
            else if (said.err && calls[i] != acknowledge) /* what an id that is none gets is the service's */
                assert_true(fired && (said.err == ERR_NOMEM || said.err == ERR_UNAVAILABLE));
            said.done = false;
        } while (fired);
        assert_true(n > 3);
        wait_for(look(), OK);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(things_are_made_once, begin, end),
        cmocka_unit_test_setup_teardown(what_is_published_is_pulled_and_acknowledged, begin, end),
        cmocka_unit_test_setup_teardown(acknowledged_is_gone_and_a_seek_brings_it_back, begin, end),
        cmocka_unit_test_setup_teardown(a_long_pull_delays_nobody_and_can_be_withdrawn, begin, end),
        cmocka_unit_test_setup_teardown(a_key_keeps_its_order_in_a_batch, begin, end),
        cmocka_unit_test_setup_teardown(a_call_without_memory, begin, end),
        cmocka_unit_test_setup_teardown(what_cannot_be_asked_is_refused_at_once, begin, end),
    };
    return cmocka_run_group_tests_name("clients_contract_pubsub", tests, NULL, NULL);
}
