/* SPDX-License-Identifier: Apache-2.0 */
/* What consume prints, produce reads back as the same record; what is refused says why. */
#include "control/cli/record_format.h"
#include "tests/support/unit.h"

#include "shm/base/random.h"

#include <errno.h>
#include <string.h>

static struct millrace_error err;
static struct mr_record_line line;

static int header_get(const struct millrace_record *record, uint32_t index, struct millrace_header *header)
{
    *header = record->headers[index];
    return 0;
}

static struct millrace_record record_of(const void *key, size_t key_bytes, const void *value, size_t value_bytes)
{
    return (struct millrace_record){.key = key, .key_bytes = key_bytes, .value = value, .value_bytes = value_bytes, .partition = 3, .offset = 42,
                                    .timestamp_ms = 1700000000123};
}

static const char *printed(const char *format_text, const struct millrace_record *record)
{
    static char text[4096];
    struct mr_record_format format;

    assert_int_equal(mr_record_format_parse(&format, format_text, true, &err), 0);
    FILE *out = fmemopen(text, sizeof text, "w");
    mr_record_format_write(&format, out, "orders", record, header_get);
    fclose(out);
    return text;
}

static int read_line(const char *form, const char *text, const char *separator)
{
    static char copy[4096];
    struct mr_record_format format;

    assert_int_equal(mr_record_format_parse(&format, form, false, &err), 0);
    snprintf(copy, sizeof copy, "%s", text);
    return mr_record_line_read(&line, &format, copy, strlen(copy), separator, &err);
}

static int release_line(void **state)
{
    mr_record_line_release(&line);
    return 0;
}

static void every_letter_prints_its_field(void **state)
{
    struct millrace_header headers[] = {{"a", "1", 1, 1}, {"b", NULL, 1, 0}};
    struct millrace_record record = record_of("k", 1, "v w", 3);

    record.headers = headers;
    record.header_count = 2;
    assert_string_equal(printed("%t %p %o %T %k %v %h", &record), "orders 3 42 1700000000123 k v w a=1,b=\n");
    assert_string_equal(printed("%%%k\\t%v\\c", &record), "%k\tv w");
    assert_string_equal(printed("text", &record), "v w\n");
    assert_string_equal(printed("hex", &record), "6b:762077\n");
    assert_string_equal(printed("json", &record),
                        "{\"topic\":\"orders\",\"partition\":3,\"offset\":42,\"timestamp\":1700000000123,\"key\":\"k\",\"value\":\"v w\","
                        "\"headers\":[{\"key\":\"a\",\"value\":\"1\"},{\"key\":\"b\",\"value\":null}]}\n");
}

static void null_and_binary_have_their_own_form(void **state)
{
    struct millrace_record record = record_of(NULL, 0, NULL, 0);

    assert_string_equal(printed("hex", &record), "-\n");
    assert_non_null(strstr(printed("json", &record), "\"key\":null,\"value\":null}"));
    record = record_of("\xff\x00", 2, "a\nb\"", 4);
    assert_non_null(strstr(printed("json", &record), "\"key_base64\":\"/wA=\",\"value\":\"a\\nb\\\"\"}"));
}

static void bad_formats_say_what_is_known(void **state)
{
    struct mr_record_format format;

    assert_int_equal(mr_record_format_parse(&format, "%x", true, &err), -EINVAL);
    assert_non_null(strstr(err.text, "'%x' is not known; known are %t topic, %p partition, %o offset, %T timestamp, %k key"));
    assert_int_equal(mr_record_format_parse(&format, "%v %", true, &err), -EINVAL);
    assert_int_equal(mr_record_format_parse(&format, "%v\\q", true, &err), -EINVAL);
    assert_int_equal(mr_record_format_parse(&format, "%v\\", true, &err), -EINVAL);
    assert_int_equal(mr_record_format_parse(&format, "\\c%v", true, &err), -EINVAL);
    assert_int_equal(mr_record_format_parse(&format, "jsn", true, &err), -EINVAL);
    assert_non_null(strstr(err.text, "it must be text, json, hex, or a format with %t"));
    assert_int_equal(mr_record_format_parse(&format, "%v", false, &err), -EINVAL);
    assert_string_equal(err.text, "--format %v: it must be text, json or hex");
}

static void text_lines_split_at_the_first_separator(void **state)
{
    assert_int_equal(read_line("text", "k::v::w", "::"), 0);
    assert_int_equal(line.record.key_bytes, 1);
    assert_memory_equal(line.record.value, "v::w", 4);
    assert_int_equal(line.record.partition, MILLRACE_PARTITION_ANY);
    assert_int_equal(line.record.timestamp_ms, -1);
    assert_int_equal(read_line("text", "plain", NULL), 0);
    assert_null(line.record.key);
    assert_int_equal(read_line("text", "plain", "::"), -EINVAL);
    assert_string_equal(err.text, "there is no key separator '::' in it");
}

