/* SPDX-License-Identifier: Apache-2.0
 *
 * CRC32C (Castagnoli; RFC 3720 appendix B.4): what stored records are checked with. By the processor's instruction
 * where there is one, else by tables; the same result.
 */
#ifndef LEAT_CRC32C_H
#define LEAT_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Goes on from `crc`; 0 to begin. crc32c(crc32c(0, a), b) is that of a and b joined. */
uint32_t crc32c(uint32_t crc, const void *bytes, size_t len);

#endif
