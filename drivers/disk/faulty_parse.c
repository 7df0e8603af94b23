/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/disk/faulty_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "shm/base/bits.h"

#define RULE_BYTES_MAX 63u

static const char *const operation_words[MR_FAULT_OPERATION_COUNT] = {"write", "sync",     "dirsync",  "cold", "read",
                                                                      "open",  "allocate", "truncate", "name"};

static const struct {
    const char *word;
    int error;
} errors[] = {{"EIO", EIO},       {"ENOSPC", ENOSPC}, {"EROFS", EROFS},  {"EDQUOT", EDQUOT},
              {"EMFILE", EMFILE}, {"ENOMEM", ENOMEM}, {"EINVAL", EINVAL}};

/** Digits only, so that signs and spaces are not taken for numbers. @return what follows, or NULL. */
static char *number(char *text, uint64_t *value)
{
    char *end;
    if (text[0] < '0' || text[0] > '9')
        return NULL;
    errno = 0;
    *value = strtoull(text, &end, 10);
    return errno == 0 ? end : NULL;
}

static bool duration(char *text, uint64_t *ns)
{
    static const struct {
        const char *unit;
        uint64_t ns;
    } units[] = {{"us", 1000}, {"ms", 1000000}, {"s", 1000000000}};
    char *unit = number(text, ns);
    for (uint32_t i = 0; unit != NULL && i < MR_COUNT_OF(units); i++) {
        if (strcmp(unit, units[i].unit) == 0 && *ns <= (uint64_t)3600 * 1000000000 / units[i].ns) {
            *ns *= units[i].ns;
            return true;
        }
    }
    return false;
}

#define REFUSE(...) mr_err(err, EINVAL, MR_FAULTS_VARIABLE ": " __VA_ARGS__)

static int parse_what(char *what, const char *text, struct mr_fault_rule *rule, struct millrace_error *err)
{
    uint64_t sectors;
    bool is_write = rule->operation == MR_FAULT_WRITE;
    for (uint32_t i = 0; i < MR_COUNT_OF(errors); i++) {
        if (strcmp(what, errors[i].word) == 0) {
            rule->error = errors[i].error;
            return 0;
        }
    }
    if (is_write && strncmp(what, "torn=", 5) == 0) {
        const char *rest = number(what + 5, &sectors);
        if (rest == NULL || rest[0] != '\0' || sectors > MR_DISK_WRITE_BYTES_MAX / 512)
            return REFUSE("in '%s' torn= needs a number of sectors from 0 to %u", text, MR_DISK_WRITE_BYTES_MAX / 512);
        rule->torn_sectors = (int32_t)sectors;
        rule->error = EIO;
        return 0;
    }
    if (is_write && strncmp(what, "slow=", 5) == 0) {
        if (!duration(what + 5, &rule->slow_ns))
            return REFUSE("in '%s' slow= needs a time such as 50ms (us, ms or s; up to an hour)", text);
        return 0;
    }
    return REFUSE("in '%s' the fault '%s' is none of EIO ENOSPC EROFS EDQUOT EMFILE ENOMEM EINVAL%s", text, what,
                  is_write ? " torn=SECTORS slow=TIME" : " (torn= and slow= are for write)");
}

static int parse_rule(const char *text, struct mr_fault_rule *rule, struct millrace_error *err)
{
    char copy[RULE_BYTES_MAX + 1];
    strcpy(copy, text);
    *rule = (struct mr_fault_rule){.operation = MR_FAULT_OPERATION_COUNT, .torn_sectors = -1};
    if (strncmp(copy, "slow:", 5) == 0) {
        rule->operation = MR_FAULT_WRITE;
        rule->nth = 1;
        rule->for_ever = true;
        return duration(copy + 5, &rule->slow_ns) ? 0 : REFUSE("'%s' needs a time such as slow:20ms (us, ms or s; up to an hour)", text);
    }
    char *nth = strchr(copy, ':'), *what = nth != NULL ? strchr(nth + 1, ':') : NULL;
    if (what == NULL)
        return REFUSE("'%s' is not OPERATION:COUNT:FAULT (as in write:17:EIO) nor slow:TIME", text);
    *nth++ = '\0';
    *what++ = '\0';
    for (uint32_t i = 0; i < MR_FAULT_OPERATION_COUNT; i++)
        if (strcmp(copy, operation_words[i]) == 0)
            rule->operation = i;
    if (rule->operation == MR_FAULT_OPERATION_COUNT)
        return REFUSE("in '%s' the operation '%s' is none of write sync dirsync cold read open allocate truncate name", text, copy);
    char *rest = number(nth, &rule->nth);
    if (rest != NULL && rest[0] == '+') {
        rule->for_ever = true;
        rest++;
    }
    if (rest == NULL || rest[0] != '\0' || rule->nth == 0)
        return REFUSE("in '%s' the count '%s' is not a number from 1 on, or one followed by + (that one and all after it)", text, nth);
    return parse_what(what, text, rule, err);
}

int mr_fault_parse(const char *text, struct mr_fault_rule rules[MR_FAULT_RULES_MAX], uint32_t *count, struct millrace_error *err)
{
    *count = 0;
    while (true) {
        char rule[RULE_BYTES_MAX + 1];
        size_t bytes = strcspn(text, ",");
        if (bytes > RULE_BYTES_MAX)
            return REFUSE("the rule '%.20s...' is longer than %u characters", text, RULE_BYTES_MAX);
        if (*count == MR_FAULT_RULES_MAX)
            return REFUSE("more than %u rules", MR_FAULT_RULES_MAX);
        memcpy(rule, text, bytes);
        rule[bytes] = '\0';
        int rc = parse_rule(rule, &rules[*count], err);
        if (rc != 0)
            return rc;
        ++*count;
        if (text[bytes] == '\0')
            return 0;
        text += bytes + 1;
    }
}
