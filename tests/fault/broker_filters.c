/* SPDX-License-Identifier: Apache-2.0
 *
 * Every allocation on the way from a filter's text to the filter fails once, cJSON's too: ERR_NOMEM, nothing leaks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "../lib/fault.h"
#include "filter.h"
#include "resource.h"

static void *from_cjson(size_t size)
{
    return malloc(size); /* the wrapped one, since this is our object */
}

static int begin(void **state)
{
    cJSON_Hooks hooks = {from_cjson, free};
    (void)state;
    cJSON_InitHooks(&hooks);
    return 0;
}

/* How many runs met a fault. */
static unsigned torture(const char *text, enum err expected)
{
    for (unsigned n = 1;; n++) {
        struct problems p;
        struct filter *f = NULL;
        problems_init(&p);
        fault_arm(n);
        enum err e = filter_parse(slice_str(text), &f, &p);
        bool fired = fault_disarm();
        assert_int_equal(e, fired ? ERR_NOMEM : expected);
        assert_int_equal(f != NULL, e == OK);
        filter_unref(f);
        problems_fini(&p);
        if (!fired)
            return n - 1;
    }
}

static void test_good(void **state)
{
    (void)state;
    assert_true(torture("type = 'x' AND LENGTH(CONCAT(subject, id)) > 5", OK) >= 3);
    assert_true(
        torture("[{\"exact\": {\"type\": \"x\", \"source\": \"/s\"}}, {\"any\": [{\"prefix\": {\"id\": \"1\"}}, "
                "{\"not\": {\"cesql\": \"subject = 'a'\"}}]}, {\"suffix\": {\"a\": \"1\", \"b\": \"2\", \"c\": "
                "\"3\", \"d\": \"4\", \"e\": \"5\"}}]",
                OK) > 30);
}

static void test_bad(void **state)
{
    (void)state;
    assert_true(torture("type = ", ERR_INVALID) >= 2);
    assert_true(
        torture("[{\"exact\": {\"Type\": \"x\"}}, {\"cesql\": \"=\"}, {\"any\": [{\"prefix\": {\"id\": \"1\"}}, 5]}]",
                ERR_INVALID) > 10);
    assert_true(torture("[{\"exact\": ", ERR_INVALID) >= 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
    };
    return cmocka_run_group_tests(tests, begin, NULL);
}
