/* SPDX-License-Identifier: Apache-2.0 */
/* Text to records: the other direction of record_format.c. */
#include "control/cli/record_format.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static int8_t hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return (int8_t)(c - '0');
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? (int8_t)(c - 'a' + 10) : -1;
}

/* Decoding never grows: room for the whole line is enough for all its parts. */
static int make_room(struct mr_record_line *line, size_t bytes, struct millrace_error *err)
{
    line->memory_used = 0;
    if (bytes <= line->memory_bytes)
        return 0;
    uint8_t *memory = realloc(line->memory, bytes);
    if (memory == NULL)
        return mr_err(err, ENOMEM, "a line of %zu bytes does not fit into memory", bytes);
    line->memory = memory;
    line->memory_bytes = bytes;
    return 0;
}

static int decode_hex(struct mr_record_line *line, const char *text, size_t bytes, const void **data, size_t *data_bytes,
                      struct millrace_error *err)
{
    uint8_t *out = line->memory + line->memory_used;

    *data = NULL;
    *data_bytes = 0;
    if (bytes == 1 && text[0] == '-')
        return 0;
    if (bytes % 2 != 0)
        return mr_err(err, EINVAL, "hexadecimal of an odd number of digits (%zu)", bytes);
    for (size_t i = 0; i < bytes; i += 2) {
        int8_t high = hex_digit(text[i]), low = hex_digit(text[i + 1]);
        if (high < 0 || low < 0)
            return mr_err(err, EINVAL, "'%.2s' at column %zu is not hexadecimal", text + i, i + 1);
        out[i / 2] = (uint8_t)(high << 4 | low);
    }
    *data = out;
    *data_bytes = bytes / 2;
    line->memory_used += bytes / 2;
    return 0;
}

static int8_t base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return (int8_t)(c - 'A');
    if (c >= 'a' && c <= 'z')
        return (int8_t)(c - 'a' + 26);
    if (c >= '0' && c <= '9')
        return (int8_t)(c - '0' + 52);
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static int decode_base64(struct mr_record_line *line, const char *text, size_t bytes, const void **data, size_t *data_bytes,
                         struct millrace_error *err)
{
    uint8_t *out = line->memory + line->memory_used;
    uint32_t word = 0, bits = 0;
    size_t count = 0;

    while (bytes > 0 && text[bytes - 1] == '=')
        bytes--;
    for (size_t i = 0; i < bytes; i++) {
        int8_t digit = base64_digit(text[i]);
        if (digit < 0)
            return mr_err(err, EINVAL, "'%.1s' is not base64", text + i);
        word = word << 6 | (uint32_t)digit;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            out[count++] = (uint8_t)(word >> bits);
        }
    }
    *data = out;
    *data_bytes = count;
    line->memory_used += count;
    return 0;
}

/* Member `name` as a string, or `name`_base64. @return 0, also when it is missing or null: *data is NULL then. */
static int json_bytes(struct mr_record_line *line, const json_t *object, const char *name, const char *base64_name, const void **data,
                      size_t *data_bytes, struct millrace_error *err)
{
    const json_t *plain = json_object_get(object, name), *coded = json_object_get(object, base64_name);

    *data = NULL;
    *data_bytes = 0;
    if (coded != NULL) {
        if (!json_is_string(coded))
            return mr_err(err, EINVAL, "\"%s\" must be a string", base64_name);
        return decode_base64(line, json_string_value(coded), json_string_length(coded), data, data_bytes, err);
    }
    if (plain == NULL || json_is_null(plain))
        return 0;
    if (!json_is_string(plain))
        return mr_err(err, EINVAL, "\"%s\" must be a string or null (write numbers and objects as text)", name);
    *data = json_string_value(plain);
    *data_bytes = json_string_length(plain);
    return 0;
}

