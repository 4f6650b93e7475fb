/* SPDX-License-Identifier: Apache-2.0
 *
 * Links to servers that are none, or break AMQP: whatever comes, in whatever state, the connection is given up with a
 * reason that people can read, nobody waits beyond a deadline, and the next connection works.
 */
#include "../lib/amqp_rig.h"

#include <sys/socket.h>

static struct amqp_peer peer;
static struct rig rig;

static int set_up(void **state)
{
    (void)state;
    alarm(100);
    return 0;
}

/* ---- one wrong thing, then a connection that works ---- */

typedef void reach_fn(struct amqp_peer *p);

static void connected(struct amqp_peer *p)
{
    (void)p;
}

/* A channel is open, its qos is answered, and a call (basic.consume) waits. */
static void calling(struct amqp_peer *p)
{
    amqp_peer_login(p);
    amqp_peer_serve(p, AMQP_BASIC_CONSUME_METHOD);
}

static void delivering(struct amqp_peer *p)
{
    amqp_basic_deliver_t m = {.consumer_tag = amqp_cstring_bytes("c"), .delivery_tag = 2};
    calling(p);
    amqp_peer_method(p, 1, AMQP_BASIC_DELIVER_METHOD, &m);
}

static void delivering_a_body(struct amqp_peer *p)
{
    delivering(p);
    amqp_peer_header(p, 1, 10, &(amqp_basic_properties_t){0});
}

struct wrong {
    const char *name;
    reach_fn *reach;
    struct slice bytes; /* sent then; and behind them: */
    void (*more)(struct amqp_peer *p);
    bool close;       /* the server closes; else it waits for the link to go */
    const char *says; /* part of why it is down */
};

static const struct wrong *wrong;

static void hostile(struct amqp_peer *p)
{
    if (atomic_load(&p->connections) > 1) {
        amqp_peer_login(p);
        amqp_peer_serve(p, 0);
        return;
    }
    wrong->reach(p);
    amqp_peer_raw(p, wrong->bytes.ptr, wrong->bytes.len);
    if (wrong->more)
        wrong->more(p);
    if (!wrong->close)
        amqp_peer_drain(p);
}

static void use(struct rig *r)
{
    amqp_basic_qos_t qos = {.prefetch_count = 3};
    amqp_basic_consume_t consume = {.queue = amqp_cstring_bytes("q"), .consumer_tag = amqp_cstring_bytes("c")};
    assert_int_equal(rabbitmq_channel_open(r->link, &rig_channel_events, r, &r->channel), OK);
    assert_int_equal(rig_call(r, r->channel, AMQP_BASIC_QOS_METHOD, &qos, "qos"), OK);
    assert_int_equal(rig_call(r, r->channel, AMQP_BASIC_CONSUME_METHOD, &consume, "consume"), OK);
}

static void meet(const struct wrong *w)
{
    char url[80];
    wrong = w;
    amqp_peer_start(&peer, hostile, NULL);
    snprintf(url, sizeof(url), "amqp://127.0.0.1:%u", peer.port);
    rig_client(&rig, (const char *const[]){"url", url, "heartbeat", "10", NULL});
    rig.client->connect_ms = 400;
    rig.client->answer_ms = 5000;
    rig.client->retry_ms_max = 1;
    rig.on_up = use;
    rig_link(&rig);
    const char *down = rig_wait(&rig, "down");
    if (!strstr(down, w->says))
        fail_msg("%s: \"%s\" does not hold \"%s\"", w->name, down, w->says);
    rig_wait(&rig, "up");
    rig_wait(&rig, "answer consume ok");
    rig_stop(&rig);
    amqp_peer_stop(&peer);
}

#define FRAME(type, channel, size, payload) SLICE_INIT(type "\0" channel "\0\0\0" size payload "\xce")
#define METHOD(channel, size, payload) FRAME("\x01", channel, size, payload)

/* ---- before it is open ---- */

