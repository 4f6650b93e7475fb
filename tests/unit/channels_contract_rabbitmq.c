/* SPDX-License-Identifier: Apache-2.0
 *
 * The RabbitMQ bus keeps the contract on a real RabbitMQ, which tests/real starts and names in LEAT_RABBITMQ: each case
 * under a prefix of its own and in a process of its own. `channels_contract_rabbitmq WORD` runs the cases whose name
 * holds WORD and shows what they say.
 */
#include "../bus/contract.c"

#include <amqp.h>
#include <amqp_tcp_socket.h>

#include "tests/lib/children.h"

#define REAL "host=$LEAT_RABBITMQ prefix=$LEAT_RABBITMQ_PREFIX queue.type="
#define ON_RABBITMQ .bus = "rabbitmq", .how = THREADS

BUS_CONTRACT_OF(real_one, ON_RABBITMQ, .params = REAL "quorum", .loops = 1)
BUS_CONTRACT_OF(real_four_loops, ON_RABBITMQ, .params = REAL "quorum", .loops = 4)
BUS_CONTRACT_OF(real_classic, ON_RABBITMQ, .params = REAL "classic", .loops = 1)
BUS_CONTRACT_OF(real_classic_four_loops, ON_RABBITMQ, .params = REAL "classic", .loops = 4)
BUS_CONTRACT_OF(real_stream, ON_RABBITMQ, .params = REAL "quorum stream=true", .loops = 1)
BUS_CONTRACT_OF(real_stream_four_loops, ON_RABBITMQ, .params = REAL "classic stream=true", .loops = 4)

/* ---- what a case made goes with it, for many share a node ---- */

static const char *const channels[] = {"c", "d", "other", "gone", "one", NULL};
static const char *const subscriptions[] = {"s",  "t",  "u",  "a",  "b",  "s0", "s1",   "s2",      "s3",
                                            "s4", "s5", "s6", "s7", "s8", "s9", "kept", "removed", NULL};

static void prefix_choose(const struct CMUnitTest *test)
{
    char prefix[64];
    uint64_t word;
    (void)test;
    must(getrandom(&word, sizeof word, 0) == sizeof word);
    snprintf(prefix, sizeof prefix, "contract-%016llx.", (unsigned long long)word);
    must(setenv("LEAT_RABBITMQ_PREFIX", prefix, 1) == 0);
}

static amqp_connection_state_t node_open(void)
{
    char host[200];
    snprintf(host, sizeof host, "%s", getenv("LEAT_RABBITMQ"));
    char *colon = strrchr(host, ':');
    must(colon);
    *colon = '\0';
    amqp_connection_state_t node = amqp_new_connection();
    amqp_socket_t *socket = amqp_tcp_socket_new(node);
    must(socket && amqp_socket_open(socket, host, atoi(colon + 1)) == AMQP_STATUS_OK);
    must(amqp_login(node, "/", 0, 131072, 0, AMQP_SASL_METHOD_PLAIN, "guest", "guest").reply_type ==
         AMQP_RESPONSE_NORMAL);
    must(amqp_channel_open(node, 1));
    return node;
}

static void all_gone(const struct CMUnitTest *test)
{
    const char *prefix = getenv("LEAT_RABBITMQ_PREFIX");
    amqp_connection_state_t node = node_open();
    char name[200];
    (void)test;
    for (const char *const *c = channels; *c; c++) {
        for (const char *const *s = subscriptions; *s; s++) {
            snprintf(name, sizeof name, "%sleat.ns.%s.%s", prefix, *c, *s);
            must(amqp_queue_delete(node, 1, amqp_cstring_bytes(name), 0, 0));
        }
        snprintf(name, sizeof name, "%sleat.ns.%s", prefix, *c);
        must(amqp_exchange_delete(node, 1, amqp_cstring_bytes(name), 0));
        snprintf(name, sizeof name, "%sleat.ns.%s.stream", prefix, *c);
        must(amqp_queue_delete(node, 1, amqp_cstring_bytes(name), 0, 0));
        must(amqp_exchange_delete(node, 1, amqp_cstring_bytes(name), 0));
    }
    amqp_connection_close(node, AMQP_REPLY_SUCCESS);
    amqp_destroy_connection(node);
}

int main(int argc, char **argv)
{
    if (!getenv("LEAT_RABBITMQ")) {
        printf("LEAT_RABBITMQ names no RabbitMQ (HOST:PORT)\n[  FAILED  ] 1 test(s).\n");
        return 1;
    }
    struct children all = {.most = 3, .before = prefix_choose, .after = all_gone};
    children_add(&all, contract_real_four_loops, CONTRACT_COUNT);
#ifndef __SANITIZE_THREAD__ /* the others have no thread that this one has not */
    children_add(&all, contract_real_one, CONTRACT_COUNT);
    children_add(&all, contract_real_classic, CONTRACT_COUNT);
    children_add(&all, contract_real_classic_four_loops, CONTRACT_COUNT);
    children_add(&all, contract_real_stream, CONTRACT_COUNT);
    children_add(&all, contract_real_stream_four_loops, CONTRACT_COUNT);
#endif
    return children_run(&all, "the contract on a real RabbitMQ", argc > 1 ? argv[1] : NULL);
}
