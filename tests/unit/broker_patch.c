/* SPDX-License-Identifier: Apache-2.0
 *
 * Patches of trees: what a strategic merge patch makes of a Service, to the order of its lists, as kube-apiserver 1.36
 * answered; what is refused; how much may be compared; and each patch with each allocation failing in turn.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../broker/api/patch.h"
#include "../../broker/resource/check.h"
#include "../lib/fault.h"
#include "buf.h"

#define PORTS "[{\"name\":\"http\",\"port\":80,\"targetPort\":8080},{\"name\":\"https\",\"port\":443}]"
#define METADATA                                                                                                       \
    "{\"name\":\"s\",\"finalizers\":[\"e/a\",\"e/b\"],\"labels\":{\"x\":\"1\",\"y\":\"2\"},"                           \
    "\"ownerReferences\":[{\"uid\":\"u1\",\"name\":\"o\"}]}"
#define SERVICE "{\"metadata\":" METADATA ",\"spec\":{\"type\":\"ExternalName\",\"ports\":" PORTS "}}"

static const struct example {
    const char *patch, *place, *left; /* what is at .a.b afterwards; left NULL: nothing. place NULL: it is refused */
} examples[] = {
    {"{'spec':{'ports':[{'port':80,'$patch':'delete'}]}}", "spec.ports", "[{'name':'https','port':443}]"},
    {"{'spec':{'ports':[{'port':81,'$patch':'delete'}]}}", "spec.ports",
     "[{'name':'http','port':80,'targetPort':8080},{'name':'https','port':443}]"},
    {"{'spec':{'ports':[{'name':'x','port':81}]}}", "spec.ports",
     "[{'name':'x','port':81},{'name':'http','port':80,'targetPort':8080},{'name':'https','port':443}]"},
    {"{'spec':{'ports':[{'port':443,'name':'y'},{'port':80,'name':'z'}]}}", "spec.ports",
     "[{'name':'y','port':443},{'name':'z','port':80,'targetPort':8080}]"},
    {"{'spec':{'ports':[{'$patch':'replace'},{'port':81}]}}", "spec.ports", "[{'port':81}]"},
    {"{'spec':{'ports':[{'$patch':'replace'}]}}", "spec.ports", NULL},
    {"{'spec':{'$setElementOrder/ports':[{'port':443},{'port':80}]}}", "spec.ports",
     "[{'name':'https','port':443},{'name':'http','port':80,'targetPort':8080}]"},
    {"{'spec':{'$setElementOrder/ports':[{'port':443},{'port':81},{'port':80}],'ports':[{'port':81}]}}", "spec.ports",
     "[{'name':'https','port':443},{'port':81},{'name':'http','port':80,'targetPort':8080}]"},
    {"{'spec':{'$setElementOrder/ports':[{'port':443}],'ports':[{'port':80,'$patch':'delete'}]}}", "spec.ports",
     "[{'name':'https','port':443}]"},
    {"{'spec':{'ports':[{'port':82,'name':'q','targetPort':null},{'port':82,'name':'r'}]}}", "spec.ports",
     "[{'port':82,'name':'r'},{'name':'http','port':80,'targetPort':8080},{'name':'https','port':443}]"},
    {"{'spec':{'ports':[{'port':80,'$retainKeys':['port','name'],'name':'q'}]}}", "spec.ports",
     "[{'name':'q','port':80},{'name':'https','port':443}]"},
    {"{'spec':{'ports':null}}", "spec.ports", NULL},
    {"{'spec':{'$patch':'replace','type':'ClusterIP'}}", "spec", "{'type':'ClusterIP'}"},
    {"{'spec':{'$patch':'delete'}}", "spec", NULL},
    {"{'spec':{'externalIPs':['1.2.3.4']}}", "spec.externalIPs", "['1.2.3.4']"},
    {"{'metadata':{'$deleteFromPrimitiveList/finalizers':['e/a']}}", "metadata.finalizers", "['e/b']"},
    {"{'metadata':{'$deleteFromPrimitiveList/finalizers':['e/a'],'$setElementOrder/finalizers':['e/c','e/b'],"
     "'finalizers':['e/c']}}",
     "metadata.finalizers", "['e/c','e/b']"},
    {"{'metadata':{'finalizers':['e/b','e/c']}}", "metadata.finalizers", "['e/a','e/b','e/c']"},
    {"{'metadata':{'$setElementOrder/finalizers':['e/b','e/a']}}", "metadata.finalizers", "['e/b','e/a']"},
    {"{'metadata':{'ownerReferences':[{'uid':'u2'}]}}", "metadata.ownerReferences",
     "[{'uid':'u2'},{'uid':'u1','name':'o'}]"},
    {"{'metadata':{'ownerReferences':[{'uid':'u1','$patch':'delete'}]}}", "metadata.ownerReferences", NULL},
    {"{'metadata':{'labels':{'$patch':'replace','z':'3'}}}", "metadata.labels", "{'z':'3'}"},
    {"{'metadata':{'labels':{'$patch':'delete','z':'3'}}}", "metadata.labels", NULL},
    {"{'metadata':{'labels':{'$retainKeys':['x'],'x':'7'}}}", "metadata.labels", "{'x':'7'}"},
    {"{'metadata':{'annotations':{'z':null,'y':'1'}}}", "metadata.annotations", "{'y':'1'}"},
    {"{'metadata':{'$deleteFromPrimitiveList/none':['a'],'$setElementOrder/none':['a']}}", "metadata", METADATA},
    {"{'spec':{'ports':[{'name':'x'}]}}", NULL, "ports"},
    {"{'spec':{'ports':['x']}}", NULL, "ports"},
    {"{'spec':{'ports':[{'port':80,'$patch':'burn'}]}}", NULL, "$patch of an element"},
    {"{'spec':{'ports':[{'$patch':'delete'}]}}", NULL, "merge key"},
    {"{'spec':{'$setElementOrder/ports':'x'}}", NULL, "a list is wanted"},
    {"{'spec':{'$setElementOrder/ports':[{'name':'x'}]}}", NULL, "merge key"},
    {"{'spec':{'$setElementOrder/ports':[{'port':443}],'ports':[{'port':81}]}}", NULL, "$setElementOrder"},
    {"{'spec':{'$setElementOrder/ports':[{'port':1},{'port':2}],'ports':[{'port':2},{'port':1}]}}", NULL,
     "$setElementOrder"},
    {"{'metadata':{'finalizers':[{'a':1}]}}", NULL, "plain values"},
    {"{'metadata':{'labels':{'$patch':'merge'}}}", NULL, "of a mapping"},
    {"{'metadata':{'labels':{'$retainKeys':['x'],'z':'7'}}}", NULL, "$retainKeys"},
    {"{'metadata':{'labels':{'$retainKeys':'x'}}}", NULL, "$retainKeys"},
};

