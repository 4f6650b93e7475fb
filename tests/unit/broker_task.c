/* SPDX-License-Identifier: Apache-2.0
 *
 * The list of tasks: numbers, ends, what is kept, what is refused, and its JSON.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../broker/task.h"
#include "../lib/fault.h"

static struct clock_fake now;
static struct task_list list;

static int begin(void **state)
{
    (void)state;
    clock_fake_init(&now, 0, 1000000000000000000);
    task_list_init(&list, &now.base);
    return 0;
}

static struct task *start(const char *what)
{
    struct task *t = NULL;
    assert_int_equal(task_start(&list, "redrive", what, &t), OK);
    return t;
}

static const char *json(const struct task *t)
{
    static char text[2048];
    struct buf out;
    buf_init(&out, sizeof text - 1);
    task_put_json(t, &out);
    assert_int_equal(buf_error(&out), OK);
    memcpy(text, out.ptr, out.len);
    text[out.len] = '\0';
    buf_fini(&out);
    return text;
}

static void test_from_start_to_end(void **state)
{
    (void)state;
    struct task *t = start("a \"thing\"");
    atomic_store(&t->total, 3);
    assert_string_equal(json(t), "{\"id\":1,\"kind\":\"redrive\",\"what\":\"a \\\"thing\\\"\",\"state\":\"running\","
                                 "\"canceling\":false,\"total\":3,\"done\":0,\"failed\":0,"
                                 "\"startedAt\":\"2001-09-09T01:46:40.000Z\"}");
    clock_fake_advance(&now, 1500 * NS_PER_MS);
    atomic_store(&t->done, 2);
    atomic_store(&t->failed, 1);
    strcpy(t->message, "so so");
    task_end(&list, t, TASK_DONE);
    assert_ptr_equal(task_find(&list, 1), t);
    assert_string_equal(json(t), "{\"id\":1,\"kind\":\"redrive\",\"what\":\"a \\\"thing\\\"\",\"state\":\"done\","
                                 "\"canceling\":false,\"total\":3,\"done\":2,\"failed\":1,"
                                 "\"startedAt\":\"2001-09-09T01:46:40.000Z\",\"endedAt\":\"2001-09-09T01:46:41.500Z\","
                                 "\"message\":\"so so\"}");
    task_list_fini(&list);
}

static void test_cancel(void **state)
{
    (void)state;
    struct task *early = start("early"), *late = start("late"), *broken = start("broken");
    atomic_store(&early->total, 2);
    atomic_store(&late->total, 2);
    atomic_store(&early->done, 1);
    atomic_store(&late->done, 2);
    task_cancel_all(&list);
    assert_non_null(strstr(json(early), "\"state\":\"running\",\"canceling\":true"));
    task_end(&list, early, TASK_DONE);
    task_end(&list, late, TASK_DONE);
    task_end(&list, broken, TASK_FAILED);
    assert_int_equal(early->state, TASK_CANCELED);
    assert_int_equal(late->state, TASK_DONE); /* the wish came too late: all was done */
    assert_int_equal(broken->state, TASK_FAILED);
    assert_false(task_cancel(early));
    task_list_fini(&list);
}

static void test_the_oldest_ended_are_forgotten(void **state)
{
    (void)state;
    struct task *running = start("long");
    for (int i = 0; i < TASKS_KEPT_MAX + 5; i++)
        task_end(&list, start("short"), TASK_DONE);
    assert_int_equal(list.ended_count, TASKS_KEPT_MAX);
    assert_null(task_find(&list, 6));
    assert_non_null(task_find(&list, 7));
    assert_ptr_equal(task_find(&list, 1), running);
    assert_null(task_find(&list, 0));
    assert_null(task_find(&list, UINT64_MAX));
    task_end(&list, running, TASK_DONE);
    assert_int_equal(start("next")->id, TASKS_KEPT_MAX + 7); /* a number is never used again */
    task_end(&list, task_find(&list, TASKS_KEPT_MAX + 7), TASK_DONE);
    task_list_fini(&list);
}

static void test_only_so_many_run(void **state)
{
    (void)state;
    struct task *all[TASKS_RUNNING_MAX], *none = NULL;
    for (int i = 0; i < TASKS_RUNNING_MAX; i++)
        all[i] = start("one");
    assert_int_equal(task_start(&list, "redrive", "more", &none), ERR_FULL);
    assert_null(none);
    for (int i = 0; i < TASKS_RUNNING_MAX; i++)
        task_end(&list, all[i], TASK_DONE);
    task_end(&list, start("more"), TASK_DONE);
    task_list_fini(&list);
}

static void test_without_memory(void **state)
{
    (void)state;
    for (unsigned n = 1;; n++) {
        struct task *t = NULL;
        fault_arm(n);
        enum err e = task_start(&list, "redrive", "it", &t);
        bool fired = fault_disarm();
        assert_int_equal(e, fired ? ERR_NOMEM : OK);
        assert_int_equal(list.running_count, fired ? 0 : 1);
        if (t)
            task_end(&list, t, TASK_DONE);
        if (!fired)
            break;
    }
    task_list_fini(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_from_start_to_end, begin),
        cmocka_unit_test_setup(test_cancel, begin),
        cmocka_unit_test_setup(test_the_oldest_ended_are_forgotten, begin),
        cmocka_unit_test_setup(test_only_so_many_run, begin),
        cmocka_unit_test_setup(test_without_memory, begin),
    };
    return cmocka_run_group_tests_name("broker_task", tests, NULL, NULL);
}
