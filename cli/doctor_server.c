/* SPDX-License-Identifier: Apache-2.0
 *
 * `leat doctor`: the server as its API shows it, and the addresses at which its process listens.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ask.h"
#include "clock.h"
#include "doctor.h"

#define BACKLOG_MUCH 10000 /* events of one subscription that wait: worth a word */
#define TOP 3              /* subscriptions that are named */
#define LISTENERS_MAX 16

/* ---- listeners ---- */

struct listeners {
    unsigned long inodes[256]; /* of the process's sockets */
    size_t inode_count;
    char text[600]; /* "127.0.0.1:8001, ..." */
    size_t count;
    bool everywhere; /* one is on every address */
};

/* False: it may not be looked into. */
static bool read_sockets(int pid, struct listeners *l)
{
    char path[300], target[64];
    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    DIR *dir = opendir(path);
    if (!dir)
        return false;
    for (const struct dirent *each; (each = readdir(dir)) && l->inode_count < 256;) {
        snprintf(path, sizeof path, "/proc/%d/fd/%s", pid, each->d_name);
        const ssize_t n = readlink(path, target, sizeof target - 1);
        target[n > 0 ? n : 0] = '\0';
        l->inode_count += sscanf(target, "socket:[%lu]", &l->inodes[l->inode_count]) == 1;
    }
    closedir(dir);
    return true;
}

static bool is_ours(const struct listeners *l, unsigned long inode)
{
    for (size_t i = 0; i < l->inode_count; i++)
        if (l->inodes[i] == inode)
            return true;
    return false;
}

/* /proc/net/tcp and tcp6: lines with the address in hexadecimal words of this machine's order, state 0A listening. */
static void read_table(const char *path, struct listeners *l)
{
    char line[512], hex[40], address[INET6_ADDRSTRLEN];
    unsigned port, state;
    unsigned long inode;
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f)) {
        uint32_t words[4] = {0};
        if (sscanf(line, " %*d: %39[0-9A-F]:%x %*s %x %*s %*s %*s %*u %*u %lu", hex, &port, &state, &inode) != 4 ||
            state != 0x0A || !is_ours(l, inode))
            continue;
        const bool six = strlen(hex) == 32;
        for (size_t i = 0; i < (six ? 4u : 1u); i++) {
            char word[9];
            snprintf(word, sizeof word, "%.8s", hex + 8 * i);
            words[i] = (uint32_t)strtoul(word, NULL, 16);
        }
        inet_ntop(six ? AF_INET6 : AF_INET, words, address, sizeof address);
        const size_t used = strlen(l->text);
        snprintf(l->text + used, sizeof l->text - used, six ? "%s[%s]:%u" : "%s%s:%u", l->count++ ? ", " : "", address,
                 port);
        l->everywhere = l->everywhere || !(words[0] | words[1] | words[2] | words[3]);
    }
    if (f)
        fclose(f);
}

static void say_listeners(struct doctor *k)
{
    struct listeners l = {0};
    if (k->pid <= 0)
        return;
    if (!read_sockets(k->pid, &l)) {
        doctor_say(k, VERDICT_WARN, "listeners", "Run this as the user of the server", "not known: /proc/%d/fd: %m",
                   k->pid);
        return;
    }
    read_table("/proc/net/tcp", &l);
    read_table("/proc/net/tcp6", &l);
    if (!l.count)
        doctor_say(k, VERDICT_FAIL, "listeners", "See what the server's log says", "the process %d listens nowhere",
                   k->pid);
    else if (l.everywhere)
        doctor_say(k, VERDICT_WARN, "listeners",
                   "Give --ingress and --api an address, or see that a firewall keeps strangers out: ingress "
                   "asks nobody who he is",
                   "%s: open to every network of this machine", l.text);
    else
        doctor_say(k, VERDICT_PASS, "listeners", NULL, "%s", l.text);
}

/* ---- the API ---- */

struct talk {
    struct doctor *k;
    struct client *client;
    struct diag told;
    struct client_answer answer;
};

/* GETs a page; false: nobody answers, and `told` says why. */
static bool get(struct talk *t, const char *path)
{
    struct buf url;
    ask_url(&url, t->k->in, path);
    buf_put_char(&url, '\0');
    buf_fini(&t->answer.body);
    const bool good =
        buf_error(&url) == OK && client_send(t->client, "GET", url.ptr, NULL, (struct slice){0}, &t->answer);
    buf_fini(&url);
    return good;
}

/* Whether there is a server to talk to. */
static bool say_alive(struct talk *t)
{
    const bool named = option_given(t->k->in, "server") || (getenv("LEAT_SERVER") && *getenv("LEAT_SERVER"));
    if (get(t, "/livez") && t->answer.status == 200) {
        doctor_say(t->k, VERDICT_PASS, "server", NULL, "%s answers", server_url(t->k->in));
        return true;
    }
    if (t->answer.status)
        doctor_say(t->k, VERDICT_FAIL, "server", "Name the API of leat with --server", "%s/livez answers %d",
                   server_url(t->k->in), t->answer.status);
    else if (named || t->k->pid)
        doctor_say(t->k, VERDICT_FAIL, "server",
                   t->k->pid ? "Name its API with --server; its log says where that is"
                             : "Start it, or name another with --server",
                   "%s", t->told.text);
    else
        doctor_say(t->k, VERDICT_WARN, "server", "Start `leat serve`, or name one with --server", "%s", t->told.text);
    return false;
}

