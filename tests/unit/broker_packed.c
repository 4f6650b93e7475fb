/* SPDX-License-Identifier: Apache-2.0
 *
 * Packed trees: what goes in comes out, the same bytes are the same tree, a status is as small as it is meant to be,
 * and without memory nothing is left behind. A flat tree reads like any
 * other.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../broker/resource/packed.h"
#include "../lib/fault.h"

/* What a Trigger says of itself when all is well, 1.1 KiB of JSON, in a cJSON tree 5 KiB. Without its URL and time it
 * is names and values of the list in packed.c: where this grows, a word of every status is missing there. */
#define TRIGGER_STATUS_BYTES_MAX 240

/* clang-format off */
#define CONDITION(type, more)                                                                                          \
    "{\"type\":\"" type "\",\"status\":\"True\"," more "\"lastTransitionTime\":\"2026-07-31T12:00:00Z\"}"
static const char trigger_status[] =
    "{\"subscriberUri\":\"http://127.0.0.1:16/s77\",\"conditions\":["
    CONDITION("BrokerReady", "") ","
    CONDITION("SubscriptionReady", "") ","
    CONDITION("DependencyReady", "") ","
    CONDITION("SubscriberResolved", "") ","
    CONDITION("DeadLetterSinkResolved", "\"reason\":\"DeadLetterSinkNotConfigured\",") ","
    CONDITION("OIDCIdentityCreated", "\"reason\":\"OIDCDisabled\",") ","
    CONDITION("Ready", "") ","
    CONDITION("DeliveryHealthy", "\"reason\":\"NothingDelivered\",\"message\":\"no delivery has been tried yet\","
                                 "\"severity\":\"Info\",")
    "],\"observedGeneration\":1}";

static const char *const texts[] = {
    "null", "true", "false", "\"\"", "\"True\"", "\"no word of the list\"", "{}", "[]", "[[[[[[]]]]]]",
    "0", "1", "127", "128", "16384", "2147483647", "2147483648", "-1", "0.5", "1e+300", "-0.25",
    "{\"\":\"\"}", "{\"a\":1,\"a\":2}", "[\"abcd\",\"abcd\",\"abc\",\"abc\"]",
    "{\"abcd\":\"abcd\",\"efgh\":{\"abcd\":[\"efgh\"]}}",
    "[\"text1\",\"text2\",\"text3\",\"text4\",\"text5\",\"text6\",\"text7\",\"text8\","
    "\"text9\",\"text1\",\"text9\"]",
    "\"\xc3\xa4 \\\" \\n \\u0001\"", trigger_status,
};
/* clang-format on */

static char *again(const char *text)
{
    cJSON *tree = cJSON_Parse(text);
    assert_non_null(tree);
    struct packed *p = packed_new(tree);
    cJSON_Delete(tree);
    assert_non_null(p);
    tree = packed_tree(p);
    free(p);
    assert_non_null(tree);
    char *out = cJSON_PrintUnformatted(tree);
    cJSON_Delete(tree);
    return out;
}

static void what_goes_in_comes_out(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        char *out = again(texts[i]);
        assert_string_equal(out, texts[i]);
        cJSON_free(out);
    }
}

static void long_texts_and_lists(void **state)
{
    (void)state;
    char *text = malloc(100003);
    assert_non_null(text);
    memset(text, 'x', 100002);
    text[0] = text[100001] = '"';
    text[100002] = 0;
    char *out = again(text);
    assert_string_equal(out, text);
    cJSON_free(out);
    memset(text, ',', 100001);
    for (size_t i = 0; i < 100001; i += 2)
        text[i + 1] = '1';
    text[0] = '[';
    text[100000] = ']';
    text[100001] = 0;
    out = again(text);
    assert_string_equal(out, text);
    cJSON_free(out);
    free(text);
}

static void raw_text_stays_raw(void **state)
{
    (void)state;
    cJSON *tree = cJSON_CreateRaw("[1, 2]");
    struct packed *p = packed_new(tree);
    cJSON_Delete(tree);
    tree = packed_tree(p);
    assert_true(cJSON_IsRaw(tree));
    assert_string_equal(tree->valuestring, "[1, 2]");
    cJSON_Delete(tree);
    free(p);
}

