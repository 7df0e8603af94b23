/* SPDX-License-Identifier: Apache-2.0 */
/* What the fuzz targets share. Each <name>_fuzz.c has LLVMFuzzerTestOneInput() and fuzz_seed(), which makes its corpus: so the corpus never
 * goes stale. corpus_main.c runs a target as a plain test; with -Dfuzz=true (clang) libFuzzer runs it, and
 * `<name>_corpus DIR` writes the seeds for it. */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/** The n-th seed. @return its bytes; 0 when there are no more. */
size_t fuzz_seed(unsigned n, uint8_t *data, size_t room);

#define fuzz_must(condition) ((condition) ? (void)0 : abort())

/** An allocation of exactly these bytes, so that the address sanitizer sees one byte too far. Free it. */
static inline uint8_t *fuzz_copy(const uint8_t *data, size_t bytes)
{
    uint8_t *copy = calloc(1, bytes);
    fuzz_must(copy != NULL || bytes == 0);
    if (bytes > 0)
        memcpy(copy, data, bytes);
    return copy;
}

/** Read every byte; negative lengths are null. */
static inline uint64_t fuzz_touch(const void *p, int64_t bytes)
{
    uint64_t sum = 0;
    for (int64_t i = 0; i < bytes; i++)
        sum += ((const uint8_t *)p)[i];
    return sum;
}

/** Keep the compiler from dropping the reads. */
static inline void fuzz_keep(uint64_t sum)
{
    __asm__ __volatile__("" : : "r"(sum));
}

#endif
