/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the bench tools: clock, log-linear histogram, bitmap, small HTTP and number parsing. */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

static inline uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static inline void die(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));
static inline void die(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    exit(2);
}

/* In seconds. */
static inline double now(void)
{
    return (double)now_ns() / 1e9;
}

/* Of the whole process so far, in seconds. */
static inline double cpu(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static inline void must(bool good, const char *what)
{
    if (!good)
        die("%s failed", what);
}

static inline void *xrealloc(void *p, size_t n)
{
    p = realloc(p, n);
    if (!p)
        die("out of memory");
    return p;
}

/* ---- histogram of nanoseconds: 64 buckets per power of two, so a bucket is at most 1.6 % wide ---- */
enum { HIST_BUCKETS = 36 * 64 };
struct hist {
    uint64_t n, min, max, bucket[HIST_BUCKETS];
};

static inline unsigned hist_index(uint64_t v)
{
    if (v < 64)
        return (unsigned)v;
    unsigned e = 63u - (unsigned)__builtin_clzll(v);
    unsigned i = ((e - 5) << 6) + (unsigned)((v >> (e - 6)) & 63);
    return i < HIST_BUCKETS ? i : HIST_BUCKETS - 1;
}

static inline uint64_t hist_upper(unsigned i)
{ /* the largest value that falls in bucket i */
    if (i < 64)
        return i;
    unsigned e = (i >> 6) + 5;
    return ((uint64_t)(64 + (i & 63) + 1) << (e - 6)) - 1;
}

/* Relaxed atomics: one writer thread, but any thread may read or clear. */
#define RLX_ADD(p, v) __atomic_fetch_add((p), (v), __ATOMIC_RELAXED)
#define RLX_GET(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define RLX_SET(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)

static inline void hist_add(struct hist *h, uint64_t v)
{
    uint64_t n = RLX_ADD(&h->n, 1);
    if (n == 0 || v < RLX_GET(&h->min))
        RLX_SET(&h->min, v);
    if (v > RLX_GET(&h->max))
        RLX_SET(&h->max, v);
    RLX_ADD(&h->bucket[hist_index(v)], 1);
}

static inline void hist_merge(struct hist *to, const struct hist *from)
{
    uint64_t n = RLX_GET(&from->n);
    if (!n)
        return;
    if (to->n == 0 || from->min < to->min)
        to->min = from->min;
    if (from->max > to->max)
        to->max = from->max;
    to->n += n;
    for (unsigned i = 0; i < HIST_BUCKETS; i++)
        to->bucket[i] += RLX_GET(&from->bucket[i]);
}

/* The value at quantile q (0..1): its bucket's upper edge, never above the maximum seen. */
static inline uint64_t hist_quantile(const struct hist *h, double q)
{
    if (!h->n)
        return 0;
    uint64_t want = (uint64_t)(q * (double)h->n + 0.9999999), seen = 0;
    if (want < 1)
        want = 1;
    if (want > h->n)
        want = h->n;
    for (unsigned i = 0; i < HIST_BUCKETS; i++) {
        seen += h->bucket[i];
        if (seen >= want)
            return hist_upper(i) < h->max ? hist_upper(i) : h->max;
    }
    return h->max;
}

static inline int hist_json(char *out, size_t cap, const struct hist *h)
{
    return snprintf(out, cap,
                    "{\"n\":%llu,\"min\":%.1f,\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f}",
                    (unsigned long long)h->n, (double)h->min / 1e3, (double)hist_quantile(h, .5) / 1e3,
                    (double)hist_quantile(h, .9) / 1e3, (double)hist_quantile(h, .99) / 1e3,
                    (double)hist_quantile(h, .999) / 1e3, (double)h->max / 1e3);
}

/* ---- bitmap over event numbers, zero pages until touched ---- */
static inline uint64_t *bitmap_new(uint64_t bits)
{
    void *p =
        mmap(NULL, (bits + 63) / 64 * 8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        die("cannot map a bitmap of %llu bits", (unsigned long long)bits);
    return p;
}
static inline void bitmap_clear(uint64_t *m, uint64_t bits)
{
    madvise(m, (bits + 63) / 64 * 8, MADV_DONTNEED);
}
/* Sets bit i; true if it was set before. */
static inline bool bitmap_set(uint64_t *m, uint64_t i)
{
    uint64_t bit = 1ull << (i & 63);
    return (__atomic_fetch_or(&m[i >> 6], bit, __ATOMIC_RELAXED) & bit) != 0;
}
static inline bool bitmap_get(const uint64_t *m, uint64_t i)
{
    return m[i >> 6] >> (i & 63) & 1;
}

/* ---- parsing ---- */
/* The value of "name=value"; NULL when the word is another one. */
static inline const char *value_of(const char *word, const char *name)
{
    size_t n = strlen(name);
    return strncmp(word, name, n) == 0 && word[n] == '=' ? word + n + 1 : NULL;
}

/* The digits at p, before end; *ok says whether there was at least one. Saturates. */
static inline uint64_t parse_u64(const char *p, const char *end, bool *ok)
{
    uint64_t v = 0;
    const char *start = p;
    for (; p < end && *p >= '0' && *p <= '9'; p++) {
        if (v > (UINT64_MAX - 9) / 10)
            v = UINT64_MAX / 10 - 1;
        v = v * 10 + (uint64_t)(*p - '0');
    }
    if (ok)
        *ok = p > start;
    return v;
}

/* One header line "name: value" at p; returns the start of the next line, or NULL at the blank line. */
struct header {
    const char *name, *value;
    size_t name_len, value_len;
};
static inline const char *next_header(const char *p, const char *end, struct header *h)
{
    const char *nl = memchr(p, '\n', (size_t)(end - p));
    if (!nl)
        return NULL;
    const char *stop = nl > p && nl[-1] == '\r' ? nl - 1 : nl;
    if (stop == p)
        return NULL;
    const char *colon = memchr(p, ':', (size_t)(stop - p));
    if (!colon) {
        h->name = h->value = p;
        h->name_len = h->value_len = 0;
        return nl + 1;
    }
    h->name = p;
    h->name_len = (size_t)(colon - p);
    const char *v = colon + 1;
    while (v < stop && (*v == ' ' || *v == '\t'))
        v++;
    while (stop > v && (stop[-1] == ' ' || stop[-1] == '\t'))
        stop--;
    h->value = v;
    h->value_len = (size_t)(stop - v);
    return nl + 1;
}
#define HEADER_IS(h, lit) ((h)->name_len == sizeof(lit) - 1 && strncasecmp((h)->name, lit, sizeof(lit) - 1) == 0)

/* Whether a comma-separated header value contains the token, in any case. */
static inline bool has_token(const char *v, size_t n, const char *token)
{
    size_t t = strlen(token);
    for (size_t i = 0; i + t <= n; i++)
        if (strncasecmp(v + i, token, t) == 0 && (i == 0 || v[i - 1] == ' ' || v[i - 1] == ',') &&
            (i + t == n || v[i + t] == ' ' || v[i + t] == ',' || v[i + t] == ';'))
            return true;
    return false;
}

/* A chunked body at p: decodes in place when `decode`. Returns the encoded length, 0 while incomplete,
 * -1 when malformed. *body_len is the decoded length. */
static inline ssize_t chunked_body(char *p, size_t n, bool decode, size_t *body_len)
{
    size_t in = 0, out = 0;
    for (;;) {
        char *nl = memchr(p + in, '\n', n - in);
        if (!nl)
            return n - in > 1024 ? -1 : 0;
        char *q = p + in, *stop = nl;
        uint64_t size = 0;
        int digits = 0;
        for (; q < stop; q++, digits++) {
            int d = *q >= '0' && *q <= '9'   ? *q - '0'
                    : *q >= 'a' && *q <= 'f' ? *q - 'a' + 10
                    : *q >= 'A' && *q <= 'F' ? *q - 'A' + 10
                                             : -1;
            if (d < 0)
                break;
            size = size * 16 + (uint64_t)d;
        }
        if (!digits || digits > 8)
            return -1;
        in = (size_t)(nl + 1 - p);
        if (size == 0) { /* trailers up to the blank line */
            for (;;) {
                nl = memchr(p + in, '\n', n - in);
                if (!nl)
                    return 0;
                size_t line = (size_t)(nl - (p + in));
                bool blank = line == 0 || (line == 1 && p[in] == '\r');
                in = (size_t)(nl + 1 - p);
                if (blank) {
                    *body_len = out;
                    return (ssize_t)in;
                }
            }
        }
        if (n - in < size + 2)
            return 0;
        if (p[in + size] != '\r' || p[in + size + 1] != '\n')
            return -1;
        if (decode)
            memmove(p + out, p + in, size);
        out += size;
        in += size + 2;
    }
}

#endif