static const struct wrong at_login[] = {
    {"silence", connected, {NULL, 0}, NULL, false, "does not speak AMQP within 0.4 s"},
    {"close", connected, {NULL, 0}, NULL, true, "closed the connection before it spoke AMQP"},
    {"http", connected, SLICE_INIT("HTTP/1.1 400 Bad Request\r\n\r\n"), NULL, false, "does not speak AMQP; check host"},
    {"ssh", connected, SLICE_INIT("SSH-2.0-OpenSSH_9.2p1\r\n"), NULL, false, "does not speak AMQP; check host"},
    {"tls alert", connected, SLICE_INIT("\x15\x03\x01\x00\x02\x02\x0a"), NULL, true, "speaks TLS: take amqps://"},
    {"amqp 1.0", connected, SLICE_INIT("AMQP\0\x01\0\0"), NULL, true, "speaks AMQP 1-0-0, and not 0-9-1"},
    {"half a header", connected, SLICE_INIT("AMQP\0"), NULL, false, "does not speak AMQP within 0.4 s"},
    {"half a frame", connected, SLICE_INIT("\x01\0\0\0\0\0\x10"), NULL, false, "does not speak AMQP within 0.4 s"},
    {"a huge frame", connected, SLICE_INIT("\x01\0\0\x7f\xff\xff\xff"), NULL, false, "a frame larger than agreed"},
    {"start without arguments", connected, METHOD("\0", "\x04", "\0\x0a\0\x0a"), NULL, false,
     "start that cannot be read"},
    {"start with half a table", connected, METHOD("\0", "\x0b", "\0\x0a\0\x0a\0\x09\0\0\0\x09\x01"), NULL, false,
     "start that cannot be read"},
    {"start without mechanisms", connected, METHOD("\0", "\x0a", "\0\x0a\0\x0a\0\x09\0\0\0\0"), NULL, false,
     "a method of AMQP that cannot be read (10.10)"},
    {"start of another version", connected, METHOD("\0", "\x12", "\0\x0a\0\x0a\x08\0\0\0\0\0\0\0\0\0\0\0\0\0"), NULL,
     false, "speaks AMQP 8-0"},
    {"no way to log in", connected, METHOD("\0", "\x12", "\0\x0a\0\x0a\0\x09\0\0\0\0\0\0\0\0\0\0\0\0"), NULL, false,
     "does not take logins by PLAIN, but by "},
    {"tune first", connected, METHOD("\0", "\x0c", "\0\x0a\0\x1e\0\0\0\0\0\0\0\0"), NULL, false,
     "method 10.30 of AMQP, which does not belong here"},
    {"start twice", amqp_peer_start_ok, METHOD("\0", "\x12", "\0\x0a\0\x0a\0\x09\0\0\0\0\0\0\0\0\0\0\0\0"), NULL, false,
     "method 10.10 of AMQP, which does not belong here"},
    {"close after start-ok",
     amqp_peer_start_ok,
     {NULL, 0},
     NULL,
     true,
     "closed the connection during login; check user"},
    {"silence after start-ok", amqp_peer_start_ok, {NULL, 0}, NULL, false, "does not answer the login within 0.4 s"},
    {"secure", amqp_peer_start_ok, METHOD("\0", "\x08", "\0\x0a\0\x14\0\0\0\0"), NULL, false, "method 10.20 of AMQP"},
    {"tiny frames", amqp_peer_start_ok, METHOD("\0", "\x0c", "\0\x0a\0\x1e\0\x01\0\0\0\x08\0\0"), NULL, false,
     "wants frames of 8 bytes"},
    {"half a tune", amqp_peer_start_ok, METHOD("\0", "\x06", "\0\x0a\0\x1e\0\x01"), NULL, false,
     "cannot be read (10.30)"},
    {"close after open", amqp_peer_tuned, {NULL, 0}, NULL, true, "closed the connection"},
    {"silence after open", amqp_peer_tuned, {NULL, 0}, NULL, false, "does not open the vhost within 0.4 s"},
    {"channel before open", amqp_peer_tuned, METHOD("\x01", "\x08", "\0\x14\0\x0b\0\0\0\0"), NULL, false,
     "a frame on channel 1, which is not open"},
    {"close-ok before open", amqp_peer_tuned, METHOD("\0", "\x04", "\0\x0a\0\x33"), NULL, false, "method 10.51"},
};

static void test_servers_that_do_not_let_us_in(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(at_login) / sizeof(*at_login); i++)
        meet(&at_login[i]);
}

/* ---- when it is open ---- */

static void long_text(struct amqp_peer *p)
{
    char text[255];
    memset(text, '\n', sizeof(text));
    amqp_connection_close_t m = {.reply_code = 320, .reply_text = {sizeof(text), text}};
    amqp_peer_method(p, 0, AMQP_CONNECTION_CLOSE_METHOD, &m);
    amqp_peer_expect(p, AMQP_CONNECTION_CLOSE_OK_METHOD);
}

static void close_shutdown(struct amqp_peer *p)
{
    amqp_connection_close_t m = {.reply_code = 320, .reply_text = amqp_cstring_bytes("CONNECTION_FORCED - shutdown")};
    amqp_peer_method(p, 0, AMQP_CONNECTION_CLOSE_METHOD, &m);
}

