/* SPDX-License-Identifier: Apache-2.0 */
/* One value from its text, and what a key allows in words: the two must say the same, so they stand side by side. */
#include "shm/base/config.h"

#include "shm/base/bits.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct unit {
    const char *name;
    int64_t factor;
};

static const struct unit byte_units[] = {
    {"", 1},           {"b", 1},          {"k", 1 << 10},     {"kb", 1 << 10},  {"kib", 1 << 10},
    {"m", 1 << 20},    {"mb", 1 << 20},   {"mib", 1 << 20},   {"g", 1 << 30},   {"gb", 1 << 30},
    {"gib", 1 << 30},  {"t", 1LL << 40},  {"tb", 1LL << 40},  {"tib", 1LL << 40},
};
static const struct unit time_units[] = {
    {"", 1}, {"ms", 1}, {"s", 1000}, {"m", 60 * 1000}, {"h", 3600 * 1000}, {"d", 24 * 3600 * 1000},
};
static const struct unit plain_units[] = {{"", 1}};

static int parse_number(const char *text, const struct unit *units, size_t unit_count, int64_t *out)
{
    char *end;

    if ((text[0] < '0' || text[0] > '9') && !(text[0] == '-' && text[1] >= '0' && text[1] <= '9'))
        return -EINVAL;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    if (errno != 0)
        return -EINVAL;
    for (size_t i = 0; i < unit_count; i++) {
        int64_t value;
        if (strcasecmp(end, units[i].name) != 0)
            continue;
        if (__builtin_mul_overflow((int64_t)number, units[i].factor, &value))
            return -EINVAL;
        *out = value;
        return 0;
    }
    return -EINVAL;
}

static int parse_int(const struct mr_config_key *key, const char *text, int64_t *out)
{
    int64_t value;
    int rc;

    if (key->automatic && strcmp(text, "auto") == 0) {
        *out = 0;
        return 0;
    }
    if (key->type == MR_CONFIG_BYTES)
        rc = parse_number(text, byte_units, MR_COUNT_OF(byte_units), &value);
    else if (key->type == MR_CONFIG_MS)
        rc = parse_number(text, time_units, MR_COUNT_OF(time_units), &value);
    else
        rc = parse_number(text, plain_units, MR_COUNT_OF(plain_units), &value);
    if (rc != 0)
        return rc;
    if (key->none == 0 || value != key->none) {
        if (value < key->min || (key->max != 0 && value > key->max))
            return -EINVAL;
        if (key->power_of_two && !mr_is_power_of_two((uint64_t)value))
            return -EINVAL;
        if (key->multiple != 0 && value % key->multiple != 0)
            return -EINVAL;
    }
    *out = value;
    return 0;
}

static int parse_string(const struct mr_config_key *key, const char *text, char *out)
{
    size_t bytes = strlen(text);

    if (bytes >= key->capacity_bytes)
        return -EINVAL;
    if (key->words != NULL) {
        bool known = key->path && text[0] == '/';
        for (const char *const *word = key->words; *word != NULL && !known; word++)
            known = strcmp(text, *word) == 0;
        if (!known)
            return -EINVAL;
    }
    memcpy(out, text, bytes + 1);
    return 0;
}

static int parse_enum(const struct mr_config_key *key, const char *text, uint32_t *out)
{
    for (uint32_t i = 0; key->words[i] != NULL; i++) {
        if (strcmp(text, key->words[i]) == 0) {
            *out = key->first + i;
            return 0;
        }
    }
    return -EINVAL;
}

/* Two passes, check then store, so that a refused value leaves the member as it was. */
static int parse_list(const struct mr_config_key *key, const char *text, struct mr_config_list *out)
{
    for (int store = 0; store < 2; store++) {
        uint32_t count = 0;
        const char *at = text;
        for (bool more = true; more;) {
            const char *comma = strchr(at, ',');
            const char *end = comma != NULL ? comma : at + strlen(at);
            more = comma != NULL;
            while (at < end && (*at == ' ' || *at == '\t'))
                at++;
            while (end > at && (end[-1] == ' ' || end[-1] == '\t'))
                end--;
            size_t bytes = (size_t)(end - at);
            if (bytes == 0 || bytes >= MR_CONFIG_ITEM_MAX || count == MR_CONFIG_LIST_MAX)
                return -EINVAL;
            if (store) {
                memcpy(out->item[count], at, bytes);
                out->item[count][bytes] = '\0';
            }
            count++;
            if (more)
                at = comma + 1;
        }
        if (count < (uint32_t)key->min)
            return -EINVAL;
        if (store)
            out->count = count;
    }
    return 0;
}

static int parse_cpu(const char **at, uint16_t *out)
{
    char *end;

    if (**at < '0' || **at > '9')
        return -EINVAL;
    unsigned long cpu = strtoul(*at, &end, 10);
    if (cpu > 4095)
        return -EINVAL;
    *at = end;
    *out = (uint16_t)cpu;
    return 0;
}

