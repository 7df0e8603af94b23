/* SPDX-License-Identifier: Apache-2.0 */
#include "control/cli/when.h"

#include "control/cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DIGITS "0123456789"

/* "Z", "+01:00", "-0530" or nothing. @return false: something else. */
static bool parse_zone(const char *text, bool *local, int64_t *offset_ms)
{
    unsigned hours, minutes = 0;
    int used = 0;

    *local = text[0] == '\0';
    *offset_ms = 0;
    if (*local || strcmp(text, "Z") == 0)
        return true;
    if (text[0] != '+' && text[0] != '-')
        return false;
    if (sscanf(text + 1, "%2u:%2u%n", &hours, &minutes, &used) != 2 && sscanf(text + 1, "%2u%2u%n", &hours, &minutes, &used) != 2)
        return false;
    if (text[1 + used] != '\0' || hours > 14 || minutes > 59)
        return false;
    *offset_ms = (text[0] == '-' ? -1 : 1) * ((int64_t)hours * 60 + minutes) * 60000;
    return true;
}

static bool parse_iso(const char *text, int64_t *time_ms)
{
    struct tm tm = {.tm_isdst = -1};
    int used = 0, more = 0;
    int64_t fraction_ms = 0, offset_ms;
    bool local;

    if (strspn(text, DIGITS) != 4 || sscanf(text, "%4d-%2d-%2d%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &used) != 3)
        return false;
    text += used;
    if (text[0] == 'T' || text[0] == ' ') {
        if (sscanf(text + 1, "%2d:%2d%n", &tm.tm_hour, &tm.tm_min, &used) != 2)
            return false;
        text += 1 + used;
        if (text[0] == ':') {
            if (sscanf(text, ":%2d%n", &tm.tm_sec, &more) != 1)
                return false;
            text += more;
        }
        if (text[0] == '.') {
            size_t digits = strspn(text + 1, DIGITS);
            if (digits == 0 || digits > 9)
                return false;
            fraction_ms = (int64_t)(strtod(text, NULL) * 1000);
            text += 1 + digits;
        }
    }
    if (!parse_zone(text, &local, &offset_ms))
        return false;
    if (tm.tm_mon < 1 || tm.tm_mon > 12 || tm.tm_mday < 1 || tm.tm_mday > 31 || tm.tm_hour < 0 || tm.tm_hour > 23 || tm.tm_min < 0 ||
        tm.tm_min > 59 || tm.tm_sec < 0 || tm.tm_sec > 60)
        return false;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    int day = tm.tm_mday;
    time_t seconds = local ? mktime(&tm) : timegm(&tm);
    if (tm.tm_mday != day && tm.tm_sec != 60)
        return false; /* 31 February moved on to March */
    *time_ms = (int64_t)seconds * 1000 + fraction_ms - offset_ms;
    return true;
}

int mr_when_parse(struct mr_when *when, const char *text, int64_t now_ms, struct millrace_error *err)
{
    uint64_t number;

    memset(when, 0, sizeof *when);
    if (strcmp(text, "end") == 0) {
        when->kind = MR_WHEN_END;
        return 0;
    }
    if (strcmp(text, "start") == 0) {
        when->kind = MR_WHEN_START;
        return 0;
    }
    if (text[0] != '\0' && text[strspn(text, DIGITS)] == '\0' && strlen(text) < 19) {
        when->kind = MR_WHEN_OFFSET;
        when->offset = strtoull(text, NULL, 10);
        return 0;
    }
    when->kind = MR_WHEN_TIME;
    bool is_marked = text[0] == '@';
    const char *time = text + is_marked;
    /* "-1" alone has meant the end, or the beginning, in other programs: a time without its unit is taken with @ only. */
    if (time[0] == '-' && (is_marked || time[1 + strspn(time + 1, DIGITS ".")] != '\0') && mr_cli_parse_duration(time + 1, &number)) {
        when->time_ms = now_ms - (int64_t)(number / 1000000);
        return 0;
    }
    if (is_marked && time[0] != '\0' && time[strspn(time, DIGITS)] == '\0' && strlen(time) < 16) {
        when->time_ms = (int64_t)strtoull(time, NULL, 10);
        return 0;
    }
    if (parse_iso(time, &when->time_ms))
        return 0;
    return mr_err(err, EINVAL, "'%s' is not a place in a log: it must be start, end, an offset, or a time: 2026-01-31T12:00:00Z (no zone: local time), "
                  "-10m (ago), or @1767225600000 (ms since 1970)", text);
}