static void json_lines_are_checked(void **state)
{
    assert_int_equal(read_line("json", "{\"value\":\"v\",\"key\":\"k\",\"partition\":2,\"timestamp\":5,"
                                       "\"headers\":[{\"key\":\"h\",\"value_base64\":\"/wA=\"}]}", NULL), 0);
    assert_int_equal(line.record.partition, 2);
    assert_int_equal(line.record.timestamp_ms, 5);
    assert_int_equal(line.record.header_count, 1);
    assert_int_equal(line.record.headers[0].value_bytes, 2);
    assert_memory_equal(line.record.headers[0].value, "\xff\x00", 2);
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"{", "not JSON: "},
        {"[1]", "must be an object"},
        {"{\"key\":\"k\"}", "\"value\" is missing"},
        {"{\"value\":5}", "\"value\" must be a string or null"},
        {"{\"value\":\"v\",\"partition\":\"x\"}", "\"partition\" must be"},
        {"{\"value\":\"v\",\"partition\":-2}", "\"partition\" must be"},
        {"{\"value\":\"v\",\"timestamp\":1.5}", "\"timestamp\" must be"},
        {"{\"value\":\"v\",\"headers\":{}}", "\"headers\" must be a list"},
        {"{\"value\":\"v\",\"headers\":[{}]}", "a header without \"key\""},
        {"{\"value_base64\":\"*\"}", "is not base64"},
        {"{\"value\":\"a\",\"value\":\"b\"}", "not JSON: "},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(read_line("json", bad[i].text, NULL), -EINVAL);
        if (strstr(err.text, bad[i].message) == NULL)
            fail_msg("'%s' says '%s'", bad[i].text, err.text);
    }
}

static void hex_lines_are_checked(void **state)
{
    assert_int_equal(read_line("hex", "6B:-", NULL), 0);
    assert_memory_equal(line.record.key, "k", 1);
    assert_null(line.record.value);
    assert_int_equal(read_line("hex", "", NULL), 0);
    assert_non_null(line.record.value);
    assert_int_equal(line.record.value_bytes, 0);
    assert_int_equal(read_line("hex", "abc", NULL), -EINVAL);
    assert_int_equal(read_line("hex", "0x", NULL), -EINVAL);
    assert_string_equal(err.text, "'0x' at column 1 is not hexadecimal");
}

static void what_is_printed_reads_back(void **state)
{
    struct mr_random random;

    mr_random_init(&random, test_seed(), 1);
    for (int round = 0; round < 2000; round++) {
        uint8_t bytes[64];
        const char *form = mr_random_chance(&random, 1, 2) ? "json" : "hex";
        size_t key_bytes = (size_t)mr_random_below(&random, 20), value_bytes = (size_t)mr_random_below(&random, 40);
        uint64_t alphabet = mr_random_chance(&random, 1, 2) ? 128 : 256;
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = (uint8_t)mr_random_below(&random, alphabet);
        bool null_key = mr_random_chance(&random, 1, 4), null_value = mr_random_chance(&random, 1, 8);
        struct millrace_record record = record_of(null_key ? NULL : bytes, null_key ? 0 : key_bytes, null_value ? NULL : bytes + 20,
                                                  null_value ? 0 : value_bytes);
        char text[4096];
        snprintf(text, sizeof text, "%s", printed(form, &record));
        text[strlen(text) - 1] = '\0';
        assert_int_equal(read_line(form, text, NULL), 0);
        assert_int_equal(line.record.key == NULL, null_key);
        assert_int_equal(line.record.value == NULL, null_value);
        assert_int_equal(line.record.key_bytes, record.key_bytes);
        assert_int_equal(line.record.value_bytes, record.value_bytes);
        assert_memory_equal(null_key ? "" : line.record.key, null_key ? (const void *)"" : record.key, record.key_bytes);
        assert_memory_equal(null_value ? "" : line.record.value, null_value ? (const void *)"" : record.value, record.value_bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(every_letter_prints_its_field, release_line),
        cmocka_unit_test_teardown(null_and_binary_have_their_own_form, release_line),
        cmocka_unit_test_teardown(bad_formats_say_what_is_known, release_line),
        cmocka_unit_test_teardown(text_lines_split_at_the_first_separator, release_line),
        cmocka_unit_test_teardown(json_lines_are_checked, release_line),
        cmocka_unit_test_teardown(hex_lines_are_checked, release_line),
        cmocka_unit_test_teardown(what_is_printed_reads_back, release_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
