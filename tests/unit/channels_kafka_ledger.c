/* SPDX-License-Identifier: Apache-2.0
 *
 * The ledger of a partition: settled in any order, written into a commit and read back, whoever wrote it. By hand, and
 * against a naive list of offsets under random operations, takeovers among them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/fault.h"
#include "channels/kafka/kafka_ledger.h"
#include "prng.h"

static void take(struct kafka_ledger *l, int64_t offset)
{
    assert_true(kafka_ledger_fits(l, offset));
    assert_true(kafka_ledger_take(l, offset));
}

static char *written(const struct kafka_ledger *l)
{
    struct buf b;
    buf_init(&b, KAFKA_METADATA_MAX);
    buf_put_str(&b, "");
    kafka_ledger_encode(l, &b);
    assert_int_equal(buf_error(&b), OK);
    char *text = b.len ? buf_take_string(&b) : strdup("");
    buf_fini(&b);
    assert_non_null(text);
    return text;
}

static void settled_in_order(void **state)
{
    (void)state;
    struct kafka_ledger l;
    kafka_ledger_init(&l, 7);
    for (int64_t i = 7; i < 20; i++)
        take(&l, i);
    for (int64_t i = 7; i < 20; i++) {
        assert_int_equal(l.base, i);
        kafka_ledger_settle(&l, i);
        assert_int_equal(l.beyond, 0);
    }
    assert_int_equal(l.base, 20);
    char *text = written(&l);
    assert_string_equal(text, "");
    free(text);
}

static void settled_out_of_order(void **state)
{
    (void)state;
    struct kafka_ledger l, again;
    kafka_ledger_init(&l, 100);
    for (int64_t i = 100; i < 110; i++)
        take(&l, i);
    kafka_ledger_settle(&l, 101);
    kafka_ledger_settle(&l, 104);
    kafka_ledger_settle(&l, 109);
    assert_int_equal(l.base, 100);
    assert_int_equal(l.beyond, 3);
    char *text = written(&l);
    assert_string_equal(text, "leat1:100:CQE="); /* bits 0, 3 and 8 */
    assert_true(kafka_ledger_decode(&again, 100, slice_str(text)));
    assert_int_equal(again.beyond, 3);
    assert_int_equal(again.top, 100);
    for (int64_t i = 100; i < 112; i++)
        assert_int_equal(kafka_ledger_take(&again, i), i != 101 && i != 104 && i != 109);
    free(text);
    kafka_ledger_settle(&l, 100);
    assert_int_equal(l.base, 102);
    kafka_ledger_settle(&l, 103);
    kafka_ledger_settle(&l, 102);
    assert_int_equal(l.base, 105);
    assert_int_equal(l.beyond, 1);
}

static void offsets_without_a_record(void **state)
{
    (void)state;
    struct kafka_ledger l;
    kafka_ledger_init(&l, 10);
    take(&l, 1000000); /* the first there is: what lay before it is gone */
    assert_int_equal(l.base, 1000000);
    take(&l, 1000003);
    assert_int_equal(l.beyond, 2);
    kafka_ledger_settle(&l, 1000000);
    assert_int_equal(l.base, 1000003);
    kafka_ledger_settle(&l, 1000003);
    assert_int_equal(l.base, 1000004);

    char text[] = "leat1:50:Bw=="; /* 51, 52 and 53 are settled */
    assert_true(kafka_ledger_decode(&l, 50, slice_str(text)));
    assert_int_equal(l.beyond, 3);
    assert_false(kafka_ledger_take(&l, 52)); /* 50 and 51 are gone */
    assert_int_equal(l.base, 54);
    assert_int_equal(l.top, 54);
    assert_int_equal(l.beyond, 0);
    take(&l, 54);

    assert_true(kafka_ledger_decode(&l, 50, slice_str(text)));
    take(&l, 50 + 3 * KAFKA_WINDOW); /* all that was said is gone */
    assert_int_equal(l.beyond, 0);
    assert_int_equal(l.base, 50 + 3 * KAFKA_WINDOW);
}