static void deep_headers(struct amqp_peer *p)
{
    static char payload[14 + 6 * 10000];
    const size_t depth = 10000;
    memcpy(payload, "\0\x3c\0\0\0\0\0\0\0\0\0\0\x20\0", 14);
    for (size_t i = 0; i < depth; i++) {
        size_t inside = 6 * (depth - 1 - i);
        memcpy(payload + 14 + 6 * i, (const char[]){0, (char)(inside >> 16), (char)(inside >> 8), (char)inside, 0, 'F'},
               6);
    }
    amqp_peer_frame(p, AMQP_FRAME_HEADER, 1, payload, sizeof(payload) - 2);
}

static void many_values(struct amqp_peer *p)
{
    static char payload[14 + 4 + 3 + 4 + 100000];
    memset(payload, 'V', sizeof(payload)); /* an array of 100,000 nothings: it is good, but for the end */
    memcpy(payload,
           "\0\x3c\0\0\0\0\0\0\0\0\0\0\x20\0\0\x01\x86\xa7\x01"
           "aA\0\x01\x86\xa0",
           25);
    amqp_peer_frame(p, AMQP_FRAME_HEADER, 1, payload, sizeof(payload));
    amqp_peer_raw(p, "\x09", 1);
}

static void endless_bodies(struct amqp_peer *p)
{
    for (int i = 0; i < 2000 && !p->over; i++)
        amqp_peer_body(p, 1, "", 0);
    amqp_peer_body(p, 1, "0123456789a", 11);
}

static void huge_announced(struct amqp_peer *p)
{
    static char body[100000];
    amqp_peer_header(p, 1, UINT64_MAX, &(amqp_basic_properties_t){0});
    for (int i = 0; i < 50; i++)
        amqp_peer_body(p, 1, body, sizeof(body));
}

static void endless_closes(struct amqp_peer *p)
{
    amqp_channel_close_t m = {.reply_code = 404, .reply_text = amqp_cstring_bytes("NOT_FOUND")};
    amqp_peer_method(p, 1, AMQP_CHANNEL_CLOSE_METHOD, &m);
    amqp_peer_method(p, 1, AMQP_CHANNEL_CLOSE_METHOD, &m);
}

