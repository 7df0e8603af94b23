/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/limits/limits.h"

#include "shm/base/crc32c.h"

#include <errno.h>
#include <string.h>

#define COPY_BYTES (64u << 20)
#define COPIES     5u
#define CRC_ROUNDS 64u

int mr_limit_memcpy(double *bytes_per_second, bool *huge, struct millrace_error *err)
{
    struct mr_measure_pages from = {0}, to = {0};
    uint64_t best_ns = UINT64_MAX;

    if (mr_measure_pages_map(&from, COPY_BYTES) != 0 || mr_measure_pages_map(&to, COPY_BYTES) != 0) {
        mr_measure_pages_release(&from);
        return mr_err(err, ENOMEM, "no memory to copy %u MiB", COPY_BYTES >> 20);
    }
    memset(from.memory, 1, COPY_BYTES);
    memset(to.memory, 2, COPY_BYTES);
    for (uint32_t i = 0; i < COPIES; i++) {
        uint64_t start = mr_measure_now_ns();
        memcpy(to.memory, from.memory, COPY_BYTES);
        __asm__ __volatile__("" : : "r"(to.memory) : "memory");
        uint64_t taken_ns = mr_measure_now_ns() - start;
        best_ns = taken_ns < best_ns ? taken_ns : best_ns;
    }
    *huge = from.huge && to.huge;
    *bytes_per_second = (double)COPY_BYTES * 1e9 / (double)best_ns;
    mr_measure_pages_release(&from);
    mr_measure_pages_release(&to);
    return 0;
}

double mr_limit_crc32c(uint32_t range_bytes, uint64_t duration_ns)
{
    static uint8_t range[64u << 10];
    uint64_t start = mr_measure_now_ns(), now = start, bytes = 0;
    uint32_t crc = 0;

    if (range_bytes > sizeof range)
        range_bytes = sizeof range;
    memset(range, 0x5a, range_bytes);
    while (now - start < duration_ns) {
        for (uint32_t i = 0; i < CRC_ROUNDS; i++) {
            crc ^= mr_crc32c(0, range, range_bytes); /* independent ones, as the batches of a pass are */
            __asm__ __volatile__("" : "+r"(crc) : : "memory");
        }
        bytes += (uint64_t)CRC_ROUNDS * range_bytes;
        now = mr_measure_now_ns();
    }
    return (double)bytes * 1e9 / (double)(now - start);
}