static void the_window_is_bounded(void **state)
{
    (void)state;
    struct kafka_ledger l, again;
    kafka_ledger_init(&l, 3);
    take(&l, 3);
    for (int64_t i = 4; i < 3 + KAFKA_WINDOW; i++) {
        take(&l, i);
        kafka_ledger_settle(&l, i);
    }
    assert_false(kafka_ledger_fits(&l, 3 + KAFKA_WINDOW));
    assert_int_equal(l.beyond, KAFKA_WINDOW - 1);
    char *text = written(&l);
    assert_true(strlen(text) <= KAFKA_METADATA_MAX && strlen(text) > 2700);
    assert_true(kafka_ledger_decode(&again, 3, slice_str(text)));
    assert_int_equal(again.beyond, KAFKA_WINDOW - 1);
    free(text);
    take(&again, 3);
    kafka_ledger_settle(&again, 3);
    kafka_ledger_settle(&l, 3);
    assert_int_equal(again.base, 3 + KAFKA_WINDOW);
    assert_int_equal(l.base, 3 + KAFKA_WINDOW);
    assert_int_equal(again.top, l.top);
    assert_true(kafka_ledger_fits(&l, 3 + KAFKA_WINDOW));
}

static void metadata_is_not_believed(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "leat1:",         "leat1:50",        "leat1:50:B",    "leat1:50:Bw=", "leat1:50:Bw==x", "leat1:49:Bw==",
        "leat1:-50:Bw==", "leat1:050 :Bw==", "leat2:50:Bw==", "leat:removed", "{\"a\":1}",      " ",
        "leat1:50:B\nw=", "leat1::Bw==",
    };
    struct kafka_ledger l;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(kafka_ledger_decode(&l, 50, slice_str(bad[i])));
        assert_int_equal(l.base, 50);
        assert_int_equal(l.beyond, 0);
    }
    static char much[KAFKA_METADATA_MAX] = "leat1:50:"; /* more bytes than the window has */
    memset(much + 9, 'A', sizeof much - 9);
    assert_false(kafka_ledger_decode(&l, 50, slice_of(much, sizeof much - (sizeof much - 9) % 4)));
    memset(much + 9, '/', sizeof much - 9); /* all of the window: its last bit has no offset */
    much[9 + 2728] = '/', much[9 + 2729] = '/', much[9 + 2730] = '8', much[9 + 2731] = '=';
    assert_true(kafka_ledger_decode(&l, 50, slice_of(much, 9 + 2732)));
    assert_int_equal(l.beyond, KAFKA_WINDOW - 1);
    char text[64];
    snprintf(text, sizeof text, "leat1:%lld:Bw==", (long long)INT64_MAX);
    assert_false(kafka_ledger_decode(&l, INT64_MAX, slice_str(text)));
}

static void without_memory(void **state)
{
    (void)state;
    struct kafka_ledger l;
    struct buf b;
    kafka_ledger_init(&l, 0);
    take(&l, 0);
    take(&l, 1);
    kafka_ledger_settle(&l, 1);
    buf_init(&b, KAFKA_METADATA_MAX);
    fault_arm(1);
    kafka_ledger_encode(&l, &b);
    assert_true(fault_disarm());
    assert_int_equal(buf_error(&b), ERR_NOMEM);
    buf_fini(&b);
}

/* ---- against a naive list ---- */

#define OFFSETS_MAX 60000

enum naive { ABSENT, FRESH, OPEN, SETTLED };

struct world {
    struct prng p;
    enum naive at[OFFSETS_MAX];
    int64_t end, top; /* of the partition; of what the member took */
    struct kafka_ledger l;
    char *text; /* the newest commit */
    int64_t base;
    bool then[OFFSETS_MAX]; /* what was settled when it was made */
    unsigned takeovers, repeated, waited;
};

static int64_t oldest(const struct world *w)
{
    int64_t i = 0;
    while (i < w->top && w->at[i] != OPEN)
        i++;
    return i;
}

static void commit(struct world *w)
{
    free(w->text);
    w->text = written(&w->l);
    w->base = w->l.base;
    for (int64_t i = 0; i < w->end; i++)
        w->then[i] = w->at[i] == SETTLED;
}