/* Of text in which ' stands for ". */
static cJSON *parsed(const char *text)
{
    char *copy = strdup(text);
    for (char *c = copy; *c; c++)
        *c = *c == '\'' ? '"' : *c;
    cJSON *tree = cJSON_Parse(copy);
    free(copy);
    assert_non_null(tree);
    return tree;
}

static const cJSON *at(const cJSON *tree, const char *place)
{
    struct slice rest = slice_str(place);
    while (tree && rest.len) {
        char name[40];
        struct slice part = slice_split(&rest, '.');
        snprintf(name, sizeof name, "%.*s", SLICE_ARG(part));
        tree = cJSON_GetObjectItemCaseSensitive(tree, name);
    }
    return tree;
}

static void check_left(const cJSON *document, const struct example *x)
{
    const cJSON *there = at(document, x->place);
    cJSON *left = x->left ? parsed(x->left) : NULL;
    if (there && left && !cJSON_Compare(there, left, true))
        print_error("%s leaves %s, not %s\n", x->patch, cJSON_PrintUnformatted(there), x->left);
    assert_true(left ? cJSON_Compare(there, left, true) : !there);
    cJSON_Delete(left);
}

static void test_strategic_patches(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof examples / sizeof examples[0]; i++) {
        const struct example *x = &examples[i];
        struct diag d = {0};
        cJSON *document = parsed(SERVICE), *patch = parsed(x->patch);
        enum err e = strategic_patch(document, patch, "Service", &d);
        if (x->place) {
            assert_int_equal(e, OK);
            check_left(document, x);
        } else {
            assert_int_equal(e, ERR_INVALID);
            assert_non_null(strstr(d.text, x->left));
        }
        cJSON_Delete(document);
        cJSON_Delete(patch);
    }
}

static void test_ports_of_other_kinds_are_replaced(void **state)
{
    struct diag d = {0};
    const struct example x = {"{'spec':{'ports':[{'name':'x'}]}}", "spec.ports", "[{'name':'x'}]"};
    cJSON *document = parsed(SERVICE), *patch = parsed(x.patch);
    (void)state;
    assert_int_equal(strategic_patch(document, patch, "ConfigMap", &d), OK);
    check_left(document, &x);
    cJSON_Delete(document);
    cJSON_Delete(patch);
}

static cJSON *many_ports(int count, int first)
{
    cJSON *document = parsed("{'spec':{'ports':[]}}"),
          *ports = cJSON_GetObjectItem(cJSON_GetObjectItem(document, "spec"), "ports");
    for (int i = 0; i < count; i++) {
        cJSON *port = cJSON_CreateObject();
        cJSON_AddNumberToObject(port, "port", first + i);
        cJSON_AddItemToArray(ports, port);
    }
    return document;
}

/* A thousand ports merge with a thousand others; of lists with which the control loop would be busy for seconds, the
 * patch is refused instead. */
static void test_how_much_is_compared(void **state)
{
    (void)state;
    for (int large = 0; large < 2; large++) {
        struct diag d = {0};
        int count = large ? 20000 : 1000;
        cJSON *document = many_ports(count, 1), *patch = many_ports(count, count);
        assert_int_equal(strategic_patch(document, patch, "Service", &d), large ? ERR_INVALID : OK);
        if (large)
            assert_non_null(strstr(d.text, "too long"));
        else
            assert_int_equal(cJSON_GetArraySize(at(document, "spec.ports")), 1999);
        cJSON_Delete(document);
        cJSON_Delete(patch);
    }
}

