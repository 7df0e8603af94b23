/* SPDX-License-Identifier: Apache-2.0 */
/* From lines to values: who may set what, in which order, and what is said when it is wrong. */
#include "shm/base/config.h"

#include "shm/base/bits.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define NAME_MAX_BYTES 256 /* longer names are unknown anyway */

/* Where an assignment stands, for the message. */
struct place {
    enum mr_config_origin_kind from;
    const char *file;
    uint32_t line;
};

static void place_print(const struct place *place, char *out, size_t out_bytes)
{
    if (place->from == MR_CONFIG_FROM_FILE)
        snprintf(out, out_bytes, "%s:%u", place->file, place->line);
    else
        snprintf(out, out_bytes, "%s", place->from == MR_CONFIG_FROM_SET ? "--set" : "embedded default");
}

/* Edits from a to b: insert, delete, change a letter, swap two neighbours (the commonest slip). Names are short, and this runs once per
 * mistake. @return bound + 1 for names that are too long to be one of ours. */
static uint32_t edit_distance(const char *a, const char *b, uint32_t bound)
{
    uint32_t rows[3][NAME_MAX_BYTES];
    uint32_t *before = rows[0], *above = rows[1], *row = rows[2];
    size_t a_bytes = strlen(a), b_bytes = strlen(b);

    if (b_bytes >= NAME_MAX_BYTES || a_bytes >= NAME_MAX_BYTES)
        return bound + 1;
    for (uint32_t j = 0; j <= b_bytes; j++)
        row[j] = j;
    for (uint32_t i = 1; i <= a_bytes; i++) {
        uint32_t *oldest = before;
        before = above;
        above = row;
        row = oldest;
        row[0] = i;
        for (uint32_t j = 1; j <= b_bytes; j++) {
            uint32_t best = above[j - 1] + (tolower((unsigned char)a[i - 1]) != b[j - 1]); /* ours are all lower case */
            best = best < above[j] + 1 ? best : above[j] + 1;
            best = best < row[j - 1] + 1 ? best : row[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            row[j] = best;
        }
    }
    return row[b_bytes];
}

const char *mr_config_nearest(const char *name, const char *const *candidates, uint32_t count)
{
    size_t name_bytes = strlen(name);
    uint32_t best_distance = MR_CONFIG_SUGGEST_MAX;
    const char *best = NULL;

    if (name_bytes / 3 < best_distance)
        best_distance = name_bytes < 3 ? 1 : (uint32_t)(name_bytes / 3);
    best_distance++; /* the first to be strictly nearer wins */
    for (uint32_t i = 0; i < count; i++) {
        uint32_t distance = edit_distance(name, candidates[i], best_distance);
        if (distance < best_distance) {
            best_distance = distance;
            best = candidates[i];
        }
    }
    return best;
}

static bool family_matches(const char *pattern, const char *name)
{
    size_t bytes = strlen(pattern);

    if (bytes > 0 && pattern[bytes - 1] == '*')
        return strncmp(pattern, name, bytes - 1) == 0;
    return strcmp(pattern, name) == 0;
}

static bool is_one_of(const char *text, const char *const *words)
{
    for (; words != NULL && *words != NULL; words++) {
        if (strcmp(text, *words) == 0)
            return true;
    }
    return false;
}

static const struct mr_config_key *find_key(const struct mr_config_table *table, const char *name, bool topic)
{
    for (uint32_t i = 0; i < table->key_count; i++) {
        const char *known = topic ? table->keys[i].topic_name : table->keys[i].name;
        if (known != NULL && strcmp(known, name) == 0)
            return &table->keys[i];
    }
    return NULL;
}

static const struct mr_config_refusal *find_refusal(const struct mr_config_table *table, const char *name, const char *text)
{
    for (uint32_t i = 0; i < table->refusal_count; i++) {
        const struct mr_config_refusal *refusal = &table->refusals[i];
        if (family_matches(refusal->name, name) && (refusal->value == NULL || strcmp(refusal->value, text) == 0))
            return refusal;
    }
    return NULL;
}

static int say_unknown(const struct mr_config_table *table, const char *name, const char *text, bool topic, struct millrace_error *err)
{
    const char *known[MR_CONFIG_KEYS_MAX];
    uint32_t count = 0;

    for (uint32_t i = 0; i < table->key_count; i++) {
        const char *candidate = topic ? table->keys[i].topic_name : table->keys[i].name;
        if (candidate != NULL)
            known[count++] = candidate;
    }
    const char *nearest = mr_config_nearest(name, known, count);
    const char *other = topic ? NULL : "run 'millrace config --all' for every key";
    if (nearest != NULL)
        return mr_err(err, EINVAL, "unknown %s '%s' (value '%s'): did you mean '%s'?", topic ? "topic config" : "key", name, text, nearest);
    if (other != NULL)
        return mr_err(err, EINVAL, "unknown key '%s' (value '%s'): %s", name, text, other);

    char all[256] = "";
    for (uint32_t i = 0; i < count; i++) {
        size_t used = strlen(all);
        snprintf(all + used, sizeof all - used, "%s%s", i == 0 ? "" : ", ", known[i]);
    }
    return mr_err(err, EINVAL, "unknown topic config '%s' (value '%s'): known are %s", name, text, all);
}

static int say_bad_value(const struct mr_config_key *key, const char *name, const char *text, struct millrace_error *err)
{
    char allowed[256];

    return mr_err(err, EINVAL, "%s=%s is not allowed: it must be %s", name, text, mr_config_allowed(key, allowed, sizeof allowed));
}

/* A refusal may concern a key that is known (one word of an enum) or not known; an accepted value of the latter asks for nothing. */
static int check_refused(const struct mr_config_table *table, const char *name, const char *text, bool *asks_nothing,
                         struct millrace_error *err)
{
    const struct mr_config_refusal *refusal = find_refusal(table, name, text);

    *asks_nothing = false;
    if (refusal == NULL)
        return 0;
    if (refusal->value == NULL && is_one_of(text, refusal->accepted)) {
        *asks_nothing = true;
        return 0;
    }
    return mr_err(err, EINVAL, "%s=%s is refused: %s", name, text, refusal->reason);
}

static bool note_ignored(struct mr_config *config, const char *name)
{
    const struct mr_config_table *table = config->table;

    for (uint32_t i = 0; i < table->ignored_count; i++) {
        if (!family_matches(table->ignored[i], name))
            continue;
        size_t used = strlen(config->ignored);
        snprintf(config->ignored + used, sizeof config->ignored - used, "%s%s", used == 0 ? "" : ", ", name);
        config->ignored_count++;
        return true;
    }
    return false;
}

static int assign(struct mr_config *config, const char *name, const char *text, const struct place *place, struct millrace_error *err)
{
    bool asks_nothing;

    int rc = check_refused(config->table, name, text, &asks_nothing, err);
    if (rc != 0 || asks_nothing)
        return rc;
    const struct mr_config_key *key = find_key(config->table, name, false);
    if (key == NULL)
        return note_ignored(config, name) ? 0 : say_unknown(config->table, name, text, false, err);

    struct mr_config_value *value = &config->value[key - config->table->keys];
    if (place->from == MR_CONFIG_FROM_FILE && value->from == MR_CONFIG_FROM_FILE)
        return mr_err(err, EINVAL, "%s is given twice, first at line %u: keep one", name, value->line);
    if (strlen(text) >= sizeof value->text)
        return mr_err(err, EINVAL, "the value of %s is longer than %d characters", name, MR_CONFIG_TEXT_MAX - 1);
    if (mr_config_parse(key, text, (char *)config->target + key->offset) != 0)
        return say_bad_value(key, name, text, err);
    snprintf(value->text, sizeof value->text, "%s", text);
    value->from = place->from;
    value->line = place->line;
    return 0;
}

static int assign_at(struct mr_config *config, const char *name, const char *text, const struct place *place, struct millrace_error *err)
{
    char where[MR_CONFIG_ITEM_MAX + 16];

    int rc = assign(config, name, text, place, err);
    if (rc != 0) {
        place_print(place, where, sizeof where);
        mr_err_within(err, "%s", where);
    }
    return rc;
}

void mr_config_init(struct mr_config *config, const struct mr_config_table *table, void *target)
{
    memset(config, 0, sizeof *config);
    mr_assert(table->key_count <= MR_CONFIG_KEYS_MAX);
    config->table = table;
    config->target = target;
    for (uint32_t i = 0; i < table->key_count; i++) {
        const struct mr_config_key *key = &table->keys[i];
        int rc = mr_config_parse(key, key->initial, (char *)target + key->offset);
        mr_assert(rc == 0);
        snprintf(config->value[i].text, sizeof config->value[i].text, "%s", key->initial);
    }
}

int mr_config_set_embedded(struct mr_config *config, const char *name, const char *text, struct millrace_error *err)
{
    struct place place = {.from = MR_CONFIG_FROM_EMBEDDED};

    return assign_at(config, name, text, &place, err);
}

/* Cut "key = value" at the first = or : and trim both. @return false: there is no separator, or no key before it. */
static bool split(char *line, char **name, char **text)
{
    char *separator = line + strcspn(line, "=:");
    char *end = separator;

    while (end > line && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    if (*separator == '\0' || end == line)
        return false;
    *text = separator + 1;
    *end = '\0';
    *name = line;
    *text += strspn(*text, " \t");
    end = *text + strlen(*text);
    while (end > *text && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\r'))
        end--;
    *end = '\0';
    return true;
}

int mr_config_load_text(struct mr_config *config, const char *text, const char *file_name, struct millrace_error *err)
{
    struct place place = {.from = MR_CONFIG_FROM_FILE, .file = file_name};

    snprintf(config->file, sizeof config->file, "%s", file_name);
    for (const char *at = text; *at != '\0';) {
        char line[MR_CONFIG_TEXT_MAX + NAME_MAX_BYTES];
        char *name, *value;
        size_t bytes = strcspn(at, "\n");
        const char *next = at[bytes] == '\n' ? at + bytes + 1 : at + bytes;

        place.line++;
        while (bytes > 0 && (*at == ' ' || *at == '\t' || *at == '\r')) {
            at++;
            bytes--;
        }
        if (bytes == 0 || *at == '#' || *at == '!') {
            at = next;
            continue;
        }
        if (bytes >= sizeof line)
            return mr_err(err, EINVAL, "%s:%u: the line is longer than %zu characters", file_name, place.line, sizeof line - 1);
        memcpy(line, at, bytes);
        line[bytes] = '\0';
        if (!split(line, &name, &value))
            return mr_err(err, EINVAL, "%s:%u: '%s' is not of the form key=value (comments begin with # or !)", file_name, place.line, line);
        int rc = assign_at(config, name, value, &place, err);
        if (rc != 0)
            return rc;
        at = next;
    }
    return 0;
}

int mr_config_set(struct mr_config *config, const char *assignment, struct millrace_error *err)
{
    struct place place = {.from = MR_CONFIG_FROM_SET};
    char line[MR_CONFIG_TEXT_MAX + NAME_MAX_BYTES];
    char *name, *value;

    if (strlen(assignment) >= sizeof line)
        return mr_err(err, EINVAL, "--set: longer than %zu characters", sizeof line - 1);
    snprintf(line, sizeof line, "%s", assignment);
    if (!split(line, &name, &value))
        return mr_err(err, EINVAL, "--set '%s' is not of the form key=value", assignment);
    return assign_at(config, name, value, &place, err);
}

int mr_config_set_topic(const struct mr_config_table *table, void *topic_target, size_t target_offset, const char *name, const char *text,
                        struct millrace_error *err)
{
    const struct mr_config_key *key = find_key(table, name, true);
    bool asks_nothing;

    if (key == NULL) {
        int rc = check_refused(table, name, text, &asks_nothing, err);
        return rc != 0 || asks_nothing ? rc : say_unknown(table, name, text, true, err);
    }
    /* A word that this version refuses for the node is refused for a topic too. */
    const struct mr_config_refusal *refusal = find_refusal(table, key->name, text);
    if (refusal != NULL)
        return mr_err(err, EINVAL, "%s=%s is refused: %s", name, text, refusal->reason);
    mr_assert(key->offset >= target_offset);
    if (mr_config_parse(key, text, (char *)topic_target + (key->offset - target_offset)) != 0)
        return say_bad_value(key, name, text, err);
    return 0;
}

const char *mr_config_origin(const struct mr_config *config, uint32_t key_index, char *out, size_t out_bytes)
{
    const struct mr_config_value *value = &config->value[key_index];

    switch (value->from) {
    case MR_CONFIG_FROM_DEFAULT:
        snprintf(out, out_bytes, "default");
        break;
    case MR_CONFIG_FROM_EMBEDDED:
        snprintf(out, out_bytes, "default without --config");
        break;
    case MR_CONFIG_FROM_FILE:
        snprintf(out, out_bytes, "%s:%u", config->file, value->line);
        break;
    case MR_CONFIG_FROM_SET:
        snprintf(out, out_bytes, "--set");
        break;
    }
    return out;
}
