/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/segment/segment.h"

#define DIGITS 20

void mr_segment_name(char name[MR_SEGMENT_NAME_BYTES_MAX], uint64_t base_offset, const char *suffix)
{
    size_t end = DIGITS + 1;

    for (int i = DIGITS - 1; i >= 0; i--) {
        name[i] = (char)('0' + base_offset % 10);
        base_offset /= 10;
    }
    name[DIGITS] = '.';
    for (; *suffix != 0; suffix++) { /* by hand: the sans-I/O cores link this, and may call no string functions */
        mr_assert(end + 1 < MR_SEGMENT_NAME_BYTES_MAX);
        name[end++] = *suffix;
    }
    name[end] = 0;
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
    if (name[DIGITS] != '.')
        return false;
    for (name += DIGITS + 1; *name == *suffix && *name != 0; name++)
        suffix++;
    return *name == *suffix;
}
