/* SPDX-License-Identifier: Apache-2.0
 *
 * YAML and JSON into trees, and trees into YAML.
 */
#include "../lib/resource_rig.h"

#define FREE "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata:\n  name: x\nspec:\n"

/* The member spec.v of a kind without a schema, as JSON. */
static void check_value(const char *yaml, const char *json)
{
    char text[4000];
    snprintf(text, sizeof text, FREE "  v: %s\n", yaml);
    struct manifest *m = rig_good(text);
    assert_int_equal(manifest_count(m), 1);
    char *out = cJSON_PrintUnformatted(cJSON_GetObjectItem(cJSON_GetObjectItem(manifest_object(m, 0), "spec"), "v"));
    assert_string_equal(out, json);
    cJSON_free(out);
    manifest_free(m);
}

static void test_scalars(void **state)
{
    static const char *const values[][2] = {
        {"", "null"},
        {"~", "null"},
        {"null", "null"},
        {"Null", "null"},
        {"nULL", "\"nULL\""},
        {"true", "true"},
        {"TRUE", "true"},
        {"False", "false"},
        {"tRue", "\"tRue\""},
        {"yes", "\"yes\""},
        {"no", "\"no\""},
        {"on", "\"on\""},
        {"0", "0"},
        {"-0", "0"},
        {"7", "7"},
        {"+7", "7"},
        {"-7", "-7"},
        {"007", "7"},
        {"0644", "420"},
        {"0o17", "15"},
        {"0x1F", "31"},
        {"-0x10", "-16"},
        {"0xfg", "\"0xfg\""},
        {"0o8", "\"0o8\""},
        {"1_000", "\"1_000\""},
        {"1.5", "1.5"},
        {".5", "0.5"},
        {"5.", "5"},
        {"-.5", "-0.5"},
        {"1e3", "1000"},
        {"1.e2", "100"},
        {"1e", "\"1e\""},
        {".", "\".\""},
        {"1.2.3", "\"1.2.3\""},
        {"9007199254740993", "9007199254740993"},
        {"123456789012345678901234567890", "123456789012345678901234567890"},
        {"0xffffffffffffffff", "18446744073709551615"},
        {"999999999999999", "999999999999999"},
        {"3.14159265358979323846", "3.14159265358979323846"},
        {"2018-07-31", "\"2018-07-31\""},
        {"12:30", "\"12:30\""},
        {"'5'", "\"5\""},
        {"\"true\"", "\"true\""},
        {"''", "\"\""},
        {"\"a\\tb\\u00e9\"", "\"a\\tbé\""},
        {"<org>/<repo> # comment", "\"<org>/<repo>\""},
        {"a#b", "\"a#b\""},
        {"http://x/y", "\"http://x/y\""},
        {"!!str 5", "\"5\""},
        {"! 5", "\"5\""},
        {"|\n    a\n     b\n", "\"a\\n b\\n\""},
        {">-\n    a\n    b\n", "\"a b\""},
        {"[1, two, {three: 3}]", "[1,\"two\",{\"three\":3}]"},
        {"{}", "{}"},
        {"[]", "[]"},
        {"\n    404: x\n    true: y", "{\"404\":\"x\",\"true\":\"y\"}"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(values); i++)
        check_value(values[i][0], values[i][1]);
}

static void test_anchors(void **state)
{
    (void)state;
    check_value(
        "\n    a: &x {p: 1, q: [2]}\n    b: *x\n    c: [*x, *x]",
        "{\"a\":{\"p\":1,\"q\":[2]},\"b\":{\"p\":1,\"q\":[2]},\"c\":[{\"p\":1,\"q\":[2]},{\"p\":1,\"q\":[2]}]}");
    check_value("\n    a: &x one\n    b: *x\n    c: &x two\n    d: *x",
                "{\"a\":\"one\",\"b\":\"one\",\"c\":\"two\",\"d\":\"two\"}");
    /* What is merged gives way to what is written, and the first of a list to no later one. */
    check_value("\n    a: &x {p: 1, q: 2}\n    b: {<<: *x, q: 3}\n    c: {q: 4, <<: [*x, {q: 5, r: 6}]}",
                "{\"a\":{\"p\":1,\"q\":2},\"b\":{\"q\":3,\"p\":1},\"c\":{\"q\":4,\"p\":1,\"r\":6}}");
    check_value("{\"<<\": 1}", "{\"<<\":1}");
}

static const struct mistake {
    const char *text, *said; /* what follows "m.yaml:" (or m.json); the beginning of a line */
} mistakes[] = {
    {"a: [1\nb: 2", "2:2: error: while parsing a flow sequence"},
    {"a:\n\tb: 1", "2:1: error: while scanning for the next token: found character that cannot start any token; a tab"},
    {"a: b: c", "1:5: error: mapping values are not allowed in this context; check the indentation"},
    {"a: \"x", "1:6: error: while scanning a quoted scalar"},
    {"a: 1\na: 2", "2:1: error: the key \"a\" is there twice"},
    {"a: {b: 1, \"b\": 2}", "1:11: error: the key \"b\" is there twice"},
    {"a: *x", "1:4: error: the alias *x refers to an anchor that is not there"},
    {"a: &x [*x]", "1:8: error: the alias *x stands inside of what it refers to"},
    {"a: &x 1\n*x : 2", "2:1: error: an alias cannot be a key here"},
    {"? [a]\n: b", "1:3: error: a key must be a plain name or a string"},
    {"a: !mine 1", "1:4: error: tags are not supported"},
    {"a: !!binary aGk=", "1:4: error: tags are not supported; leave it out (a binary value is given as base64 text)"},
    {"a: !mine [1]", "1:4: error: tags are not supported"},
    {"a: .inf", "1:4: error: infinity and NaN cannot be values"},
    {"a: 1e999", "1:4: error: this number is too large for JSON"},
    {"a: 089", "1:4: error: a number with a leading zero is octal"},
    {"a: 0xfffffffffffffffffffffffffff", "1:4: error: this number is too large"},
    {"a: \"\\0\"", "1:4: error: a NUL character cannot be part of a value"},
    {"a: \"\xff\"", "1:1: error: this is not UTF-8 text"},
    {"a: {<<: 5}", "1:9: error: << merges a mapping"},
    {"- just\n- a list", "1:1: error: a resource must be a mapping"},
    {"text", "1:1: error: a resource must be a mapping"},
    {"{\"a\": 1,}", "1:9: error: "},
    {"{\"a\": 01}", "1:8: error: "},
    {"{\"a\": 1, \"a\": 2}", "1:10: error: the name \"a\" is there twice"},
    {"{\"a\":\n \"\\u0000\"}", "2:2: error: a NUL character"},
    {"{\"a\": 1} x", "1:10: error: "},
    {"[1]", "1:1: error: a resource must be a mapping"},
};

static void test_mistakes(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(mistakes); i++) {
        struct problems p;
        char start[300];
        struct manifest *m = rig_load(mistakes[i].text, &p);
        char *said = rig_problems(&p);
        snprintf(start, sizeof start, "m.%s:%s", strchr("{[", mistakes[i].text[0]) ? "json" : "yaml", mistakes[i].said);
        const char *at = strstr(said, start);
        if (!at || (at != said && at[-1] != '\n') || p.errors == 0)
            fail_msg("for <%s> it said:\n%sinstead of:\n%s", mistakes[i].text, said, start);
        assert_int_equal(manifest_count(m), 0);
        free(said);
        problems_fini(&p);
        manifest_free(m);
    }
}

