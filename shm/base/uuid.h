/* SPDX-License-Identifier: Apache-2.0 */
/* Identities: 16 random bytes, as a version-4 UUID (RFC 9562), written as 32 lower-case hex digits. */
#ifndef MR_BASE_UUID_H
#define MR_BASE_UUID_H

#include <stdbool.h>
#include <stdint.h>

#include "shm/base/err.h"

#define MR_UUID_CHARS 32

struct mr_uuid {
    uint8_t bytes[16];
};

/** A new one, from the kernel's random bytes. @return 0; -EIO */
int mr_uuid_random(struct mr_uuid *id) MR_MUST_USE;

/** @param text holds MR_UUID_CHARS + 1 */
void mr_uuid_text(const struct mr_uuid *id, char *text);

/** @return false: NULL, or not exactly 32 hex digits */
bool mr_uuid_parse(const char *text, struct mr_uuid *id) MR_MUST_USE;

bool mr_uuid_equal(const struct mr_uuid *a, const struct mr_uuid *b);

#endif