static int json_headers(struct mr_record_line *line, const json_t *list, struct millrace_error *err)
{
    const void *data;
    size_t bytes, count = json_array_size(list);

    if (!json_is_array(list) || count > MR_RECORD_HEADERS_MAX)
        return mr_err(err, EINVAL, "\"headers\" must be a list of at most %d objects with \"key\" and \"value\"", MR_RECORD_HEADERS_MAX);
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_array_get(list, i);
        int rc = json_bytes(line, item, "key", "key_base64", &data, &bytes, err);
        if (rc == 0 && data == NULL)
            return mr_err(err, EINVAL, "a header without \"key\"");
        line->header[i].key = data;
        line->header[i].key_bytes = (uint32_t)bytes;
        if (rc == 0)
            rc = json_bytes(line, item, "value", "value_base64", &data, &bytes, err);
        if (rc != 0)
            return rc;
        line->header[i].value = data;
        line->header[i].value_bytes = (uint32_t)bytes;
    }
    line->record.headers = line->header;
    line->record.header_count = (uint32_t)count;
    return 0;
}

static int read_json(struct mr_record_line *line, const char *text, size_t bytes, struct millrace_error *err)
{
    struct millrace_record *record = &line->record;
    json_error_t why;

    json_decref(line->json);
    json_t *object = line->json = json_loadb(text, bytes, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &why);
    if (object == NULL)
        return mr_err(err, EINVAL, "not JSON: %s (column %d)", why.text, why.column);
    if (!json_is_object(object))
        return mr_err(err, EINVAL, "a JSON line must be an object such as {\"key\":\"k\",\"value\":\"v\"}");
    if (json_object_get(object, "value") == NULL && json_object_get(object, "value_base64") == NULL)
        return mr_err(err, EINVAL, "\"value\" is missing (null makes a tombstone)");
    int rc = json_bytes(line, object, "key", "key_base64", &record->key, &record->key_bytes, err);
    if (rc == 0)
        rc = json_bytes(line, object, "value", "value_base64", &record->value, &record->value_bytes, err);
    const json_t *partition = json_object_get(object, "partition"), *time = json_object_get(object, "timestamp");
    if (rc == 0 && partition != NULL) {
        if (!json_is_integer(partition) || json_integer_value(partition) < -1 || json_integer_value(partition) > INT32_MAX)
            return mr_err(err, EINVAL, "\"partition\" must be a partition's number, or -1 for any");
        record->partition = (int32_t)json_integer_value(partition);
    }
    if (rc == 0 && time != NULL) {
        if (!json_is_integer(time) || json_integer_value(time) < -1)
            return mr_err(err, EINVAL, "\"timestamp\" must be milliseconds since 1970");
        record->timestamp_ms = json_integer_value(time);
    }
    const json_t *headers = json_object_get(object, "headers");
    if (rc == 0 && headers != NULL)
        rc = json_headers(line, headers, err);
    return rc;
}

int mr_record_line_read(struct mr_record_line *line, const struct mr_record_format *format, char *text, size_t bytes, const char *separator,
                        struct millrace_error *err)
{
    struct millrace_record *record = &line->record;

    memset(record, 0, sizeof *record);
    record->partition = MILLRACE_PARTITION_ANY;
    record->timestamp_ms = -1;
    int rc = make_room(line, bytes + 1, err);
    if (rc != 0)
        return rc;
    if (format->form == MR_RECORD_JSON)
        return read_json(line, text, bytes, err);
    if (format->form == MR_RECORD_HEX) {
        char *colon = memchr(text, ':', bytes);
        if (colon != NULL) {
            rc = decode_hex(line, text, (size_t)(colon - text), &record->key, &record->key_bytes, err);
            bytes -= (size_t)(colon + 1 - text);
            text = colon + 1;
        }
        return rc != 0 ? rc : decode_hex(line, text, bytes, &record->value, &record->value_bytes, err);
    }
    if (separator != NULL) {
        char *at = memmem(text, bytes, separator, strlen(separator));
        if (at == NULL)
            return mr_err(err, EINVAL, "there is no key separator '%s' in it", separator);
        record->key = text;
        record->key_bytes = (size_t)(at - text);
        at += strlen(separator);
        bytes -= (size_t)(at - text);
        text = at;
    }
    record->value = text;
    record->value_bytes = bytes;
    return 0;
}

void mr_record_line_release(struct mr_record_line *line)
{
    json_decref(line->json);
    free(line->memory);
    memset(line, 0, sizeof *line);
}