static int add_cpu(struct mr_config_cpus *cpus, uint16_t cpu)
{
    if (cpus->count == MR_CONFIG_CPUS_MAX)
        return -EINVAL;
    for (uint32_t i = 0; i < cpus->count; i++) {
        if (cpus->cpu[i] == cpu)
            return -EINVAL; /* two spinning threads on one core: never meant */
    }
    cpus->cpu[cpus->count++] = cpu;
    return 0;
}

static int parse_cpus(const struct mr_config_key *key, const char *text, struct mr_config_cpus *out)
{
    struct mr_config_cpus cpus = {0};
    const char *at = text;

    if (key->automatic && strcmp(text, "auto") == 0) {
        *out = cpus;
        return 0;
    }
    if (text[strspn(text, "0123456789")] == '\0') {
        int64_t count;
        if (parse_number(text, plain_units, MR_COUNT_OF(plain_units), &count) != 0 || count < 1 || count > MR_CONFIG_CPUS_MAX)
            return -EINVAL;
        cpus.count = (uint32_t)count;
        *out = cpus;
        return 0;
    }
    cpus.pinned = true;
    for (;;) {
        uint16_t first, last;
        if (parse_cpu(&at, &first) != 0)
            return -EINVAL;
        last = first;
        if (*at == '-') {
            at++;
            if (parse_cpu(&at, &last) != 0 || last < first)
                return -EINVAL;
        }
        for (uint32_t cpu = first; cpu <= last; cpu++) {
            if (add_cpu(&cpus, (uint16_t)cpu) != 0)
                return -EINVAL;
        }
        if (*at == '\0')
            break;
        if (*at++ != ',')
            return -EINVAL;
    }
    *out = cpus;
    return 0;
}

int mr_config_parse(const struct mr_config_key *key, const char *text, void *member)
{
    switch (key->type) {
    case MR_CONFIG_INT:
    case MR_CONFIG_BYTES:
    case MR_CONFIG_MS:
        return parse_int(key, text, member);
    case MR_CONFIG_BOOL:
        if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
            return -EINVAL;
        *(bool *)member = text[0] == 't';
        return 0;
    case MR_CONFIG_ENUM:
        return parse_enum(key, text, member);
    case MR_CONFIG_STRING:
        return parse_string(key, text, member);
    case MR_CONFIG_LIST:
        return parse_list(key, text, member);
    case MR_CONFIG_CPUS:
        return parse_cpus(key, text, member);
    }
    return -EINVAL;
}

static void join_words(const struct mr_config_key *key, char *out, size_t out_bytes)
{
    size_t used = 0;

    out[0] = '\0';
    for (uint32_t i = 0; key->words[i] != NULL; i++) {
        bool last = key->words[i + 1] == NULL && !key->path;
        int n = snprintf(out + used, out_bytes - used, "%s%s", i == 0 ? "" : last ? " or " : ", ", key->words[i]);
        if (n < 0 || (size_t)n >= out_bytes - used)
            return;
        used += (size_t)n;
    }
    if (key->path)
        snprintf(out + used, out_bytes - used, " or an absolute path");
}

const char *mr_config_allowed(const struct mr_config_key *key, char *out, size_t out_bytes)
{
    static const char *const unit_hint[] = {
        [MR_CONFIG_INT] = "", [MR_CONFIG_BYTES] = " bytes (64k, 32MiB, 4g also work)", [MR_CONFIG_MS] = " milliseconds (5ms, 2s also work)"};
    char range[64], more[96] = "";

    switch (key->type) {
    case MR_CONFIG_INT:
    case MR_CONFIG_BYTES:
    case MR_CONFIG_MS:
        if (key->max != 0)
            snprintf(range, sizeof range, "%lld to %lld", (long long)key->min, (long long)key->max);
        else
            snprintf(range, sizeof range, "at least %lld", (long long)key->min);
        if (key->multiple != 0)
            snprintf(more, sizeof more, ", a%s multiple of %lld", key->power_of_two ? " power of two and" : "", (long long)key->multiple);
        else if (key->power_of_two)
            snprintf(more, sizeof more, ", a power of two");
        int n = snprintf(out, out_bytes, "%s%s%s%s", range, unit_hint[key->type], more, key->automatic ? ", or auto" : "");
        if (key->none != 0 && n > 0 && (size_t)n < out_bytes)
            snprintf(out + n, out_bytes - (size_t)n, ", or %lld for no limit", (long long)key->none);
        break;
    case MR_CONFIG_BOOL:
        snprintf(out, out_bytes, "true or false");
        break;
    case MR_CONFIG_ENUM:
        join_words(key, out, out_bytes);
        break;
    case MR_CONFIG_STRING:
        if (key->words != NULL)
            join_words(key, out, out_bytes);
        else
            snprintf(out, out_bytes, "up to %zu characters", key->capacity_bytes - 1);
        break;
    case MR_CONFIG_LIST:
        snprintf(out, out_bytes, "%lld to %d items separated by commas", (long long)key->min, MR_CONFIG_LIST_MAX);
        break;
    case MR_CONFIG_CPUS:
        snprintf(out, out_bytes, "a count of 1 to %d, or a cpu list without repetition such as 0,2 or 4-7%s", MR_CONFIG_CPUS_MAX,
                 key->automatic ? ", or auto" : "");
        break;
    }
    return out;
}