static const struct wrong when_open[] = {
    {"close", calling, {NULL, 0}, NULL, true, "closed the connection"},
    {"close with a long text", calling, {NULL, 0}, long_text, true, "closed the connection (320):     "},
    {"close without an end", calling, {NULL, 0}, close_shutdown, false, "(320): CONNECTION_FORCED - shutdown"},
    {"half a close", calling, METHOD("\0", "\x07", "\0\x0a\0\x32\x01\x40\x09"), NULL, false, "cannot be read (10.50)"},
    {"close-ok", calling, METHOD("\0", "\x04", "\0\x0a\0\x33"), NULL, false, "method 10.51"},
    {"wrong frame end", calling, SLICE_INIT("\x01\0\x01\0\0\0\x04\0\x3c\0\x15\xcd"), NULL, false,
     "a frame without its end"},
    {"unknown frame", calling, FRAME("\x05", "\0", "\0", ""), NULL, false, "a frame of an unknown type"},
    {"garbage", calling, SLICE_INIT("\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8"), NULL, false, "a frame larger than agreed"},
    {"method without a number", calling, METHOD("\x01", "\x02", "\0\x3c"), NULL, false,
     "a method frame without a method"},
    {"unknown method", calling, METHOD("\x01", "\x04", "\x12\x34\x56\x78"), NULL, false,
     "method 4660.22136 of AMQP on channel 1"},
    {"unknown method of channel 0", calling, METHOD("\0", "\x04", "\x12\x34\x56\x78"), NULL, false,
     "which does not belong here"},
    {"a client's method", calling, METHOD("\x01", "\x0b", "\0\x32\0\x0a\0\0\x01q\0\0\0"), NULL, false, "method 50.10"},
    {"an answer to nothing", calling, METHOD("\x01", "\x04", "\0\x3c\0\x0b"), NULL, false, "method 60.11"},
    {"half an answer", calling, METHOD("\x01", "\x06", "\0\x3c\0\x15\xff\x01"), NULL, false, "cannot be read (60.21)"},
    {"another channel", calling, METHOD("\x07", "\x04", "\0\x3c\0\x0b"), NULL, false,
     "on channel 7, which is not open"},
    {"channel 65535", calling, SLICE_INIT("\x01\xff\xff\0\0\0\x04\0\x3c\0\x0b\xce"), NULL, false, "on channel 65535"},
    {"content on channel 0", calling, FRAME("\x03", "\0", "\x01", "x"), NULL, false, "content on channel 0"},
    {"header without a message", calling, FRAME("\x02", "\x01", "\x0e", "\0\x3c\0\0\0\0\0\0\0\0\0\0\0\0"), NULL, false,
     "a content header without a message"},
    {"body without a message", calling, FRAME("\x03", "\x01", "\x01", "x"), NULL, false, "a body without a message"},
    {"confirm of nothing", calling, METHOD("\x01", "\x0d", "\0\x3c\0\x50\0\0\0\0\0\0\0\x01\0"), NULL, false,
     "a confirm of what was not published"},
    {"half a confirm", calling, METHOD("\x01", "\x05", "\0\x3c\0\x50\0"), NULL, false, "cannot be read (60.80)"},
    {"two closes of a channel", calling, {NULL, 0}, endless_closes, false, "on channel 1, which is not open"},
    {"method within a message", delivering, METHOD("\x01", "\x06", "\0\x3c\0\x15\x01q"), NULL, false,
     "within a message"},
    {"body before its header", delivering, FRAME("\x03", "\x01", "\x01", "x"), NULL, false, "a body without a message"},
    {"header cut off", delivering, FRAME("\x02", "\x01", "\x0d", "\0\x3c\0\0\0\0\0\0\0\0\0\0\0"), NULL, false,
     "cut off"},
    {"header of another class", delivering, FRAME("\x02", "\x01", "\x0e", "\0\x0a\0\0\0\0\0\0\0\0\0\0\0\0"), NULL,
     false, "unknown class"},
    {"properties cut off", delivering, FRAME("\x02", "\x01", "\x0e", "\0\x3c\0\0\0\0\0\0\0\0\0\0\x80\0"), NULL, false,
     "properties of a message that cannot be read"},
    {"late property cut off", delivering, FRAME("\x02", "\x01", "\x0e", "\0\x3c\0\0\0\0\0\0\0\0\0\0\0\x08"), NULL,
     false, "properties of a message that cannot be read"},
    {"flags that go on", delivering, FRAME("\x02", "\x01", "\x10", "\0\x3c\0\0\0\0\0\0\0\0\0\0\0\x01\0\x01"), NULL,
     false, "properties of a message that cannot be read"},
    {"headers too deep", delivering, {NULL, 0}, deep_headers, false, "properties of a message that cannot be read"},
    {"many values", delivering, {NULL, 0}, many_values, true, "closed the connection"},
    {"two headers", delivering_a_body, FRAME("\x02", "\x01", "\x0e", "\0\x3c\0\0\0\0\0\0\0\0\0\0\0\0"), NULL, false,
     "a content header without a message"},
    {"body too long", delivering_a_body, FRAME("\x03", "\x01", "\x0b", "0123456789a"), NULL, false,
     "longer than announced"},
    {"bodies of nothing", delivering_a_body, {NULL, 0}, endless_bodies, false, "longer than announced"},
    {"a body without an end", delivering, {NULL, 0}, huge_announced, true, "closed the connection"},
    {"half a delivery", calling, METHOD("\x01", "\x06", "\0\x3c\0\x3c\x05z"), NULL, true,
     "closed the connection"}, /* read when its message is whole, which it never is */
};

static void test_servers_that_break_amqp(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(when_open) / sizeof(*when_open); i++)
        meet(&when_open[i]);
}

static void bad_delivery(struct amqp_peer *p)
{
    amqp_peer_raw(p, "\x02\0\x01\0\0\0\x0e\0\x3c\0\0\0\0\0\0\0\0\0\0\0\0\xce", 22);
}

static void test_a_delivery_cut_off_is_found_when_its_message_is_whole(void **state)
{
    static const struct wrong w = {
        "half a delivery, whole", calling, METHOD("\x01", "\x06", "\0\x3c\0\x3c\x05z"), bad_delivery, false,
        "cannot be read (60.60)"};
    (void)state;
    meet(&w);
}

/* ---- every byte ---- */

/* A good connection (login, an answer, a delivery), of which each byte in turn is another one: nothing crashes, and the
 * link is up again with the next connection, whatever became of this one. */
static char stream[2000];
static size_t stream_len;

static void append(struct amqp_peer *p, const void *bytes, size_t len)
{
    (void)p;
    assert_true(stream_len + len <= sizeof(stream));
    memcpy(stream + stream_len, bytes, len);
    stream_len += len;
}

