/* SPDX-License-Identifier: Apache-2.0
 *
 * The loop: descriptors and deferred work, also while they change under the callbacks that it runs.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../lib/loop_rig.h"

/* ---- descriptors ---- */

struct watched {
    struct loop_watch watch;
    int fd;
    int runs;
    uint32_t events;
    struct watched *others;
    int other_count;
};

static void count_run(struct loop_watch *w, uint32_t events)
{
    struct watched *x = container_of(w, struct watched, watch);
    x->runs++;
    x->events = events;
}

static struct watched *watched_new(int count, loop_watch_fn *run)
{
    struct watched *all = calloc((size_t)count, sizeof(*all));
    for (int i = 0; i < count; i++) {
        all[i].fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        assert_true(all[i].fd >= 0);
        all[i].others = all;
        all[i].other_count = count;
        assert_int_equal(loop_watch_add(loop, &all[i].watch, all[i].fd, EPOLLIN, run), OK);
    }
    return all;
}

static void make_ready(struct watched *w)
{
    uint64_t one = 1;
    assert_int_equal(write(w->fd, &one, sizeof(one)), sizeof(one));
}

static void watched_free(struct watched *all, int count)
{
    for (int i = 0; i < count; i++) {
        loop_watch_remove(loop, &all[i].watch);
        if (all[i].fd >= 0)
            close(all[i].fd);
    }
    free(all);
}

static void a_watch_runs_while_its_descriptor_is_ready(void **state)
{
    (void)state;
    struct watched *w = watched_new(1, count_run);
    turn();
    assert_int_equal(w->runs, 0);
    make_ready(w);
    turn();
    turn();
    assert_int_equal(w->runs, 2); /* level-triggered */
    assert_int_equal(w->events, EPOLLIN);
    assert_int_equal(loop_watch_change(loop, &w->watch, EPOLLIN | EPOLLOUT), OK);
    turn();
    assert_int_equal(w->events, EPOLLIN | EPOLLOUT);
    assert_int_equal(loop_watch_change(loop, &w->watch, 0), OK);
    turn();
    assert_int_equal(w->runs, 3);
    loop_watch_remove(loop, &w->watch);
    loop_watch_remove(loop, &w->watch); /* again is harmless */
    assert_int_equal(w->watch.fd, -1);
    turn();
    assert_int_equal(w->runs, 3);
    watched_free(w, 1);
}

static void edges_are_reported_once(void **state)
{
    (void)state;
    struct watched *w = watched_new(1, count_run);
    assert_int_equal(loop_watch_change(loop, &w->watch, EPOLLIN | EPOLLET), OK);
    make_ready(w);
    turn();
    turn();
    assert_int_equal(w->runs, 1);
    assert_int_equal(w->events, EPOLLIN);
    make_ready(w);
    turn();
    assert_int_equal(w->runs, 2);
    watched_free(w, 1);
}

static void a_peer_that_left_is_reported(void **state)
{
    (void)state;
    int fd[2];
    assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
    struct watched w = {0};
    assert_int_equal(loop_watch_add(loop, &w.watch, fd[0], EPOLLIN, count_run), OK);
    close(fd[1]);
    turn();
    assert_int_equal(w.runs, 1);
    assert_true(w.events & EPOLLHUP);
    loop_watch_remove(loop, &w.watch);
    close(fd[0]);
}

static void what_epoll_refuses_is_an_error(void **state)
{
    (void)state;
    struct watched *w = watched_new(1, count_run);
    struct loop_watch second;
    assert_int_equal(loop_watch_add(loop, &second, w->fd, EPOLLIN, count_run), ERR_IO); /* it is watched already */
    assert_int_equal(second.fd, -1);
    loop_watch_remove(loop, &second);
    int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    assert_int_equal(loop_watch_add(loop, &second, file, EPOLLIN, count_run), ERR_IO);
    close(file);
    watched_free(w, 1);
}

