/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/base/crc32c.h"

#include <isa-l/crc.h>

/* ISA-L takes an int; longer ranges go in pieces. */
#define PIECE_BYTES (1u << 30)

uint32_t mr_crc32c_long(uint32_t crc, const void *data, size_t bytes)
{
    const unsigned char *p = data;
    uint32_t state = ~crc;

    while (bytes > 0) {
        size_t piece = bytes < PIECE_BYTES ? bytes : PIECE_BYTES;
        state = crc32_iscsi((unsigned char *)(uintptr_t)p, (int)piece, state);
        p += piece;
        bytes -= piece;
    }
    return ~state;
}
