/* SPDX-License-Identifier: Apache-2.0
 *
 * The bus contract as a suite. A backend's test file is a table and a macro:
 *
 *     #include "../bus/contract.c"
 *     BUS_CONTRACT(memory_1, "memory", "capacity=1MiB", 1, TURNED)
 *     int main(void) { return cmocka_run_group_tests(contract_memory_1, NULL, NULL); }
 *
 * Each case opens the bus afresh over `loops` data loops, either turned by hand on a clock that the test moves
 * (TURNED), or each on a thread of its own with the real clock (THREADS). A case that needs a capability which the bus
 * has not is skipped.
 *
 * Where several processes may drain one subscription (BUS_CAP_SHARED), what the bus says of a backlog may come a little
 * later than the event, since others append and settle too; there a case waits for the number, elsewhere it is there at
 * once.
 */
#ifndef LEAT_TESTS_CONTRACT_H
#define LEAT_TESTS_CONTRACT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

enum contract_loops { TURNED, THREADS };

struct bus;

enum contract_lack {                         /* what a double of a backing system cannot do, though the system can */
                     LACKS_TOPICS = 1u << 0, /* make a topic with settings of its own, or remove one */
                     LACKS_TIME = 1u << 1,   /* find events by time */
                     LACKS_AHEAD = 1u << 2,  /* hand out an event of a key while the one before it is not settled */
                     LACKS_GAPS = 1u << 3,   /* forget what is settled behind something that is handed back */
};

struct contract {
    const char *bus;
    /* "name=value name=value". In a value: @ is a fresh folder of its own, gone afterwards; * a fresh word; $NAME what
     * the environment says. */
    const char *params;
    unsigned loops;
    enum contract_loops how;
    unsigned lacks; /* enum contract_lack */
    /* What the bus tells, as struct bus_env has it. May be NULL. */
    void (*notice)(void *arg, struct bus *b, int severity, const char *code, const char *text);
    /* Of a bus with threads of its own: waits until they have nothing to do, so that a turn by hand is one. May be
     * NULL. */
    void (*idle)(struct bus *b);
};

/* One line per promise of include/bus.h. */
#define CONTRACT_CASES(X)                                                                                              \
    X(open_names_the_bad_parameter)                                                                                    \
    X(fini_is_legal_after_open)                                                                                        \
    X(fini_is_legal_before_any_loop_ran)                                                                               \
    X(provision_names_the_bad_parameter)                                                                               \
    X(provision_is_idempotent_by_name)                                                                                 \
    X(a_channel_is_known_while_it_is_there)                                                                            \
    X(release_keeps_the_channel_unless_removed)                                                                        \
    X(release_removes_with_the_last_reference)                                                                         \
    X(release_waits_for_appends_under_way)                                                                             \
    X(subscribe_names_the_bad_parameter)                                                                               \
    X(subscribe_is_idempotent_by_name)                                                                                 \
    X(subscribe_misses_nothing_from_ok_on)                                                                             \
    X(unsubscribe_keeps_the_cursor_unless_removed)                                                                     \
    X(unsubscribe_removes_backlog_with_the_last_reference)                                                             \
    X(operations_end_once_and_after_the_call)                                                                          \
    X(append_ends_once_on_the_loop_after_return)                                                                       \
    X(append_keeps_its_own_reference)                                                                                  \
    X(append_refuses_what_is_too_large)                                                                                \
    X(append_refuses_when_full_and_takes_again)                                                                        \
    X(append_without_subscriptions_is_a_counted_drop)                                                                  \
    X(append_reaches_every_subscription)                                                                               \
    X(append_keeps_the_order_of_a_key)                                                                                 \
    X(append_keeps_the_order_of_a_key_while_streams_come_and_go)                                                       \
    X(append_keeps_the_order_of_a_key_across_a_hand_over)                                                              \
    X(append_keeps_the_order_of_all_in_one_partition)                                                                  \
    X(filter_keeps_only_what_matches)                                                                                  \
    X(filter_changed_counts_from_ok_on)                                                                                \
    X(filter_changed_while_attached)                                                                                   \
    X(filter_changed_again_before_the_end)                                                                             \
    X(filter_keeps_the_order_of_a_key)                                                                                 \
    X(filter_goes_with_its_subscription)                                                                               \
    X(nothing_is_delivered_before_credit)                                                                              \
    X(credit_is_an_upper_bound)                                                                                        \
    X(attach_resumes_the_cursor)                                                                                       \
    X(attach_on_one_loop_drains_all)                                                                                   \
    X(credit_alone_brings_the_whole_backlog)                                                                           \
    X(detach_ends_deliveries)                                                                                          \
    X(detach_brings_unsettled_back)                                                                                    \
    X(detach_inside_deliver)                                                                                           \
    X(event_is_valid_until_settled)                                                                                    \
    X(settle_in_any_order)                                                                                             \
    X(ack_means_never_again)                                                                                           \
    X(release_means_again_with_the_next_attempt)                                                                       \
    X(release_for_ever_does_not_hold_the_loop)                                                                         \
    X(revoked_comes_again)                                                                                             \
    X(read_where_browse)                                                                                               \
    X(stop_refuses_new_work)                                                                                           \
    X(stop_ends_what_is_pending)                                                                                       \
    X(stop_with_streams_attached)                                                                                      \
    X(stop_twice)                                                                                                      \
    X(verify_answers_and_delivers_nothing)                                                                             \
    X(verify_many_at_once)                                                                                             \
    X(verify_ends_with_the_stop)                                                                                       \
    X(probe_counts)                                                                                                    \
    X(opened_anew_keeps_what_is_not_settled)                                                                           \
    X(opened_anew_keeps_cursors_and_filters)                                                                           \
    X(everything_at_once)

#define CONTRACT_DECLARE(name) void contract_##name(void **state);
CONTRACT_CASES(CONTRACT_DECLARE)

#define CONTRACT_COUNT_ONE(name) +1
#define CONTRACT_COUNT (0 CONTRACT_CASES(CONTRACT_COUNT_ONE))

/* Stamps the suite as `contract_STAMP`, an array of struct CMUnitTest. */
#define BUS_CONTRACT(stamp, bus_name, parameters, loop_count, how_run)                                                 \
    BUS_CONTRACT_OF(stamp, .bus = bus_name, .params = parameters, .loops = loop_count, .how = how_run)
#define BUS_CONTRACT_IDLE(stamp, bus_name, parameters, loop_count, how_run, wait_idle)                                 \
    BUS_CONTRACT_OF(stamp, .bus = bus_name, .params = parameters, .loops = loop_count, .how = how_run,                 \
                    .idle = wait_idle)
#define BUS_CONTRACT_OF(stamp, ...)                                                                                    \
    static const struct contract stamp = {__VA_ARGS__};                                                                \
    static struct CMUnitTest contract_##stamp[CONTRACT_COUNT];                                                         \
    __attribute__((constructor)) static void contract_stamp_##stamp(void)                                              \
    {                                                                                                                  \
        contract_fill(contract_##stamp, #stamp, &stamp);                                                               \
    }

void contract_fill(struct CMUnitTest *tests, const char *stamp, const struct contract *c);

#endif
