/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/base/json.h"

#include <stdio.h>
#include <string.h>

/* Length of the UTF-8 character at p, 0 when what stands there is none (RFC 3629: no surrogates, no overlong forms). */
static size_t utf8_bytes(const unsigned char *p, size_t left)
{
    static const struct {
        unsigned char first, last, second_min, second_max, bytes;
    } form[] = {
        {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3}, {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3},
        {0xee, 0xef, 0x80, 0xbf, 3}, {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };

    if (p[0] < 0x80)
        return 1;
    for (size_t i = 0; i < sizeof form / sizeof form[0]; i++) {
        if (p[0] < form[i].first || p[0] > form[i].last)
            continue;
        if (form[i].bytes > left || p[1] < form[i].second_min || p[1] > form[i].second_max)
            return 0;
        for (size_t k = 2; k < form[i].bytes; k++) {
            if ((p[k] & 0xc0) != 0x80)
                return 0;
        }
        return form[i].bytes;
    }
    return 0;
}

size_t mr_json_escape(const char *text, size_t bytes, char *out, size_t out_bytes)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t need = 0, kept = 0;

    for (size_t at = 0; at < bytes;) {
        char piece[8];
        size_t taken = utf8_bytes(p + at, bytes - at), piece_bytes;
        static const char special[] = "\"\\\n\r\t";
        static const char letter[] = "\"\\nrt";
        const char *found = taken == 1 && p[at] != 0 ? strchr(special, p[at]) : NULL;

        if (taken == 0) {
            taken = 1;
            piece_bytes = (size_t)snprintf(piece, sizeof piece, "\\ufffd");
        } else if (found != NULL) {
            piece_bytes = (size_t)snprintf(piece, sizeof piece, "\\%c", letter[found - special]);
        } else if (taken == 1 && (p[at] < 0x20 || p[at] == 0x7f)) {
            piece_bytes = (size_t)snprintf(piece, sizeof piece, "\\u%04x", p[at]);
        } else {
            memcpy(piece, p + at, taken);
            piece_bytes = taken;
        }
        /* Once one piece did not fit, none after it is kept: a prefix, not a selection. */
        if (kept == need && need + piece_bytes < out_bytes) {
            memcpy(out + kept, piece, piece_bytes);
            kept += piece_bytes;
        }
        need += piece_bytes;
        at += taken;
    }
    if (out_bytes > 0)
        out[kept] = '\0';
    return need;
}

bool mr_utf8_valid(const void *text, size_t bytes)
{
    const unsigned char *p = text;

    for (size_t at = 0; at < bytes;) {
        size_t taken = utf8_bytes(p + at, bytes - at);
        if (taken == 0)
            return false;
        at += taken;
    }
    return true;
}

void mr_json_write(FILE *out, const void *text, size_t bytes)
{
    const unsigned char *p = text;

    fputc('"', out);
    for (size_t i = 0; i < bytes; i++) {
        switch (p[i]) {
        case '"':
        case '\\':
            fputc('\\', out);
            fputc(p[i], out);
            break;
        case '\n':
            fputs("\\n", out);
            break;
        case '\t':
            fputs("\\t", out);
            break;
        case '\r':
            fputs("\\r", out);
            break;
        default:
            if (p[i] < 0x20 || p[i] == 0x7f)
                fprintf(out, "\\u%04x", p[i]);
            else
                fputc(p[i], out);
        }
    }
    fputc('"', out);
}
