/* SPDX-License-Identifier: Apache-2.0
 *
 * http_url_parse: what is taken and how it is split, what is refused and with which words.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "http_client.h"

struct good {
    const char *text, *shown, *host, *authority, *target;
    uint16_t port;
    bool tls;
};

static void urls_are_split(void **state)
{
    (void)state;
    static const struct good all[] = {
        {"http://example.com", "http://example.com/", "example.com", "example.com", "/", 80, false},
        {"https://example.com/a/b?c=d&e#f", "https://example.com/a/b?c=d&e", "example.com", "example.com", "/a/b?c=d&e",
         443, true},
        {"http://127.0.0.1:8080/", "http://127.0.0.1:8080/", "127.0.0.1", "127.0.0.1:8080", "/", 8080, false},
        {"http://h:80/x", "http://h:80/x", "h", "h", "/x", 80, false},
        {"https://h:443", "https://h:443/", "h", "h", "/", 443, true},
        {"https://h:80", "https://h:80/", "h", "h:80", "/", 80, true},
        {"http://h:/", "http://h:/", "h", "h", "/", 80, false},
        {"http://[::1]:9/", "http://[::1]:9/", "::1", "[::1]:9", "/", 9, false},
        {"http://[fe80::1]", "http://[fe80::1]/", "fe80::1", "[fe80::1]", "/", 80, false},
        {"http://h?q", "http://h/?q", "h", "h", "/?q", 80, false},
        {"http://h#f", "http://h/", "h", "h", "/", 80, false},
        {"HTTPS://My_Host-1.Example./%4a;~!$'()*+,=:@/", "HTTPS://My_Host-1.Example./%4a;~!$'()*+,=:@/",
         "My_Host-1.Example.", "My_Host-1.Example.", "/%4a;~!$'()*+,=:@/", 443, true},
    };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct http_url u;
        assert_int_equal(http_url_parse(slice_str(all[i].text), &u, NULL), OK);
        assert_string_equal(u.text, all[i].shown);
        assert_true(slice_eq_str(u.host, all[i].host));
        assert_true(slice_eq_str(u.authority, all[i].authority));
        assert_true(slice_eq_str(u.target, all[i].target));
        assert_int_equal(u.port, all[i].port);
        assert_int_equal(u.tls, all[i].tls);
        http_url_fini(&u);
        assert_null(u.text);
    }
}

static void bad_urls_are_refused_with_a_reason(void **state)
{
    (void)state;
    static const char *const all[][2] = {
        {"", "http://"},
        {"example.com/", "http://"},
        {"ftp://example.com/", "http://"},
        {"http:/example.com/", "http://"},
        {"http://", "no host"},
        {"http:///path", "no host"},
        {"http://:80/", "no host"},
        {"http://?q", "no host"},
        {"http://user:secret@host/", "credentials"},
        {"http://user@host/", "credentials"},
        {"http://ho st/", "character"},
        {"http://h\xc3\xb6st/", "xn--"},
        {"http://h%41st/", "character"},
        {"http://h:0/", "port"},
        {"http://h:65536/", "port"},
        {"http://h:80x/", "port"},
        {"http://h:-1/", "port"},
        {"http://h:1:2/", "port"},
        {"http://[::1/", "bracket is not closed"},
        {"http://[::1]x/", "follow the URL's bracket"},
        {"http://[127.0.0.1]/", "IPv6"},
        {"http://[fe80::1%25eth0]/", "character"},
        {"http://h/a b", "percent-coded"},
        {"http://h/a\r\nX: y", "percent-coded"},
        {"http://h/\x7f", "percent-coded"},
        {"http://h/\xc3\xa9", "percent-coded"},
        {"http://h/{id}", "percent-coded"},
        {"http://h/%4", "hexadecimal"},
        {"http://h/%zz", "hexadecimal"},
        {"http://h/%", "hexadecimal"},
    };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct http_url u = {.port = 7};
        struct diag d = {.text = ""};
        enum err e = http_url_parse(slice_str(all[i][0]), &u, &d);
        if (e != ERR_INVALID || !strstr(d.text, all[i][1]))
            print_error("%s: %s\n", all[i][0], d.text);
        assert_int_equal(e, ERR_INVALID);
        assert_non_null(strstr(d.text, all[i][1]));
        assert_int_equal(u.port, 7); /* untouched */
    }
}

static void a_nul_and_an_endless_url_are_refused(void **state)
{
    (void)state;
    static char text[9000] = "http://h/";
    struct http_url u;
    struct diag d;
    memset(text + 9, 'a', sizeof(text) - 9);
    assert_int_equal(http_url_parse(slice_of(text, sizeof(text)), &u, &d), ERR_INVALID);
    assert_non_null(strstr(d.text, "8192"));
    assert_int_equal(http_url_parse(SLICE("http://h/a\0b"), &u, &d), ERR_INVALID);
    assert_non_null(strstr(d.text, "NUL"));
    assert_int_equal(http_url_parse(slice_of(text, 8192), &u, &d), OK);
    http_url_fini(&u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urls_are_split),
        cmocka_unit_test(bad_urls_are_refused_with_a_reason),
        cmocka_unit_test(a_nul_and_an_endless_url_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
