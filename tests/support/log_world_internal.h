/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the simulated storage share: log_world.c (the machine), log_world_records.c (what is written and checked). */
#ifndef MR_TESTS_SUPPORT_LOG_WORLD_INTERNAL_H
#define MR_TESTS_SUPPORT_LOG_WORLD_INTERNAL_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/log_world.h"

#define WORLD_FAIL(...) (fprintf(stderr, "log_world: " __VA_ARGS__), fprintf(stderr, "\n"), abort())

static inline void *must(void *memory)
{
    if (memory == NULL)
        WORLD_FAIL("no memory");
    return memory;
}

static inline void directory_path(uint32_t directory, char *path, size_t room)
{
    snprintf(path, room, "/d%u", directory);
}

static inline void partition_path(const struct log_world_partition *p, char *path, size_t room)
{
    snprintf(path, room, "/d%u/%s", p->directory, p->name);
}

static inline void segment_path(const struct log_world_partition *p, uint64_t base_offset, const char *suffix, char *path, size_t room)
{
    snprintf(path, room, "/d%u/%s/%020" PRIu64 "%s", p->directory, p->name, base_offset, suffix);
}

#endif