/* Whichever of the batch comes first removes and closes all others. */
static void remove_the_others(struct loop_watch *w, uint32_t events)
{
    (void)events;
    struct watched *x = container_of(w, struct watched, watch);
    x->runs++;
    for (int i = 0; i < x->other_count; i++)
        if (&x->others[i] != x) {
            loop_watch_remove(loop, &x->others[i].watch);
            close(x->others[i].fd);
            x->others[i].fd = -1;
        }
}

static void a_watch_removed_in_the_batch_never_runs(void **state)
{
    (void)state;
    struct watched *w = watched_new(10, remove_the_others);
    for (int i = 0; i < 10; i++)
        make_ready(&w[i]);
    turn();
    int runs = 0;
    for (int i = 0; i < 10; i++)
        runs += w[i].runs;
    assert_int_equal(runs, 1);
    watched_free(w, 10);
}

static struct watched *alone[20];
static int alone_runs;

/* Frees every watch, its own too: the loop must touch none of them afterwards. */
static void free_all(struct loop_watch *w, uint32_t events)
{
    (void)w;
    (void)events;
    alone_runs++;
    for (int i = 0; i < 20; i++) {
        watched_free(alone[i], 1);
        alone[i] = NULL;
    }
}

static void watches_freed_in_the_batch_are_not_touched(void **state)
{
    (void)state;
    alone_runs = 0;
    for (int i = 0; i < 20; i++) {
        alone[i] = watched_new(1, free_all);
        make_ready(alone[i]);
    }
    turn();
    turn();
    assert_int_equal(alone_runs, 1);
}

/* Removes its own watch, and every other to add it again, at the same address, on a descriptor that is not ready. */
static void replace_the_others(struct loop_watch *w, uint32_t events)
{
    (void)events;
    struct watched *x = container_of(w, struct watched, watch);
    x->runs++;
    loop_watch_remove(loop, w);
    for (int i = 0; i < x->other_count; i++) {
        struct watched *o = &x->others[i];
        if (o == x)
            continue;
        loop_watch_remove(loop, &o->watch);
        close(o->fd);
        o->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        assert_int_equal(loop_watch_add(loop, &o->watch, o->fd, EPOLLIN, count_run), OK);
    }
}

static void a_new_watch_gets_no_event_of_the_old_one(void **state)
{
    (void)state;
    struct watched *w = watched_new(10, replace_the_others);
    for (int i = 0; i < 10; i++)
        make_ready(&w[i]);
    turn();
    int runs = 0;
    for (int i = 0; i < 10; i++)
        runs += w[i].runs;
    assert_int_equal(runs, 1);
    for (int i = 0; i < 10; i++)
        if (!w[i].runs) {
            make_ready(&w[i]);
            turn();
            assert_int_equal(w[i].runs, 1);
            break;
        }
    watched_free(w, 10);
}

/* Whichever comes first asks the others for nothing any more. */
static void silence_the_others(struct loop_watch *w, uint32_t events)
{
    (void)events;
    struct watched *x = container_of(w, struct watched, watch);
    x->runs++;
    for (int i = 0; i < x->other_count; i++)
        if (&x->others[i] != x)
            assert_int_equal(loop_watch_change(loop, &x->others[i].watch, 0), OK);
}

static void a_changed_watch_gets_only_what_it_still_asks_for(void **state)
{
    (void)state;
    struct watched *w = watched_new(5, silence_the_others);
    for (int i = 0; i < 5; i++)
        make_ready(&w[i]);
    turn();
    int runs = 0;
    for (int i = 0; i < 5; i++)
        runs += w[i].runs;
    assert_int_equal(runs, 1);
    watched_free(w, 5);
}

static void more_descriptors_than_a_batch_all_get_their_turn(void **state)
{
    (void)state;
    enum { N = 300 };
    struct watched *w = watched_new(N, count_run);
    for (int i = 0; i < N; i++)
        make_ready(&w[i]);
    for (int i = 0; i < 3; i++)
        turn();
    for (int i = 0; i < N; i++)
        assert_true(w[i].runs >= 1);
    watched_free(w, N);
}

/* ---- deferred work ---- */

struct job {
    struct loop_task task;
    int id, more;
    struct job *cancels;
};

static int ran[16], ran_count;