static void the_same_tree_is_the_same(void **state)
{
    (void)state;
    struct packed *packed[sizeof texts / sizeof texts[0]];
    size_t count = sizeof texts / sizeof texts[0];
    for (size_t i = 0; i < count; i++) {
        cJSON *tree = cJSON_Parse(texts[i]);
        packed[i] = packed_new(tree);
        cJSON_Delete(tree);
        for (size_t k = 0; k < i; k++)
            assert_false(packed_same(packed[i], packed[k]));
        assert_true(packed_same(packed[i], packed[i]));
        assert_false(packed_same(packed[i], NULL));
        assert_false(packed_same(NULL, packed[i]));
    }
    assert_true(packed_same(NULL, NULL));
    cJSON *tree = cJSON_Parse(trigger_status);
    struct packed *twin = packed_new(tree);
    assert_true(packed_same(twin, packed[count - 1]));
    cJSON_Delete(tree);
    free(twin);
    for (size_t i = 0; i < count; i++)
        free(packed[i]);
}

static void a_status_is_small(void **state)
{
    (void)state;
    cJSON *tree = cJSON_Parse(trigger_status);
    struct packed *p = packed_new(tree);
    cJSON_Delete(tree);
    assert_true(packed_size(p) <= TRIGGER_STATUS_BYTES_MAX);
    free(p);
}

static void *from_cjson(size_t size)
{
    return malloc(size); /* the wrapped one, since this is our object */
}

static void a_flat_tree_reads_like_any(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        cJSON *tree = cJSON_Parse(texts[i]), *flat = flat_new(tree);
        assert_non_null(flat);
        assert_true(cJSON_Compare(tree, flat, true) || strstr(texts[i], "\"a\":2")); /* cJSON finds the first alone */
        cJSON_Delete(tree);
        cJSON *copy = cJSON_Duplicate(flat, true);
        char *out = cJSON_PrintUnformatted(flat);
        assert_string_equal(out, texts[i]);
        cJSON_free(out);
        memset(flat, 'x', sizeof *flat);
        free(flat);
        out = cJSON_PrintUnformatted(copy); /* nothing of it lies in what is freed */
        assert_string_equal(out, texts[i]);
        cJSON_free(out);
        cJSON_Delete(copy);
    }
}

static void a_version_has_room(void **state)
{
    (void)state;
    static const char *const all[] = {"{\"resourceVersion\":\"\",\"z\":\"behind\"}",
                                      "{\"resourceVersion\":\"1\",\"z\":\"behind\"}",
                                      "{\"resourceVersion\":\"18446744073709551615 and more\",\"z\":\"behind\"}"};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        cJSON *tree = cJSON_Parse(all[i]), *flat = flat_new(tree);
        cJSON_Delete(tree);
        assert_non_null(flat);
        snprintf(flat->child->valuestring, FLAT_VERSION_BYTES, "%s", "18446744073709551615");
        assert_string_equal(flat->child->valuestring, "18446744073709551615");
        assert_string_equal(flat->child->next->valuestring, "behind");
        free(flat);
    }
}

static void without_memory(void **state)
{
    (void)state;
    cJSON_Hooks hooks = {from_cjson, free};
    cJSON_InitHooks(&hooks);
    cJSON *tree = cJSON_Parse(trigger_status);
    bool fired = true;
    for (unsigned n = 1; fired; n++) {
        fault_arm(n);
        struct packed *p = packed_new(tree);
        fired = fault_disarm();
        assert_true(p || fired);
        free(p);
    }
    fault_arm(1);
    cJSON *flat = flat_new(tree);
    assert_true(fault_disarm());
    assert_null(flat);
    struct packed *p = packed_new(tree);
    fired = true;
    for (unsigned n = 1; fired; n++) {
        fault_arm(n);
        cJSON *copy = packed_tree(p);
        fired = fault_disarm();
        assert_true(copy || fired);
        cJSON_Delete(copy);
    }
    free(p);
    cJSON_Delete(tree);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_goes_in_comes_out), cmocka_unit_test(long_texts_and_lists),
        cmocka_unit_test(raw_text_stays_raw),     cmocka_unit_test(the_same_tree_is_the_same),
        cmocka_unit_test(a_status_is_small),      cmocka_unit_test(a_flat_tree_reads_like_any),
        cmocka_unit_test(a_version_has_room),     cmocka_unit_test(without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