static void say_ready(struct talk *t)
{
    char reasons[600] = "";
    if (!get(t, "/readyz?verbose")) {
        doctor_say(t->k, VERDICT_FAIL, "ready", "Try again; the server's log says why it went", "%s", t->told.text);
        return;
    }
    if (t->answer.status == 200) {
        doctor_say(t->k, VERDICT_PASS, "ready", NULL, "it takes events");
        return;
    }
    for (struct slice rest = buf_slice(&t->answer.body); rest.len;) {
        const struct slice line = slice_split(&rest, '\n');
        const size_t used = strlen(reasons);
        if (slice_has_prefix(line, SLICE("[-] ")))
            snprintf(reasons + used, sizeof reasons - used, "%s%.*s", used ? "; " : "", SLICE_ARG(slice_from(line, 4)));
    }
    doctor_say(
        t->k, VERDICT_FAIL, "ready",
        "Do what the reason says; docs/durability.md says more of disks, docs/kafka.md and docs/rabbitmq.md of buses",
        "%s", *reasons ? reasons : "it is not, and does not say why");
}

static void say_version(struct talk *t)
{
    struct json_value json;
    char text[128];
    const char *const path[] = {"gitVersion", NULL};
    if (!get(t, "/version") || json_check(buf_slice(&t->answer.body), 16, &json, NULL) != OK)
        return;
    const char *plus = strstr(member_text(json, path, text, sizeof text), "+leat-");
    const char *version = plus ? plus + strlen("+leat-") : text;
    if (strcmp(version, LEAT_VERSION) == 0)
        doctor_say(t->k, VERDICT_PASS, "version", NULL, "server and command line are %s", LEAT_VERSION);
    else
        doctor_say(t->k, VERDICT_WARN, "version", "Use the command line that came with the server",
                   "the server is %s, this command line %s", version, LEAT_VERSION);
}

/* ---- hot spots ---- */

struct series {
    char labels[300];
    uint64_t value;
};

/* The largest of a family's series, by value; how many are above `least`. */
static size_t largest(struct slice metrics, const char *family, uint64_t least, struct series top[TOP])
{
    size_t above = 0;
    const size_t n = strlen(family);
    memset(top, 0, TOP * sizeof *top);
    for (struct slice rest = metrics; rest.len;) {
        struct slice line = slice_split(&rest, '\n');
        if (!slice_has_prefix(line, slice_of(family, n)) || line.len <= n || line.ptr[n] != '{')
            continue;
        const char *end = memrchr(line.ptr, '}', line.len);
        if (!end)
            continue;
        struct series s = {.value = strtoull(end + 1, NULL, 10)};
        snprintf(s.labels, sizeof s.labels, "%.*s", (int)(end - line.ptr - (long)n - 1), line.ptr + n + 1);
        above += s.value >= least;
        for (size_t i = 0; i < TOP; i++)
            if (s.value > top[i].value) {
                memmove(&top[i + 1], &top[i], (TOP - i - 1) * sizeof *top);
                top[i] = s;
                break;
            }
    }
    return above;
}

/* "namespace="default",subscription="x"" as default/x. */
static const char *name_of(const struct series *s, char *out, size_t size)
{
    char namespace_name[100] = "", name[160] = "";
    const char *a = strstr(s->labels, "namespace=\""), *b = strstr(s->labels, "subscription=\"");
    if (a)
        snprintf(namespace_name, sizeof namespace_name, "%.*s", (int)strcspn(a + 11, "\""), a + 11);
    if (b)
        snprintf(name, sizeof name, "%.*s", (int)strcspn(b + 14, "\""), b + 14);
    snprintf(out, size, "%s/%s", namespace_name, name);
    return out;
}

static void say_hot(struct talk *t, const char *check, const char *family, uint64_t least, const char *remedy,
                    const char *what)
{
    struct series top[TOP];
    char names[900] = "", name[300];
    const size_t above = largest(buf_slice(&t->answer.body), family, least, top);
    for (size_t i = 0; i < TOP && top[i].value >= least; i++) {
        const size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%s %" PRIu64, i ? ", " : "", name_of(&top[i], name, sizeof name),
                 top[i].value);
    }
    if (above)
        doctor_say(t->k, VERDICT_WARN, check, remedy, "%zu subscriptions have %s: %s%s", above, what, names,
                   above > TOP ? " ..." : "");
    else
        doctor_say(t->k, VERDICT_PASS, check, NULL, "no subscription has %s", what);
}

static void say_hot_spots(struct talk *t)
{
    if (!get(t, "/metrics"))
        return;
    if (t->answer.status != 200) {
        doctor_say(t->k, VERDICT_WARN, "metrics", "Give --token, of a role that may read them (docs/access.md)",
                   "%s/metrics answers %d", server_url(t->k->in), t->answer.status);
        return;
    }
    say_hot(t, "backlog", "leat_backlog_events", BACKLOG_MUCH,
            "See whether the subscriber is slow or down: `leat explain ID` of one of its events", "a long backlog");
    say_hot(t, "parked", "leat_parked_events", 1, "`leat dlq list` says why; `leat dlq redrive` sends them again",
            "parked events");
}

void doctor_server(struct doctor *k)
{
    struct talk t = {.k = k, .client = client_new(k->in)};
    if (!t.client)
        return;
    client_tell(t.client, &t.told);
    say_listeners(k);
    if (say_alive(&t)) {
        say_ready(&t);
        say_version(&t);
        say_hot_spots(&t);
    }
    buf_fini(&t.answer.body);
    client_free(t.client);
}
