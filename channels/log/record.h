/* SPDX-License-Identifier: Apache-2.0
 *
 * Records and segment heads: bytes to values and back. Pure; no I/O. All numbers little-endian.
 *
 * A segment is one file, preallocated, named by the sequence of its first record in 20 decimal digits, ".seg":
 *
 *      0   8  "leatlog\n"
 *      8   4  version of the format, LOG_FORMAT
 *     12   4  CRC32C of the other 60 bytes
 *     16  16  the log's id: a segment of another log is none of ours
 *     32   8  sequence of the first record; of a compacted one: the first that it covers
 *     40   8  last sequence it covers, when it was compacted (then gaps are expected); else 0
 *     48   8  wall time of its making, ns
 *     56   4  size of the file as it was made, in units of 4096 bytes: a shorter file was cut by somebody
 *     60   4  0
 *     64      records, one behind the other; zeros after the last
 *
 * A compacted segment holds what was kept of the sequences that it covers: they may jump from record to record, but no
 * bytes lie between two, and its last record has the last sequence (a LOG_MARK that takes the number where nothing else
 * of that number is kept). So damage can be told from what was left out.
 *
 * A record:
 *
 *      0   4  bytes of the payload
 *      4   4  CRC32C of everything behind this field, payload included, padding not; begun with the log's id
 *      8   8  sequence: one more than the record before it, over all segments
 *     16   8  committed: all up to this sequence was on disk, for certain, when this one was written
 *     24   8  wall time, ns
 *     32   4  number of the channel; 0: the catalogue's
 *     36   4  spread: which partition it belongs to (slot.h)
 *     40   1  kind
 *     41   7  0
 *     48      payload, padded with zeros to a multiple of 8
 *
 * What `committed` is for. Behind a damaged record the next good one is looked for. If that one says that the damaged
 * sequence was committed, an acknowledged record is lost, and that is said. If no good one behind says so, the damage
 * is the tail of a write that nobody was told to be safe: cut.
 */
#ifndef LEAT_CHANNELS_LOG_RECORD_H
#define LEAT_CHANNELS_LOG_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"
#include "slice.h"

#define LOG_FORMAT 1
#define LOG_ID_BYTES 16
#define LOG_SEGMENT_HEAD 64
#define LOG_RECORD_HEAD 48
#define LOG_RECORD_CHECKED 8 /* where what a record's CRC covers begins */
#define LOG_ALIGN 8
#define LOG_SEQUENCE_MAX (1ull << 62) /* no log comes to that; with room to add to it */
#define LOG_PAYLOAD_MAX (300u << 20)  /* above CE_EVENT_BYTES_MAX with its attributes: more is damage */

enum log_kind {
    LOG_EVENT = 1,       /* payload: the event, ce_pack.h */
    LOG_OBJECT = 2,      /* payload: a channel or cursor as it is from now on (store.h) */
    LOG_OBJECT_GONE = 3, /* payload: likewise, its value empty */
    LOG_SNAPSHOT = 4,    /* payload: u64, how many LOG_OBJECT follow that are the whole catalogue; then u32 and u32,
                          * the next numbers of channels and of cursors */
    LOG_MARK = 5         /* no payload: only says what was committed */
};

struct log_head { /* of a segment */
    unsigned char id[LOG_ID_BYTES];
    uint64_t first, last;
    int64_t made_wall_ns;
    uint64_t size; /* bytes */
};

struct log_record {
    uint64_t sequence, committed;
    int64_t wall_ns;
    uint32_t channel, spread;
    enum log_kind kind;
    uint32_t payload_len;
};

/* What a record with this payload takes in the file. */
static inline uint64_t log_record_size(uint64_t payload_len)
{
    return LOG_RECORD_HEAD + ((payload_len + LOG_ALIGN - 1) & ~(uint64_t)(LOG_ALIGN - 1));
}

void log_head_encode(const struct log_head *h, unsigned char out[LOG_SEGMENT_HEAD]);
/* ERR_CORRUPT; ERR_UNSUPPORTED: of a later format. *d says what. */
enum err log_head_decode(const unsigned char in[LOG_SEGMENT_HEAD], struct log_head *out, struct diag *d) must_check;

/* Seals a record whose payload already lies at to + LOG_RECORD_HEAD: writes the head and the padding. */
void log_record_encode(const struct log_record *r, const unsigned char id[LOG_ID_BYTES], unsigned char *to);
/* The head at `in`, of which `len` bytes are there. OK: a head that may be one, *whole tells how many bytes the record
 * takes, and log_record_check is to be asked when they are there. ERR_NOTFOUND: zeros, as behind the last record.
 * ERR_CORRUPT: certainly none. ERR_PENDING: fewer bytes than a head. */
enum err log_record_peek(const unsigned char *in, size_t len, struct log_record *out, uint64_t *whole) must_check;
/* Whether the CRC holds; log_record_size(payload_len) bytes are there. */
bool log_record_check(const unsigned char *in, const unsigned char id[LOG_ID_BYTES]);
/* The same for one who has the record in pieces: crc32c goes on from the first over head and payload, from
 * LOG_RECORD_CHECKED on, and must come to the second. */
uint32_t log_record_crc_start(const unsigned char id[LOG_ID_BYTES]);
uint32_t log_record_crc(const unsigned char *head);

#endif