/* ---- many members ---- */

static cJSON *many_members(int first, int count, int step)
{
    cJSON *object = cJSON_CreateObject();
    char name[20];
    for (int i = first; i != first + count * step; i += step) {
        snprintf(name, sizeof name, "k%d", i);
        cJSON_AddNumberToObject(object, name, i);
    }
    return object;
}

static void test_many_members_merge_and_compare_soon(void **state)
{
    enum { MANY = 50000 };
    cJSON *object = many_members(0, MANY, 1), *patch = many_members(2 * MANY - 1, 2 * MANY, -1),
          *backwards = many_members(MANY - 1, MANY, -1);
    (void)state;
    assert_true(json_same(object, backwards));
    assert_int_equal(merge_patch(object, patch), OK); /* what is there, the last first, and as much that is new */
    assert_int_equal(cJSON_GetArraySize(object), 2 * MANY);
    assert_true(json_same(object, patch));
    cJSON *tests = parsed("[{'op':'test','path':''}]");
    cJSON_AddItemToObject(tests->child, "value", cJSON_Duplicate(patch, true));
    assert_int_equal(json_patch(&object, tests, NULL), OK);
    cJSON_SetNumberValue(cJSON_GetObjectItem(object, "k7"), 8);
    assert_false(json_same(object, patch));
    struct diag d = {0};
    assert_int_equal(json_patch(&object, tests, &d), ERR_CONFLICT);
    cJSON_Delete(tests);
    cJSON_Delete(object);
    cJSON_Delete(patch);
    cJSON_Delete(backwards);
}

static void test_what_is_the_same(void **state)
{
    static const struct {
        const char *a, *b;
        bool same;
    } pairs[] = {
        {"{'a':1,'b':[1,{'c':null}]}", "{'b':[1,{'c':null}],'a':1}", true},
        {"{'a':1,'b':2,'c':3}", "{'c':3,'a':1,'b':2}", true},
        {"{'a':1,'b':2,'c':3}", "{'c':3,'a':1,'b':3}", false},
        {"{'a':1}", "{'a':1,'b':2}", false},
        {"{'a':1,'b':2}", "{'a':1,'c':2}", false},
        {"[1,2]", "[2,1]", false},
        {"{}", "[]", false},
        {"{'a':{}}", "{'a':[]}", false},
        {"'x'", "'x'", true},
        {"'x'", "'X'", false},
        {"1", "'1'", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        cJSON *a = parsed(pairs[i].a), *b = parsed(pairs[i].b);
        assert_int_equal(json_same(a, b), pairs[i].same);
        assert_int_equal(json_same(b, a), pairs[i].same);
        cJSON_Delete(a);
        cJSON_Delete(b);
    }
    assert_false(json_same(NULL, NULL));
}

/* ---- memory ---- */

/* The error comes back, nothing leaks; with enough memory the result is that of the example. */
static void fail_each(const struct example *x, bool merging)
{
    cJSON *patch = parsed(x->patch);
    for (unsigned n = 1;; n++) {
        struct diag d = {0};
        cJSON *document = parsed(SERVICE);
        fault_arm(n);
        enum err e = merging ? merge_patch(document, patch) : strategic_patch(document, patch, "Service", &d);
        bool fired = fault_disarm();
        assert_true(e == OK || (fired && e == ERR_NOMEM)); /* a map that cannot grow is a slower one */
        if (e == OK && !merging)
            check_left(document, x);
        cJSON_Delete(document);
        if (!fired)
            break;
    }
    cJSON_Delete(patch);
}

static void test_patches_without_memory(void **state)
{
    struct example large = {NULL, "metadata.name", "'s'"};
    struct buf text;
    (void)state;
    for (size_t i = 0; i < sizeof examples / sizeof examples[0] && examples[i].place; i++) {
        fail_each(&examples[i], false);
        fail_each(&examples[i], true);
    }
    buf_init(&text, 4096); /* enough members for a map */
    buf_put_str(&text, "{'metadata':{'name':'s','labels':{'x':'9','y':null");
    for (int i = 0; i < 30; i++)
        buf_printf(&text, ",'k%d':'%d'", i, i);
    buf_put_str(&text, "}}}");
    buf_put_char(&text, '\0');
    large.patch = text.ptr;
    fail_each(&large, false);
    fail_each(&large, true);
    buf_fini(&text);
}

static void *counted(size_t size)
{
    return malloc(size); /* cJSON's own calls lie in a shared library, and are not counted */
}

int main(void)
{
    cJSON_Hooks hooks = {counted, free};
    cJSON_InitHooks(&hooks);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strategic_patches),    cmocka_unit_test(test_ports_of_other_kinds_are_replaced),
        cmocka_unit_test(test_how_much_is_compared), cmocka_unit_test(test_many_members_merge_and_compare_soon),
        cmocka_unit_test(test_what_is_the_same),     cmocka_unit_test(test_patches_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