static void assert_ran(const int *ids, int n)
{
    assert_int_equal(ran_count, n);
    for (int i = 0; i < n; i++)
        assert_int_equal(ran[i], ids[i]);
}

static void run_job(struct loop_task *t)
{
    struct job *j = container_of(t, struct job, task);
    ran[ran_count++] = j->id;
    if (j->cancels)
        loop_task_cancel(&j->cancels->task);
    if (j->more-- > 0)
        loop_defer(loop, t);
}

static void tasks_run_in_order_once_in_this_turn(void **state)
{
    (void)state;
    ran_count = 0;
    struct job a = {.id = 1, .more = 2}, b = {.id = 2}, c = {.id = 3}, d = {.id = 4, .cancels = &c};
    loop_task_init(&a.task, run_job);
    loop_task_init(&b.task, run_job);
    loop_task_init(&c.task, run_job);
    loop_task_init(&d.task, run_job);
    loop_task_cancel(&c.task); /* not queued: harmless */
    loop_defer(loop, &a.task);
    loop_defer(loop, &d.task);
    loop_defer(loop, &b.task);
    loop_defer(loop, &c.task);
    loop_defer(loop, &a.task);                         /* stays where it is */
    assert_int_equal(loop_turn(loop, UINT64_MAX), OK); /* queued work lets no turn sleep */
    assert_ran((int[]){1, 4, 2, 1, 1}, 5);
    turn();
    assert_int_equal(ran_count, 5);
}

/* ---- the order of a turn ---- */

static char trace[16];

static void trace_watch(struct loop_watch *w, uint32_t events)
{
    (void)events;
    strcat(trace, "w");
    loop_watch_remove(loop, w);
}

static void trace_timer(struct loop_timer *t)
{
    (void)t;
    strcat(trace, "t");
}

static void trace_letter(struct letter *m)
{
    (void)m;
    strcat(trace, "l");
}

static void trace_task(struct loop_task *t)
{
    (void)t;
    strcat(trace, "d");
}

static void a_turn_goes_watches_timers_letters_tasks(void **state)
{
    (void)state;
    trace[0] = '\0';
    struct loop_task task;
    struct letter letter = {.run = trace_letter};
    struct loop_timer timer;
    loop_task_init(&task, trace_task);
    loop_timer_init(&timer, trace_timer);
    loop_defer(loop, &task);
    assert_int_equal(loop_post(loop, &letter), OK);
    loop_timer_start(loop, &timer, 0);
    struct watched *w = watched_new(1, trace_watch);
    make_ready(w);
    turn();
    assert_string_equal(trace, "wtld");
    watched_free(w, 1);
}

/* ---- no descriptor left ---- */

static void a_loop_without_descriptors_is_refused_and_leaks_none(void **state)
{
    (void)state;
    struct rlimit before, tight;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    int next = dup(STDERR_FILENO);
    assert_true(next >= 0);
    close(next);
    for (int spare = 0; spare <= 2; spare++) { /* a loop needs two */
        tight = (struct rlimit){(rlim_t)(next + spare), before.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
        struct loop *l = NULL;
        enum err e = loop_new(clock_system(), 1, &l);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
        assert_int_equal(e, spare < 2 ? ERR_IO : OK);
        assert_true((l != NULL) == (spare == 2));
        loop_free(l);
        int again = dup(STDERR_FILENO);
        assert_int_equal(again, next);
        close(again);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_watch_runs_while_its_descriptor_is_ready),
        TEST(edges_are_reported_once),
        TEST(a_peer_that_left_is_reported),
        TEST(what_epoll_refuses_is_an_error),
        TEST(a_watch_removed_in_the_batch_never_runs),
        TEST(watches_freed_in_the_batch_are_not_touched),
        TEST(a_new_watch_gets_no_event_of_the_old_one),
        TEST(a_changed_watch_gets_only_what_it_still_asks_for),
        TEST(more_descriptors_than_a_batch_all_get_their_turn),
        TEST(tasks_run_in_order_once_in_this_turn),
        TEST(a_turn_goes_watches_timers_letters_tasks),
        TEST(a_loop_without_descriptors_is_refused_and_leaks_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
