/* SPDX-License-Identifier: Apache-2.0
 *
 * What the Kubernetes source keeps: it comes back as it was, whatever length of its last line a crash has left; and the
 * events that changes become.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../sources/kubernetes.h"

#define PLACE "/api/v1/namespaces/a b/pods app=x,y in (1,2)"

static char path[64];

static struct kubernetes_state *opened(enum err wanted)
{
    struct kubernetes_state *s = NULL;
    struct diag d = {0};
    assert_int_equal(kubernetes_state_open(path, &s, &d), wanted);
    assert_true(wanted == OK || d.text[0]);
    return s;
}

static const struct kubernetes_known *known(struct kubernetes_place_state *p, const char *key)
{
    return map_get(&p->known, slice_str(key));
}

static int make_path(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "/tmp/leat-kubernetes-XXXXXX");
    int fd = mkstemp(path);
    close(fd);
    unlink(path);
    return fd < 0;
}

static int remove_path(void **state)
{
    (void)state;
    return unlink(path);
}

static void test_it_comes_back(void **state)
{
    (void)state;
    struct kubernetes_state *s = opened(OK);
    struct kubernetes_place_state *p = kubernetes_state_place(s, PLACE);
    assert_int_equal(p->position, 0);
    kubernetes_state_take(p, "a b/one", "u%1", 5, false);
    kubernetes_state_take(p, "a b/two", "u2", 6, false);
    kubernetes_state_baseline(s, p, 7);
    kubernetes_state_take(p, "a b/two", "u2", 8, true);
    kubernetes_state_settle(s, p, "a b/two", "u2", 8, true, 8);
    kubernetes_state_take(p, "a b/three", "u3", 9, false);
    kubernetes_state_settle(s, p, "a b/three", "u3", 9, false, 9);
    kubernetes_state_take(p, "a b/four", "u4", 10, false); /* on its way */
    kubernetes_state_forget(s, kubernetes_state_place(s, "other "));
    assert_null(opened(ERR_EXISTS)); /* one at a time */
    kubernetes_state_free(s);
    s = opened(OK);
    p = kubernetes_state_place(s, PLACE);
    assert_int_equal(p->position, 9);
    assert_int_equal(p->known.count, 2);
    assert_string_equal(known(p, "a b/one")->uid, "u%1");
    assert_int_equal(known(p, "a b/one")->latest, 5);
    assert_int_equal(known(p, "a b/three")->version, 9);
    assert_int_equal(kubernetes_state_place(s, "other ")->position, 0);
    kubernetes_state_free(s);
}

/* Every length of the file that a crash may leave reads, and what it has is a beginning of what was written. */
static void test_every_cut(void **state)
{
    (void)state;
    struct kubernetes_state *s = opened(OK);
    struct kubernetes_place_state *p = kubernetes_state_place(s, PLACE);
    for (uint64_t v = 1; v <= 5; v++)
        kubernetes_state_settle(s, p, "n/o", "u", v, false, v);
    kubernetes_state_free(s);
    char text[4096];
    FILE *f = fopen(path, "r");
    size_t len = fread(text, 1, sizeof text, f);
    fclose(f);
    uint64_t before = 0;
    for (size_t n = 0; n <= len; n++) {
        f = fopen(path, "w");
        assert_int_equal(fwrite(text, 1, n, f), n);
        fclose(f);
        s = opened(OK);
        uint64_t position = kubernetes_state_place(s, PLACE)->position;
        assert_true(position >= before);
        before = position;
        kubernetes_state_free(s);
    }
    assert_int_equal(before, 5);
}

/* It is written anew when it has grown, and is as it was then. */
static void test_it_does_not_grow_for_ever(void **state)
{
    (void)state;
    struct kubernetes_state *s = opened(OK);
    struct kubernetes_place_state *p = kubernetes_state_place(s, PLACE);
    for (uint64_t v = 1; v <= 20000; v++)
        kubernetes_state_settle(s, p, "n/o", "u", v, false, v);
    assert_string_equal(kubernetes_state_trouble(s), "");
    kubernetes_state_free(s);
    FILE *f = fopen(path, "r");
    fseek(f, 0, SEEK_END);
    assert_true(ftell(f) < 300 * 1024);
    fclose(f);
    s = opened(OK);
    assert_int_equal(kubernetes_state_place(s, PLACE)->position, 20000);
    kubernetes_state_free(s);
}

static void test_a_name_that_comes_again(void **state)
{
    (void)state;
    struct kubernetes_state *s = opened(OK);
    struct kubernetes_place_state *p = kubernetes_state_place(s, PLACE);
    kubernetes_state_take(p, "n/o", "old", 1, false);
    kubernetes_state_settle(s, p, "n/o", "old", 1, false, 1);
    kubernetes_state_take(p, "n/o", "old", 2, true);
    kubernetes_state_take(p, "n/o", "new", 3, false);
    kubernetes_state_settle(s, p, "n/o", "old", 2, true, 2); /* the new one is on its way */
    assert_string_equal(known(p, "n/o")->uid, "new");
    assert_int_equal(known(p, "n/o")->version, 0);
    kubernetes_state_settle(s, p, "n/o", "new", 3, false, 3);
    assert_int_equal(known(p, "n/o")->version, 3);
    kubernetes_state_free(s);
}

static void test_an_event(void **state)
{
    (void)state;
    const struct source_param params[] = {{"resources", "v1/Pod"}, {"mode", "Resource"}};
    const struct source_spec spec = {
        .type = "kubernetes", .namespace_name = "n", .name = "x", .params = params, .param_count = 2};
    struct kubernetes_options *o = malloc(sizeof *o);
    struct kube_meta m = {
        .api_version = "v1", .kind = "Pod", .namespace_name = "n", .name = "p", .uid = "u", .version = 7};
    struct kubernetes_happening h = {
        .verb = KUBE_ADD, .meta = &m, .plural = "pods", .object = SLICE("{ \"metadata\":{}}"), .wall_ns = 0};
    const struct ce_event *e;
    struct diag d = {0};
    assert_int_equal(kubernetes_options_parse(&spec, o, &d), OK);
    assert_int_equal(kubernetes_event_make(o, "https://k", &h, 4096, &e, &d), OK);
    assert_true(slice_eq_str(ce_event_data(e), "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{}}"));
    ce_event_unref(e);
    h.object = SLICE("");
    h.verb = KUBE_DELETE;
    assert_int_equal(kubernetes_event_make(o, "https://k", &h, 4096, &e, &d), OK);
    assert_true(slice_eq_str(ce_event_data(e), "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\","
                                               "\"namespace\":\"n\",\"uid\":\"u\",\"resourceVersion\":\"7\"}}"));
    ce_event_unref(e);
    assert_int_equal(kubernetes_event_make(o, "https://k", &h, 60, &e, &d), ERR_TOO_LARGE);
    kubernetes_options_fini(o);
    free(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_it_comes_back, make_path, remove_path),
        cmocka_unit_test_setup_teardown(test_every_cut, make_path, remove_path),
        cmocka_unit_test_setup_teardown(test_it_does_not_grow_for_ever, make_path, remove_path),
        cmocka_unit_test_setup_teardown(test_a_name_that_comes_again, make_path, remove_path),
        cmocka_unit_test(test_an_event),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
