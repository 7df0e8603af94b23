/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/base/uuid.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

int mr_uuid_random(struct mr_uuid *id)
{
    if (getrandom(id->bytes, sizeof id->bytes, 0) != (ssize_t)sizeof id->bytes)
        return -EIO;
    id->bytes[6] = (uint8_t)((id->bytes[6] & 0x0f) | 0x40);
    id->bytes[8] = (uint8_t)((id->bytes[8] & 0x3f) | 0x80);
    return 0;
}

void mr_uuid_text(const struct mr_uuid *id, char *text)
{
    for (uint32_t i = 0; i < sizeof id->bytes; i++)
        sprintf(text + 2 * i, "%02x", id->bytes[i]);
}

bool mr_uuid_parse(const char *text, struct mr_uuid *id)
{
    if (text == NULL || strlen(text) != 2 * sizeof id->bytes)
        return false;
    for (uint32_t i = 0; i < sizeof id->bytes; i++) {
        unsigned value;
        if (!isxdigit((unsigned char)text[2 * i]) || !isxdigit((unsigned char)text[2 * i + 1]) || sscanf(text + 2 * i, "%2x", &value) != 1)
            return false;
        id->bytes[i] = (uint8_t)value;
    }
    return true;
}

bool mr_uuid_equal(const struct mr_uuid *a, const struct mr_uuid *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}