/* What the server says in such a connection, written down by a peer that writes to a socket pair. */
static void record(void)
{
    int pair[2];
    static struct amqp_peer p;
    amqp_connection_start_t start = {.version_minor = 9, .mechanisms = amqp_cstring_bytes("PLAIN")};
    amqp_table_entry_t entries[] = {{amqp_cstring_bytes("a"), {.kind = 'S', .value.bytes = amqp_cstring_bytes("b")}}};
    amqp_basic_properties_t properties = {._flags = AMQP_BASIC_HEADERS_FLAG, .headers = {1, entries}};
    amqp_basic_deliver_t deliver = {.consumer_tag = amqp_cstring_bytes("c"), .delivery_tag = 2};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    p.fd = pair[0];
    start.server_properties = (amqp_table_t){1, entries};
    amqp_peer_method(&p, 0, AMQP_CONNECTION_START_METHOD, &start);
    amqp_peer_method(&p, 0, AMQP_CONNECTION_TUNE_METHOD, &(amqp_connection_tune_t){.channel_max = 9, .heartbeat = 9});
    amqp_peer_method(&p, 0, AMQP_CONNECTION_OPEN_OK_METHOD, &(amqp_connection_open_ok_t){.known_hosts = {0, NULL}});
    amqp_peer_method(&p, 1, AMQP_CHANNEL_OPEN_OK_METHOD, &(amqp_channel_open_ok_t){.channel_id = {0, NULL}});
    amqp_peer_method(&p, 1, AMQP_BASIC_QOS_OK_METHOD, &(amqp_basic_qos_ok_t){0});
    amqp_peer_method(&p, 1, AMQP_BASIC_CONSUME_OK_METHOD, &(amqp_basic_consume_ok_t){.consumer_tag = {1, "c"}});
    amqp_peer_method(&p, 1, AMQP_BASIC_DELIVER_METHOD, &deliver);
    amqp_peer_header(&p, 1, 3, &properties);
    amqp_peer_body(&p, 1, "abc", 3);
    shutdown(pair[0], SHUT_WR);
    char bytes[sizeof(stream)];
    for (ssize_t n; (n = read(pair[1], bytes, sizeof(bytes))) > 0;)
        append(&p, bytes, (size_t)n);
    close(pair[0]);
    close(pair[1]);
}

/* Odd connections have one byte flipped, the next one each; even ones are good and closed when the login is done. The
 * bytes do not wait for what they answer: what comes too early is a breach, which is fine, too. */
static void flip(struct amqp_peer *p)
{
    size_t number = (size_t)atomic_load(&p->connections) - 1, flipped = number / 2;
    char bytes[sizeof(stream)];
    if (number % 2 == 1) {
        amqp_peer_login(p);
        return;
    }
    if (flipped == stream_len) {
        rig_note(&rig, "all were flipped");
        amqp_peer_login(p);
        amqp_peer_serve(p, 0);
        return;
    }
    memcpy(bytes, stream, stream_len);
    bytes[flipped] = (char)~bytes[flipped];
    amqp_peer_raw(p, bytes, stream_len);
    shutdown(p->fd, SHUT_WR);
    amqp_peer_drain(p);
}

static void test_no_byte_of_a_connection_may_be_another_one(void **state)
{
    char url[80];
    (void)state;
    record();
    amqp_peer_start(&peer, flip, NULL);
    snprintf(url, sizeof(url), "amqp://127.0.0.1:%u", peer.port);
    rig_client(&rig, (const char *const[]){"url", url, NULL});
    rig.client->retry_ms_max = 1;
    rig_link(&rig);
    rig_wait(&rig, "all were flipped");
    rig_wait(&rig, "up");
    static const char *const codes[] = {"BrokerDown", "BrokerUp", "ProtocolMismatch", "AuthenticationFailed"};
    for (size_t i = 0; i < sizeof(codes) / sizeof(*codes); i++) { /* of hundreds */
        char begins[60];
        snprintf(begins, sizeof(begins), "notice %s", codes[i]);
        assert_true(rig_count(&rig, begins) <= RABBITMQ_NOTICES_A_MINUTE);
    }
    assert_true(rig_count(&rig, "notice ProtocolMismatch") > 1 && rig_count(&rig, "notice BrokerUp") > 0);
    rig_stop(&rig);
    amqp_peer_stop(&peer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_servers_that_do_not_let_us_in, set_up),
        cmocka_unit_test_setup(test_servers_that_break_amqp, set_up),
        cmocka_unit_test_setup(test_a_delivery_cut_off_is_found_when_its_message_is_whole, set_up),
        cmocka_unit_test_setup(test_no_byte_of_a_connection_may_be_another_one, set_up),
    };
    return cmocka_run_group_tests_name("clients_rabbitmq_hostile", tests, NULL, NULL);
}
