/* SPDX-License-Identifier: Apache-2.0
 *
 * `leat doctor`: the clock, and the limits under which the server runs; those of this process when none does.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "doctor.h"
#include "log_tool.h"
#include "text.h"

#define YEAR_NS (365.2425 * 24 * 3600 * (double)NS_PER_S)
#define FILES_WANTED 4096         /* a connection each, in and out */
#define MEMORY_WANTED (64u << 20) /* idle, a thousand subscriptions, and some load */

/* ---- the clock ---- */

/* How much faster the wall's clock goes than the monotonic one, as a part: it is being set while we look. */
static double clock_drift(void)
{
    const struct clock *c = clock_system();
    const struct timespec pause = {.tv_nsec = 50 * (long)NS_PER_MS};
    const uint64_t m = clock_monotonic_ns(c);
    const int64_t w = clock_wall_ns(c);
    nanosleep(&pause, NULL);
    const double dm = (double)(clock_monotonic_ns(c) - m), dw = (double)(clock_wall_ns(c) - w);
    return dw / dm - 1;
}

static void say_clock(struct doctor *k)
{
    struct timex t = {0};
    struct buf text;
    const int64_t now_ns = clock_wall_ns(clock_system());
    const double year = 1970 + (double)now_ns / YEAR_NS, drift = clock_drift();
    const bool synchronised = adjtimex(&t) >= 0 && !(t.status & STA_UNSYNC);
    buf_init(&text, 64);
    rfc3339_put(&text, now_ns, 0);
    buf_put_char(&text, '\0');
    const char *now = buf_error(&text) == OK ? text.ptr : "?";
    if (year < 2025 || year > 2100)
        doctor_say(k, VERDICT_FAIL, "clock", "Set it: retention, deadlines and certificates go by it", "it says %s",
                   now);
    else if (drift > 0.05 || drift < -0.05)
        doctor_say(k, VERDICT_WARN, "clock", "See who sets it; a time service should slew it",
                   "%s; it jumps against the monotonic clock", now);
    else if (!synchronised)
        doctor_say(k, VERDICT_WARN, "clock", "Run a time service (chrony, systemd-timesyncd), unless the host has one",
                   "%s, not synchronised as far as the kernel knows", now);
    else
        doctor_say(k, VERDICT_PASS, "clock", NULL, "%s, synchronised", now);
    buf_fini(&text);
}

/* ---- limits ---- */

/* /proc/PID/NAME, of the server or of this process. */
static FILE *open_proc(const struct doctor *k, const char *name)
{
    char path[64];
    if (k->pid > 0)
        snprintf(path, sizeof path, "/proc/%d/%s", k->pid, name);
    else
        snprintf(path, sizeof path, "/proc/self/%s", name);
    return fopen(path, "re");
}

static const char *whose(const struct doctor *k)
{
    return k->pid > 0 ? "the server" : "this shell";
}

static void say_files(struct doctor *k)
{
    char line[256], hard[32] = "";
    FILE *f = open_proc(k, "limits");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "Max open files %*31s %31s", hard) == 1)
            break;
    if (f)
        fclose(f);
    const uint64_t limit = strcmp(hard, "unlimited") == 0 ? UINT64_MAX : strtoull(hard, NULL, 10);
    if (!*hard)
        doctor_say(k, VERDICT_WARN, "open files", "Run this as the user of the server",
                   "the limit of %s cannot be read", whose(k));
    else if (limit < FILES_WANTED)
        doctor_say(k, VERDICT_WARN, "open files", "Raise it: LimitNOFILE=65536 in the unit, or ulimit -Hn 65536",
                   "%s may open %" PRIu64 " files; each connection takes one", whose(k), limit);
    else
        doctor_say(k, VERDICT_PASS, "open files", NULL, "%s may open %s", whose(k), hard);
}

/* The number in a file; false when there is none ("max"). */
static bool read_number(const char *path, uint64_t *out)
{
    char text[64] = "";
    FILE *f = fopen(path, "re");
    const bool read = f && fgets(text, sizeof text, f);
    if (f)
        fclose(f);
    text[strcspn(text, "\n")] = '\0';
    return read && decimal_parse(slice_str(text), UINT64_MAX, out) == OK;
}

/* How often the group ran out of it and processes were killed. */
static uint64_t killed(const char *group)
{
    char path[4300], line[128];
    unsigned long long n = 0;
    snprintf(path, sizeof path, "%s/memory.events", group);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "oom_kill %llu", &n) == 1)
            break;
    if (f)
        fclose(f);
    return n;
}

/* The least limit of the control group and those above it, and what was killed for it; false: there is none. */
static bool memory_limit(const struct doctor *k, uint64_t *limit, uint64_t *kills)
{
    static const char root[] = "/sys/fs/cgroup";
    char line[4096], group[4200] = "", file[4300];
    FILE *f = open_proc(k, "cgroup");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, "0::", 3) == 0)
            snprintf(group, sizeof group, "%s%.*s", root, (int)strcspn(line + 3, "\n"), line + 3);
    if (f)
        fclose(f);
    *limit = UINT64_MAX;
    *kills = 0;
    while (strlen(group) >= sizeof root - 1) {
        uint64_t n;
        snprintf(file, sizeof file, "%s/memory.max", group);
        if (read_number(file, &n) && n < *limit) {
            *limit = n;
            *kills = killed(group);
        }
        *strrchr(group, '/') = '\0';
    }
    return *limit != UINT64_MAX;
}

static void say_memory(struct doctor *k)
{
    uint64_t limit, kills;
    char text[32];
    if (!memory_limit(k, &limit, &kills)) {
        doctor_say(k, VERDICT_PASS, "memory", NULL, "no control group limits %s", whose(k));
        return;
    }
    bytes_text(limit, text);
    if (limit < MEMORY_WANTED)
        doctor_say(k, VERDICT_WARN, "memory", "Allow 64 MiB at least", "%s is limited to %s", whose(k), text);
    else if (kills)
        doctor_say(k, VERDICT_WARN, "memory", "Raise the limit, or lower --trace-bytes",
                   "the limit of %s was too little: %" PRIu64 " processes were killed", text, kills);
    else
        doctor_say(k, VERDICT_PASS, "memory", NULL, "%s is limited to %s", whose(k), text);
}

void doctor_machine(struct doctor *k)
{
    say_clock(k);
    say_files(k);
    say_memory(k);
}
