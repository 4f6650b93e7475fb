/* SPDX-License-Identifier: Apache-2.0
 *
 * Values of parameters; see params.h.
 */
#include "params.h"

#include "text.h"

enum err param_number(const struct bus_param *p, uint64_t least, uint64_t most, uint64_t *out, struct diag *d)
{
    uint64_t n;
    if (decimal_parse(slice_str(p->value), most, &n) || n < least)
        return diag_set(d, ERR_INVALID, "%s is \"%s\"; it is a number from %llu to %llu", p->name, p->value,
                        (unsigned long long)least, (unsigned long long)most);
    *out = n;
    return OK;
}

enum err param_bytes(const struct bus_param *p, uint64_t least, uint64_t most, uint64_t *out, struct diag *d)
{
    struct diag why = {0};
    uint64_t n;
    enum err e = bytes_parse(slice_str(p->value), &n, &why);
    if (e)
        return diag_set(d, e, "%s: %s", p->name, why.text);
    if (n < least && most == UINT64_MAX)
        return diag_set(d, ERR_INVALID, "%s is \"%s\"; it is from %llu bytes on", p->name, p->value,
                        (unsigned long long)least);
    if (n < least || n > most)
        return diag_set(d, ERR_INVALID, "%s is \"%s\"; it is from %llu bytes to %llu", p->name, p->value,
                        (unsigned long long)least, (unsigned long long)most);
    *out = n;
    return OK;
}

enum err param_duration(const struct bus_param *p, uint64_t *ns, struct diag *d)
{
    struct diag why = {0};
    uint64_t n;
    enum err e = duration_parse(slice_str(p->value), &n, &why);
    if (e)
        return diag_set(d, e, "%s: %s", p->name, why.text);
    *ns = n;
    return OK;
}
