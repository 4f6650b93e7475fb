/* SPDX-License-Identifier: Apache-2.0
 *
 * The ways in which base/crc32c.c computes, apart, so that a test can hold them against each other.
 */
#ifndef LEAT_BASE_CRC32C_PATHS_H
#define LEAT_BASE_CRC32C_PATHS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whether this processor has the instruction. */
bool crc32c_instruction_there(void);
/* Only when it has. */
uint32_t crc32c_by_instruction(uint32_t crc, const void *bytes, size_t len);
uint32_t crc32c_by_tables(uint32_t crc, const void *bytes, size_t len);

#endif