/* n times `piece`, between `before` and `after`. */
static char *repeat(const char *before, const char *piece, size_t n, const char *after)
{
    struct buf b;
    buf_init(&b, 8 << 20);
    buf_put_str(&b, before);
    for (size_t i = 0; i < n; i++)
        buf_put_str(&b, piece);
    buf_put_str(&b, after);
    char *s = buf_take_string(&b);
    assert_non_null(s);
    return s;
}

static void check_refused(char *text, const char *words)
{
    struct problems p;
    struct manifest *m = rig_load(text, &p);
    char *said = rig_problems(&p);
    if (!strstr(said, words))
        fail_msg("%s", said);
    assert_true(p.errors > 0);
    assert_int_equal(manifest_count(m), 0);
    free(said);
    free(text);
    problems_fini(&p);
    manifest_free(m);
}

static void test_bounds(void **state)
{
    (void)state;
    check_refused(repeat("a: ", "[", 100000, ""), "m.yaml:1:67: error: nesting is too deep");
    check_refused(repeat("[", "[", 100000, ""), "m.json:1:");
    check_refused(repeat("a: [", "x,", 120000, "]"), "error: the document has too many values");
    check_refused(repeat("[", "1,", 120000, "1]"), "error: the document has too many values");
    check_refused(repeat("a: ", "x", 1 << 20, ""), "m.yaml: error: is larger than 1 MiB");
    /* Nine levels of ten: a thousand million values from 300 bytes. */
    check_refused(strdup("a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c "
                         "[*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
                         "d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\n"),
                  "m.yaml:5:29: error: the document has too many values, or its aliases expand to too many");
    /* The same by merging, and depth by aliases. */
    check_refused(repeat("a: &a [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]\nb: ",
                         "[", 40, "*a]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]\n"),
                  "m.yaml:2:44: error: nesting is too deep");
    /* Many keys take linear time: this would be seconds otherwise, and the runner's patience is the bound. */
    struct buf b;
    buf_init(&b, 2 << 20);
    for (int i = 0; i < 60000; i++)
        buf_printf(&b, "k%d: 1\n", i);
    check_refused(buf_take_string(&b), "apiVersion: is missing");
}

