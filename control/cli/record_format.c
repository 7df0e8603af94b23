/* SPDX-License-Identifier: Apache-2.0 */
/* Records to text. */
#include "control/cli/record_format.h"

#include "shm/base/json.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define LETTERS "tpoTkvh%"
#define ESCAPES "ntr\\c"

int mr_record_format_parse(struct mr_record_format *format, const char *text, bool custom, struct millrace_error *err)
{
    static const char *const forms[] = {"text", "json", "hex"};

    format->custom = NULL;
    for (uint32_t i = 0; i < 3; i++) {
        if (strcmp(text, forms[i]) == 0) {
            format->form = (enum mr_record_form)i;
            return 0;
        }
    }
    if (!custom)
        return mr_err(err, EINVAL, "--format %s: it must be text, json or hex", text);
    if (strchr(text, '%') == NULL)
        return mr_err(err, EINVAL, "--format %s: it must be text, json, hex, or a format with %%t %%p %%o %%T %%k %%v %%h", text);
    for (const char *at = text; *at != '\0'; at++) {
        if (*at == '%' && (at[1] == '\0' || strchr(LETTERS, at[1]) == NULL))
            return mr_err(err, EINVAL, "--format: '%%%.1s' is not known; known are %%t topic, %%p partition, %%o offset, %%T timestamp, %%k key, "
                          "%%v value, %%h headers, %%%%", at + 1);
        if (*at == '\\' && (at[1] == '\0' || strchr(ESCAPES, at[1]) == NULL))
            return mr_err(err, EINVAL, "--format: '\\%.1s' is not known; known are \\n \\t \\r \\\\ and, at the end, \\c for no newline", at + 1);
        if (*at == '\\' && at[1] == 'c' && at[2] != '\0')
            return mr_err(err, EINVAL, "--format: \\c (no newline) stands only at the end");
        if (*at == '%' || *at == '\\')
            at++;
    }
    format->form = MR_RECORD_CUSTOM;
    format->custom = text;
    return 0;
}

static void write_base64(FILE *out, const uint8_t *p, size_t bytes)
{
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    fputc('"', out);
    for (size_t i = 0; i < bytes; i += 3) {
        uint32_t word = (uint32_t)p[i] << 16;
        word |= i + 1 < bytes ? (uint32_t)p[i + 1] << 8 : 0;
        word |= i + 2 < bytes ? p[i + 2] : 0;
        fputc(digit[word >> 18], out);
        fputc(digit[word >> 12 & 63], out);
        fputc(i + 1 < bytes ? digit[word >> 6 & 63] : '=', out);
        fputc(i + 2 < bytes ? digit[word & 63] : '=', out);
    }
    fputc('"', out);
}

static void write_member(FILE *out, const char *name, const void *data, size_t bytes)
{
    if (data == NULL) {
        fprintf(out, "\"%s\":null", name);
    } else if (mr_utf8_valid(data, bytes)) {
        fprintf(out, "\"%s\":", name);
        mr_json_write(out, data, bytes);
    } else {
        fprintf(out, "\"%s_base64\":", name);
        write_base64(out, data, bytes);
    }
}

static void write_json(FILE *out, const char *topic, const struct millrace_record *record, mr_record_header_get *header_get)
{
    struct millrace_header header;

    fputs("{\"topic\":", out);
    mr_json_write(out, topic, strlen(topic));
    fprintf(out, ",\"partition\":%" PRId32 ",\"offset\":%" PRIu64 ",\"timestamp\":%" PRId64 ",", record->partition, record->offset,
            record->timestamp_ms);
    write_member(out, "key", record->key, record->key_bytes);
    fputc(',', out);
    write_member(out, "value", record->value, record->value_bytes);
    if (record->header_count > 0) {
        fputs(",\"headers\":[", out);
        for (uint32_t i = 0; i < record->header_count && header_get(record, i, &header) == 0; i++) {
            fputs(i == 0 ? "{" : ",{", out);
            write_member(out, "key", header.key, header.key_bytes);
            fputc(',', out);
            write_member(out, "value", header.value, header.value_bytes);
            fputc('}', out);
        }
        fputc(']', out);
    }
    fputs("}\n", out);
}

static void write_hex_bytes(FILE *out, const uint8_t *p, size_t bytes)
{
    static const char digit[] = "0123456789abcdef";

    if (p == NULL)
        fputc('-', out);
    for (size_t i = 0; p != NULL && i < bytes; i++) {
        fputc(digit[p[i] >> 4], out);
        fputc(digit[p[i] & 15], out);
    }
}

static void write_letter(char letter, FILE *out, const char *topic, const struct millrace_record *record, mr_record_header_get *header_get)
{
    struct millrace_header header;

    switch (letter) {
    case 't':
        fputs(topic, out);
        break;
    case 'p':
        fprintf(out, "%" PRId32, record->partition);
        break;
    case 'o':
        fprintf(out, "%" PRIu64, record->offset);
        break;
    case 'T':
        fprintf(out, "%" PRId64, record->timestamp_ms);
        break;
    case 'k':
        if (record->key != NULL)
            fwrite(record->key, 1, record->key_bytes, out);
        break;
    case 'v':
        if (record->value != NULL)
            fwrite(record->value, 1, record->value_bytes, out);
        break;
    case 'h':
        for (uint32_t i = 0; i < record->header_count && header_get(record, i, &header) == 0; i++) {
            if (i > 0)
                fputc(',', out);
            fwrite(header.key, 1, header.key_bytes, out);
            fputc('=', out);
            if (header.value != NULL)
                fwrite(header.value, 1, header.value_bytes, out);
        }
        break;
    case '%':
        fputc('%', out);
        break;
    }
}

static void write_custom(const char *at, FILE *out, const char *topic, const struct millrace_record *record, mr_record_header_get *header_get)
{
    for (; *at != '\0'; at++) {
        if (*at == '%') {
            write_letter(*++at, out, topic, record, header_get);
        } else if (*at == '\\') {
            at++;
            if (*at == 'c')
                return;
            fputc(*at == 'n' ? '\n' : *at == 't' ? '\t' : *at == 'r' ? '\r' : '\\', out);
        } else {
            fputc(*at, out);
        }
    }
    fputc('\n', out);
}

void mr_record_format_write(const struct mr_record_format *format, FILE *out, const char *topic, const struct millrace_record *record,
                            mr_record_header_get *header_get)
{
    switch (format->form) {
    case MR_RECORD_TEXT:
        if (record->value != NULL)
            fwrite(record->value, 1, record->value_bytes, out);
        fputc('\n', out);
        break;
    case MR_RECORD_JSON:
        write_json(out, topic, record, header_get);
        break;
    case MR_RECORD_HEX:
        if (record->key != NULL) {
            write_hex_bytes(out, record->key, record->key_bytes);
            fputc(':', out);
        }
        write_hex_bytes(out, record->value, record->value_bytes);
        fputc('\n', out);
        break;
    case MR_RECORD_CUSTOM:
        write_custom(format->custom, out, topic, record, header_get);
        break;
    }
}
