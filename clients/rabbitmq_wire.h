/* SPDX-License-Identifier: Apache-2.0
 *
 * Frames of AMQP 0.9.1, to and from bytes. Methods and properties are rabbitmq-c's to read and write; what stands
 * around them is read here, and what the library would follow blindly is looked at before: lengths, and how deep tables
 * lie in tables. Pure.
 *
 *     frame   = type (1) channel (2) size (4) payload (size) 0xCE
 *     method  = class (2) method (2) arguments            header = class (2) 0 (2) body size (8) flags (2) properties
 */
#ifndef LEAT_CLIENTS_RABBITMQ_WIRE_H
#define LEAT_CLIENTS_RABBITMQ_WIRE_H

#include <stdint.h>

#include "buf.h"
#include "err.h"
#include "slice.h"

#define RABBITMQ_FRAME_REST 8u      /* of a frame beside its payload */
#define RABBITMQ_FRAME_MIN 4096u    /* what every peer must take (the specification's frame-min-size) */
#define RABBITMQ_TABLE_DEPTH_MAX 32 /* tables in tables: the library reads them by recursion */

enum rabbitmq_frame_type { RABBITMQ_METHOD = 1, RABBITMQ_HEADER = 2, RABBITMQ_BODY = 3, RABBITMQ_HEARTBEAT = 8 };

struct rabbitmq_frame {
    enum rabbitmq_frame_type type;
    uint16_t channel;
    uint32_t method;      /* METHOD: class and method as the library numbers them */
    uint64_t body_bytes;  /* HEADER */
    struct slice payload; /* METHOD: the arguments; HEADER: flags and properties; BODY: itself; a piece of the input */
};

/* The frame at the start of `bytes`; *used: its length. ERR_PENDING: not whole yet. ERR_PROTOCOL, with what is wrong in
 * *why (a literal). `max`: of a frame, as agreed. */
enum err rabbitmq_frame_read(struct slice bytes, uint32_t max, struct rabbitmq_frame *out, size_t *used,
                             const char **why) must_check;
/* Whether the field table at the start of `bytes` is whole and lies at most RABBITMQ_TABLE_DEPTH_MAX deep. */
bool rabbitmq_table_good(struct slice bytes);
/* The same of a HEADER's payload: of the properties, whether those can be read that stand before and in its table. */
bool rabbitmq_properties_good(struct slice payload);

/* Appended to *b whole, or not at all: ERR_TOO_LARGE beyond `max`, ERR_INVALID for a short string (a name of a
 * header, too) of more than 255 bytes, ERR_NOMEM, ERR_FULL beyond the buffer's limit. `decoded`, `properties`: the
 * library's structs. */
enum err rabbitmq_put_method(struct buf *b, uint16_t channel, uint32_t method, const void *decoded,
                             uint32_t max) must_check;
enum err rabbitmq_put_header(struct buf *b, uint16_t channel, uint64_t body_bytes, const void *properties,
                             uint32_t max) must_check;
enum err rabbitmq_put_body(struct buf *b, uint16_t channel, struct slice body, uint32_t max) must_check;
enum err rabbitmq_put_heartbeat(struct buf *b) must_check;

#endif