static void test_documents(void **state)
{
    (void)state;
    struct manifest *m = rig_good("# nothing\n---\n---\n" FREE "  a: 1\n---\n# nothing\n---\n"
                                  "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n...\n");
    assert_int_equal(manifest_count(m), 2);
    assert_string_equal(manifest_kind(m, 0)->kind, "Service");
    assert_string_equal(manifest_kind(m, 1)->kind, "ConfigMap");
    manifest_free(m);
}

static void check_put(const char *json, const char *yaml)
{
    struct buf b;
    cJSON *tree = cJSON_Parse(json);
    assert_non_null(tree);
    buf_init(&b, 1 << 16);
    yaml_put(tree, &b);
    buf_put_char(&b, 0);
    assert_string_equal(b.ptr, yaml);
    buf_fini(&b);
    cJSON_Delete(tree);
}

static void test_put(void **state)
{
    (void)state;
    check_put("{\"a\":1,\"b\":[],\"c\":{},\"d\":null}", "a: 1\nb: []\nc: {}\nd: null\n");
    check_put("{\"a\":{\"b\":[1,{\"c\":2,\"d\":[3]},[4,5]]}}",
              "a:\n  b:\n  - 1\n  - c: 2\n    d:\n    - 3\n  - - 4\n    - 5\n");
    check_put("[\"x\"]", "- x\n");
    check_put("\"x\"", "x\n");
    check_put("{\"a\":\"l1\\nl2\\n\",\"b\":\"l1\\nl2\",\"c\":\"l1\\n\\n\"}",
              "a: |\n  l1\n  l2\nb: |-\n  l1\n  l2\nc: |+\n  l1\n\n");
    check_put("{\"a: b\":\"- x\"}", "\"a: b\": \"- x\"\n");
}

/* Text that YAML would read as something else comes back as it was. */
static void test_put_and_read(void **state)
{
    static const char *const texts[] = {"",
                                        " ",
                                        "a ",
                                        " a",
                                        "true",
                                        "No",
                                        "yes",
                                        "y",
                                        "null",
                                        "~",
                                        "1",
                                        "1.5",
                                        "0x1",
                                        "0o7",
                                        "1e3",
                                        ".5",
                                        "-",
                                        "- a",
                                        "a: b",
                                        "a:",
                                        ":a",
                                        "a #b",
                                        "#a",
                                        "a#b",
                                        "*a",
                                        "&a",
                                        "!a",
                                        "%a",
                                        "@a",
                                        "`a",
                                        "'a",
                                        "\"a",
                                        "{a",
                                        "[a",
                                        "a]",
                                        ",a",
                                        "?",
                                        "? a",
                                        "|",
                                        ">",
                                        "---",
                                        "...",
                                        "<<",
                                        "=",
                                        "é",
                                        "a\tb",
                                        "\ta",
                                        "a\nb",
                                        "\na",
                                        " a\nb",
                                        "a\n b\n",
                                        "a\n\nb\n\n",
                                        "a\r\nb",
                                        "\x7f",
                                        "\xc2\x85",
                                        "\xe2\x80\xa8",
                                        "a\xef\xbb\xbf",
                                        "\xf0\x9f\x8c\x8a",
                                        "\x01",
                                        "2018-07-31",
                                        "key: [x]"};
    (void)state;
    for (size_t i = 0; i < COUNT(texts); i++) {
        struct buf b;
        cJSON *tree = cJSON_CreateObject(), *spec;
        cJSON_AddStringToObject(tree, "apiVersion", "serving.knative.dev/v1");
        cJSON_AddStringToObject(tree, "kind", "Service");
        cJSON_AddStringToObject(cJSON_AddObjectToObject(tree, "metadata"), "name", "x");
        spec = cJSON_AddObjectToObject(tree, "spec");
        cJSON_AddStringToObject(spec, texts[i][0] ? texts[i] : "empty", "key");
        cJSON_AddStringToObject(spec, "value", texts[i]);
        cJSON_AddItemToObject(spec, "list", cJSON_CreateStringArray(&texts[i], 1));
        buf_init(&b, 1 << 16);
        yaml_put(tree, &b);
        char *text = buf_take_string(&b);
        struct manifest *m = rig_good(text);
        if (!cJSON_Compare(spec, cJSON_GetObjectItem(manifest_object(m, 0), "spec"), true))
            fail_msg("<%s> became:\n%s", texts[i], text);
        free(text);
        cJSON_Delete(tree);
        manifest_free(m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scalars),      cmocka_unit_test(test_anchors),   cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_bounds),       cmocka_unit_test(test_documents), cmocka_unit_test(test_put),
        cmocka_unit_test(test_put_and_read),
    };
    return cmocka_run_group_tests(tests, rig_folder, rig_folder_gone);
}
