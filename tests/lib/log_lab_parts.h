/* SPDX-License-Identifier: Apache-2.0
 *
 * What log_lab.c (steps) and log_oracle.c (checks) share.
 */
#ifndef LEAT_TESTS_LOG_LAB_PARTS_H
#define LEAT_TESTS_LOG_LAB_PARTS_H

#include "log_lab.h"

struct lab_object_memory {
    char name[32], value[160];
};
/* The object that this record is to hold. */
void lab_object(const struct lab_record *r, struct lab_object_memory *m, struct log_object *out);
const struct lab_record *lab_object_at(const struct lab_model *m, enum log_object_type type, uint32_t number,
                                       uint64_t sequence);
void lab_model_add(struct lab_model *m, const struct lab_record *r);
void lab_model_cut(struct lab_model *m, size_t count);

#endif