static void grow(struct world *w)
{
    uint64_t n = prng_below(&w->p, 200), odds = prng_below(&w->p, 4);
    for (; n > 0 && w->end < OFFSETS_MAX; n--, w->end++)
        w->at[w->end] = odds == 0 && prng_below(&w->p, 3) == 0 ? ABSENT : FRESH;
}

/* Records up to the first that must wait. */
static void take_some(struct world *w)
{
    for (uint64_t n = prng_below(&w->p, 300); n > 0 && w->top < w->end; w->top++) {
        if (w->at[w->top] == ABSENT || w->top < w->l.top) {
            assert_true(w->at[w->top] == ABSENT ||
                        w->at[w->top] == SETTLED); /* below top: known, or without a record */
            continue;
        }
        n--;
        if (!kafka_ledger_fits(&w->l, w->top)) {
            assert_true(w->top - oldest(w) >= KAFKA_WINDOW);
            w->waited++;
            return;
        }
        bool fresh = kafka_ledger_take(&w->l, w->top);
        assert_int_equal(fresh, w->at[w->top] == FRESH);
        if (fresh)
            w->at[w->top] = OPEN;
    }
}

static void settle_some(struct world *w)
{
    int64_t low = w->l.base, span = w->l.top - low;
    bool late = prng_below(&w->p, 2); /* leaves the oldest open */
    for (uint64_t n = prng_below(&w->p, 300); n > 0 && span > 0; n--) {
        int64_t i = low + (int64_t)prng_below(&w->p, (uint64_t)span);
        if (i >= w->top || w->at[i] != OPEN || (late && i == oldest(w)))
            continue;
        kafka_ledger_settle(&w->l, i);
        w->at[i] = SETTLED;
    }
}

/* Another member goes on from the newest commit: what was settled since is open again, and nothing else. */
static void take_over(struct world *w)
{
    assert_true(kafka_ledger_decode(&w->l, w->base, slice_str(w->text)));
    for (int64_t i = 0; i < w->end; i++) {
        if (w->at[i] == ABSENT)
            continue;
        w->repeated += w->at[i] == SETTLED && !w->then[i];
        w->at[i] = w->then[i] ? SETTLED : FRESH;
    }
    w->top = w->base;
    w->takeovers++;
}

static void check(struct world *w)
{
    int64_t i = oldest(w);
    uint32_t beyond = 0;
    if (i < w->top) {
        assert_int_equal(w->l.base, i);
        for (int64_t k = i; k < w->l.top; k++)
            beyond += w->at[k] == SETTLED || w->at[k] == ABSENT;
        assert_true(w->l.beyond >= beyond); /* the rest: above top, said by a commit */
    } else
        assert_true(w->l.base == w->l.top);
    for (int64_t k = 0; k < w->l.base; k++)
        assert_true(k >= w->end || w->at[k] == SETTLED || w->at[k] == ABSENT); /* K3 */
}

static void random_operations(void **state)
{
    (void)state;
    unsigned takeovers = 0, repeated = 0, waited = 0;
    struct world *w = malloc(sizeof *w);
    assert_non_null(w);
    for (uint64_t seed = 1; seed <= 60; seed++) {
        memset(w, 0, sizeof *w);
        prng_seed(&w->p, seed);
        kafka_ledger_init(&w->l, 0);
        commit(w);
        for (int n = 0; n < 1500; n++) {
            uint64_t dice = prng_below(&w->p, 100);
            if (dice < 30)
                grow(w);
            else if (dice < 60)
                take_some(w);
            else if (dice < 90)
                settle_some(w);
            else if (dice < 97)
                commit(w);
            else if (seed % 2)
                take_over(w);
            if (n % 50 == 0)
                check(w);
        }
        check(w);
        free(w->text);
        takeovers += w->takeovers;
        repeated += w->repeated;
        waited += w->waited;
    }
    free(w);
    assert_true(takeovers > 500 && repeated > 500 && waited > 100); /* it went where it was meant to go */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(settled_in_order),         cmocka_unit_test(settled_out_of_order),
        cmocka_unit_test(offsets_without_a_record), cmocka_unit_test(the_window_is_bounded),
        cmocka_unit_test(metadata_is_not_believed), cmocka_unit_test(without_memory),
        cmocka_unit_test(random_operations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
