/* SPDX-License-Identifier: Apache-2.0
 *
 * Letters of other threads: all come, in order, within the bound, with one wake a burst; and stopping a loop from
 * outside.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../lib/loop_rig.h"

struct note {
    struct letter letter;
    int from, number;
};

static int next_from[8], letters_run;

static void read_note(struct letter *m)
{
    struct note *n = container_of(m, struct note, letter);
    assert_int_equal(n->number, next_from[n->from]);
    next_from[n->from]++;
    letters_run++;
    free(n);
}

static struct note *note_new(int from, int number)
{
    struct note *n = malloc(sizeof(*n));
    *n = (struct note){{.run = read_note}, from, number};
    return n;
}

static void reset_letters(void)
{
    memset(next_from, 0, sizeof(next_from));
    letters_run = 0;
}

static void a_full_mailbox_refuses_but_not_completions(void **state)
{
    (void)state;
    reset_letters();
    for (int i = 0; i < MAILBOX_LIMIT - 1; i++)
        assert_int_equal(loop_post(loop, &note_new(0, i)->letter), OK);
    for (int i = 0; i < 5; i++)
        loop_post_reserved(loop, &note_new(1, i)->letter);
    assert_int_equal(loop_post(loop, &note_new(0, MAILBOX_LIMIT - 1)->letter), OK);
    struct note *refused = note_new(0, MAILBOX_LIMIT);
    assert_int_equal(loop_post(loop, &refused->letter), ERR_FULL);
    loop_post_reserved(loop, &note_new(1, 5)->letter);
    assert_int_equal(letters_run, 0);
    turn();
    assert_int_equal(letters_run, MAILBOX_LIMIT + 6);
    assert_int_equal(loop_post(loop, &refused->letter), OK); /* it was ours again, and there is room now */
    turn();
    assert_int_equal(letters_run, MAILBOX_LIMIT + 7);
}

static void a_burst_wakes_the_loop_once(void **state)
{
    (void)state;
    reset_letters();
    for (int i = 0; i < MAILBOX_LIMIT; i++)
        assert_int_equal(loop_post(loop, &note_new(0, i)->letter), OK);
    /* The eventfd counts its writes: it is the one descriptor that the loop made and that can be read as a number. */
    int eventfds = 0;
    for (int fd = 0; fd < 64; fd++) {
        char path[64], info[256] = "";
        unsigned count = 0;
        snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
        int f = open(path, O_RDONLY | O_CLOEXEC);
        if (f < 0)
            continue;
        ssize_t n = read(f, info, sizeof(info) - 1);
        close(f);
        const char *at = n > 0 ? strstr(info, "eventfd-count:") : NULL;
        if (at && sscanf(at, "eventfd-count: %x", &count) == 1) {
            eventfds++;
            assert_int_equal(count, 1);
        }
    }
    assert_int_equal(eventfds, 1);
    turn();
    assert_int_equal(letters_run, MAILBOX_LIMIT);
}

static void post_another(struct letter *m)
{
    struct note *n = container_of(m, struct note, letter);
    letters_run++;
    if (n->number-- > 0)
        loop_post_reserved(loop, m);
    else
        free(n);
}

static void a_letter_posted_by_a_letter_comes_next_turn(void **state)
{
    (void)state;
    reset_letters();
    struct note *n = note_new(0, 3);
    n->letter.run = post_another;
    loop_post_reserved(loop, &n->letter);
    for (int i = 1; i <= 4; i++) {
        assert_int_equal(loop_turn(loop, UINT64_MAX), OK);
        assert_int_equal(letters_run, i);
    }
}

static void freeing_the_loop_runs_what_is_in_the_mailbox(void **state)
{
    (void)state;
    struct loop *l;
    assert_int_equal(loop_new(clock_system(), 4, &l), OK);
    reset_letters();
    assert_int_equal(loop_post(l, &note_new(0, 0)->letter), OK);
    loop_post_reserved(l, &note_new(0, 1)->letter);
    loop_free(l);
    assert_int_equal(letters_run, 2);
    loop_free(NULL);
}

#define SENDERS 4
#define NOTES_EACH 20000

static atomic_int refusals, senders_left;

static void *send_notes(void *arg)
{
    int from = *(int *)arg;
    for (int i = 0; i < NOTES_EACH; i++) {
        struct note *n = note_new(from, i);
        if (i % 5 == 0) {
            loop_post_reserved(loop, &n->letter);
            continue;
        }
        while (loop_post(loop, &n->letter) == ERR_FULL) {
            atomic_fetch_add(&refusals, 1);
            sched_yield();
        }
    }
    if (atomic_fetch_sub(&senders_left, 1) == 1)
        loop_stop(loop);
    return NULL;
}

static void letters_of_many_threads_all_come_in_order(void **state)
{
    (void)state;
    reset_letters();
    atomic_store(&senders_left, SENDERS);
    pthread_t thread[SENDERS];
    int id[SENDERS];
    for (int i = 0; i < SENDERS; i++) {
        id[i] = i;
        assert_int_equal(pthread_create(&thread[i], NULL, send_notes, &id[i]), 0);
    }
    assert_int_equal(loop_run(loop), OK);
    for (int i = 0; i < SENDERS; i++)
        pthread_join(thread[i], NULL);
    turn(); /* what was posted while the loop was told to stop */
    for (int i = 0; i < SENDERS; i++)
        assert_int_equal(next_from[i], NOTES_EACH);
    assert_int_equal(letters_run, SENDERS * NOTES_EACH);
}

/* ---- stopping ---- */

static void *stop_it(void *arg)
{
    (void)arg;
    loop_stop(loop);
    return NULL;
}

static void stop_ends_a_sleeping_loop_also_before_it_runs(void **state)
{
    (void)state;
    loop_stop(loop);
    assert_int_equal(loop_run(loop), OK);
    loop_stop(loop);
    turn(); /* eats the wake, not the wish */
    assert_int_equal(loop_run(loop), OK);
    for (int i = 0; i < 50; i++) {
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, stop_it, NULL), 0);
        assert_int_equal(loop_run(loop), OK);
        pthread_join(thread, NULL);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_full_mailbox_refuses_but_not_completions),  TEST(a_burst_wakes_the_loop_once),
        TEST(a_letter_posted_by_a_letter_comes_next_turn), TEST(freeing_the_loop_runs_what_is_in_the_mailbox),
        TEST(letters_of_many_threads_all_come_in_order),   TEST(stop_ends_a_sleeping_loop_also_before_it_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
