/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/segment/segment.h"

#define DIGITS 20

void mr_segment_name(char name[MR_SEGMENT_NAME_BYTES_MAX], uint64_t base_offset, const char *suffix)
{
    size_t suffix_bytes = strlen(suffix);

    mr_assert(DIGITS + 1 + suffix_bytes < MR_SEGMENT_NAME_BYTES_MAX);
    for (int i = DIGITS - 1; i >= 0; i--) {
        name[i] = (char)('0' + base_offset % 10);
        base_offset /= 10;
    }
    name[DIGITS] = '.';
    memcpy(name + DIGITS + 1, suffix, suffix_bytes + 1);
}

bool mr_segment_name_parse(const char *name, const char *suffix, uint64_t *base_offset)
{
    uint64_t value = 0;

    for (int i = 0; i < DIGITS; i++) {
        if (name[i] < '0' || name[i] > '9')
            return false;
        uint64_t digit = (uint64_t)(name[i] - '0');
        if (value > (INT64_MAX - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *base_offset = value;
    return name[DIGITS] == '.' && strcmp(name + DIGITS + 1, suffix) == 0;
}
